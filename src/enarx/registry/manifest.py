"""Manifests and indexes: JSON read strictly and with bounds, and written so that equal content has equal bytes.

Source: OCI image specification 1.1, manifest.md, image-index.md and descriptor.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from enarx.errors import RegistryError
from enarx.registry.digest import is_digest, parse_json

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
EMPTY: Final = "application/vnd.oci.empty.v1+json"
EMPTY_CONTENT: Final = b"{}"
MANIFEST_MAX_BYTES: Final = 4 << 20
"""Largest manifest or index; the distribution specification lets registries refuse larger ones."""
LAYERS_MAX: Final = 128
INDEX_ENTRIES_MAX: Final = 10_000
ANNOTATIONS_MAX: Final = 1000
SIZE_MAX_BYTES: Final = 2**63 - 1
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What is at ``digest``: its media type and its size in bytes."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    def as_json(self) -> dict[str, object]:
        found: dict[str, object] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.artifact_type:
            found["artifactType"] = self.artifact_type
        if self.annotations:
            found["annotations"] = dict(sorted(self.annotations.items()))
        return found


@dataclass(frozen=True, slots=True)
class Manifest:
    """An artifact: its type, its config, its layers, and what it is about, if it is about another artifact."""

    artifact_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    def encode(self) -> bytes:
        """Canonical JSON: this order of names, no blanks."""
        found: dict[str, object] = {"schemaVersion": 2, "mediaType": MANIFEST}
        if self.artifact_type and self.artifact_type != self.config.media_type:
            found["artifactType"] = self.artifact_type
        found["config"] = self.config.as_json()
        found["layers"] = [layer.as_json() for layer in self.layers]
        if self.subject is not None:
            found["subject"] = self.subject.as_json()
        if self.annotations:
            found["annotations"] = dict(sorted(self.annotations.items()))
        return _encode(found)


@dataclass(frozen=True, slots=True)
class Index:
    """A list of manifests, with its annotations: here, of what refers to an artifact."""

    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    def encode(self) -> bytes:
        """Canonical JSON, as `Manifest.encode`."""
        entries = [one.as_json() for one in self.manifests]
        found: dict[str, object] = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        if self.annotations:
            found["annotations"] = dict(sorted(self.annotations.items()))
        return _encode(found)


def parse_manifest(data: bytes) -> Manifest | Index:
    """What ``data`` is; RegistryError ``registry-manifest`` for anything that is not exactly one of the two.

    A document without ``mediaType`` is what its fields say; one that is both is refused, for readers would differ.
    """
    if len(data) > MANIFEST_MAX_BYTES:
        raise _bad(f"it has more than {MANIFEST_MAX_BYTES} bytes")
    document = parse_json(data, "the manifest", "registry-manifest")
    if document.get("schemaVersion") != 2 or isinstance(document["schemaVersion"], bool):
        raise _bad("its schemaVersion is not 2")
    is_index = "manifests" in document
    if is_index and ("layers" in document or "config" in document):
        raise _bad("it is a manifest and an index at once")
    expected = INDEX if is_index else MANIFEST
    if document.get("mediaType", expected) != expected:
        raise _bad(f"its mediaType is {_shown(document['mediaType'])}, and it has the fields of {expected}")
    annotations = _annotations(document)
    if is_index:
        return Index(_descriptors(document, "manifests", INDEX_ENTRIES_MAX), annotations)
    config = _descriptor(document.get("config"), "config")
    subject = _descriptor(document["subject"], "subject") if "subject" in document else None
    artifact_type = _media_type(document["artifactType"]) if "artifactType" in document else config.media_type
    return Manifest(artifact_type, config, _descriptors(document, "layers", LAYERS_MAX), subject, annotations)


def _descriptors(document: Mapping[str, object], name: str, limit: int) -> tuple[Descriptor, ...]:
    found = document.get(name)
    if not isinstance(found, list) or len(found) > limit:
        raise _bad(f"{name} is not a list of at most {limit}")
    return tuple(_descriptor(one, name) for one in found)


def _descriptor(found: object, where: str) -> Descriptor:
    if not isinstance(found, dict):
        raise _bad(f"{where} is not a descriptor")
    digest, size = found.get("digest"), found.get("size")
    if not isinstance(digest, str) or not is_digest(digest):
        raise _bad(f"a digest in {where} is not sha256: and 64 lower-case hexadecimal digits")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= SIZE_MAX_BYTES:
        raise _bad(f"a size in {where} is not a number of bytes")
    artifact_type = _media_type(found["artifactType"]) if "artifactType" in found else ""
    return Descriptor(_media_type(found.get("mediaType")), digest, size, artifact_type, _annotations(found))


def _media_type(found: object) -> str:
    if not isinstance(found, str) or not _MEDIA_TYPE.fullmatch(found):
        raise _bad(f"{_shown(found)} is not a media type")
    return found


def _annotations(document: Mapping[str, object]) -> dict[str, str]:
    found = document.get("annotations")
    if found is None:
        return {}
    if not isinstance(found, dict) or len(found) > ANNOTATIONS_MAX:
        raise _bad(f"annotations are not an object of at most {ANNOTATIONS_MAX}")
    if not all(isinstance(value, str) for value in found.values()):
        raise _bad("an annotation is not text")
    return found


def _encode(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _shown(found: object) -> str:
    return ascii(found)[:100]


def _bad(reason: str) -> RegistryError:
    return RegistryError(
        f"the manifest is not one that can be used: {reason}",
        code="registry-manifest",
        hint="an OCI image manifest or index is expected; push the artifact again, or name another",
    )
