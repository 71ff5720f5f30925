"""The artifacts that are known here: a package, a WebAssembly module as other tools store it, and signatures.

A package: an OCI image manifest with ``artifactType`` and the empty config, whose one layer is the package itself.
A module: the CNCF's layout (https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/), whose config
names the layer's digest. Signatures: a manifest whose ``subject`` is the package's, one layer for each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from enarx.errors import RegistryError
from enarx.mediatype import ENCRYPTED, PACKAGE, WASM
from enarx.registry.digest import digest_of, parse_json
from enarx.registry.manifest import EMPTY, EMPTY_CONTENT, Descriptor, Manifest

PACKAGE_TYPE: Final = "application/vnd.enarx.package.v1"
PACKAGE_MEDIA_TYPES: Final = (PACKAGE, ENCRYPTED)
SIGNATURE_TYPE: Final = "application/vnd.enarx.signature.v1"
DSSE: Final = "application/vnd.dsse.envelope.v1+json"
SIGSTORE_BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGNATURE_MEDIA_TYPES: Final = (DSSE, SIGSTORE_BUNDLE)
WASM_CONFIG: Final = "application/vnd.wasm.config.v0+json"
WASM_CONFIG_MAX_BYTES: Final = 1 << 20
WASM_ARCHITECTURE: Final = "wasm"
WASM_MODULE_OS: Final = "wasip1"
_CREATED: Final = "1970-01-01T00:00:00Z"
"""The layout wants a time; equal modules are to have equal digests."""

EMPTY_DESCRIPTOR: Final = Descriptor(EMPTY, digest_of(EMPTY_CONTENT), len(EMPTY_CONTENT))


def package_manifest(layer: Descriptor, annotations: Mapping[str, str] | None = None) -> Manifest:
    """The manifest of a package, whose layer must have one of `PACKAGE_MEDIA_TYPES`."""
    if layer.media_type not in PACKAGE_MEDIA_TYPES:
        raise ValueError(f"{layer.media_type} is not a package's media type")
    return Manifest(PACKAGE_TYPE, EMPTY_DESCRIPTOR, (layer,), annotations=annotations or {})


def attached_manifest(artifact_type: str, subject: Descriptor, layers: Sequence[Descriptor]) -> Manifest:
    """The manifest of what refers to ``subject``: signatures over it, of `SIGNATURE_TYPE`, for example."""
    plain = Descriptor(subject.media_type, subject.digest, subject.size)
    return Manifest(artifact_type, EMPTY_DESCRIPTOR, tuple(layers), plain)


def wasm_config(layer: Descriptor) -> bytes:
    """The config of a module's manifest: canonical JSON."""
    config = {
        "created": _CREATED,
        "architecture": WASM_ARCHITECTURE,
        "os": WASM_MODULE_OS,
        "layerDigests": [layer.digest],
    }
    return json.dumps(config, separators=(",", ":")).encode()


def wasm_manifest(config: bytes, layer: Descriptor, annotations: Mapping[str, str] | None = None) -> Manifest:
    """The manifest of a module in the CNCF's layout."""
    described = Descriptor(WASM_CONFIG, digest_of(config), len(config))
    return Manifest(WASM_CONFIG, described, (layer,), annotations=annotations or {})


def check_wasm_config(data: bytes, layer: Descriptor) -> None:
    """That a config in the CNCF's layout is that of a core module, ``layer``; RegistryError ``registry-wasm``."""
    config = parse_json(data, "the config of the WebAssembly artifact", "registry-wasm")
    if config.get("architecture") != WASM_ARCHITECTURE or config.get("layerDigests") != [layer.digest]:
        raise RegistryError(
            "the config of the WebAssembly artifact is not about its layer",
            code="registry-wasm",
            hint="push the module again",
        )
    if config.get("os") != WASM_MODULE_OS:
        raise RegistryError(
            f"the artifact is for {ascii(config.get('os'))[:40]}, not {WASM_MODULE_OS}",
            code="registry-wasm",
            hint="components are not run: build a core module for WASI preview 1",
        )


def workload_layer(manifest: Manifest) -> Descriptor:
    """The one layer of a package's or a module's manifest; RegistryError ``registry-artifact`` for anything else."""
    if manifest.config.media_type == WASM_CONFIG:
        media_types: tuple[str, ...] = (WASM,)
    elif manifest.artifact_type == PACKAGE_TYPE:
        media_types = PACKAGE_MEDIA_TYPES
    else:
        raise RegistryError(
            f"the artifact is of type {manifest.artifact_type}, which is neither a package nor a WebAssembly module",
            code="registry-artifact",
            hint="check the repository and the tag",
        )
    if len(manifest.layers) != 1 or manifest.layers[0].media_type not in media_types:
        raise RegistryError(
            f"an artifact of type {manifest.artifact_type} has one layer of type {' or '.join(media_types)}; this has "
            + (", ".join(layer.media_type for layer in manifest.layers[:4]) or "none"),
            code="registry-artifact",
            hint="push the package or the module again",
        )
    return manifest.layers[0]
