"""The client of OCI registries: references resolved, artifacts pushed and pulled, signatures beside them.

Source: OCI distribution specification 1.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enarx.errors import RegistryError, UsageError
from enarx.mediatype import WASM
from enarx.registry import layout
from enarx.registry.access import Access
from enarx.registry.credentials import Lookup
from enarx.registry.digest import digest_of
from enarx.registry.endpoint import Endpoint, Repository
from enarx.registry.manifest import (
    EMPTY_CONTENT,
    INDEX,
    MANIFEST,
    MANIFEST_MAX_BYTES,
    Descriptor,
    Index,
    Manifest,
    parse_manifest,
)
from enarx.registry.manifests import get_manifest, get_small, put_manifest
from enarx.registry.progress import Progress, silent
from enarx.registry.pull import pull_blob
from enarx.registry.push import Content, push_blob
from enarx.registry.reference import Reference
from enarx.registry.referrers import Referrers
from enarx.registry.retry import Patience
from enarx.registry.store import Store
from enarx.registry.transport import Http

SIGNATURE_MAX_BYTES: Final = 1 << 20
"""Largest signature (bytes): a sigstore bundle has a few thousand."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest or an index with the exact bytes that its digest is of."""

    descriptor: Descriptor
    document: Manifest | Index
    data: bytes


@dataclass(frozen=True, slots=True)
class Pulled:
    """A workload in the store. ``reference`` is pinned; ``layer`` is the package, or the module, at ``path``.

    The path may go when the store makes room: open it through the store, soon.
    """

    reference: Reference
    manifest: Descriptor
    artifact_type: str
    layer: Descriptor
    path: Path


@dataclass(frozen=True, slots=True)
class Attached:
    """Something that refers to an artifact: one layer of its manifest, for example a signature."""

    media_type: str
    data: bytes


class Registry:
    """A client of any number of registries. Used as a context manager; it is for one thread.

    ``lookup`` finds credentials when a registry asks for them, ``DockerCredentials()`` for instance; without it
    everything is done without. Raises RegistryError for everything that a registry does, or fails to do.
    """

    def __init__(
        self,
        access: Access | None = None,
        lookup: Lookup | None = None,
        *,
        progress: Progress = silent,
        patience: Patience | None = None,
    ) -> None:
        self._http = Http(access or Access())
        self._lookup = lookup
        self._progress = progress
        self._patience = patience or Patience()
        self._endpoints: dict[str, Endpoint] = {}

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def resolve(self, reference: Reference) -> Descriptor:
        """What the reference stands for now; its digest is computed from the bytes, whatever the registry says."""
        return self.fetch(reference).descriptor

    def fetch(self, reference: Reference, store: Store | None = None) -> Fetched:
        """The manifest or index. One that is named by digest is taken from the store, and kept there."""
        if store is not None and reference.digest:
            kept = store.get(reference.digest, MANIFEST_MAX_BYTES)
            if kept is not None:
                return _fetched(kept)
        data = get_manifest(self._repository(reference), reference.target, reference.digest)
        fetched = _fetched(data)
        if store is not None:
            store.put(data)
        return fetched

    def pull(self, reference: Reference, store: Store, *, require_digest: bool = False) -> Pulled:
        """A package, or a module in the CNCF's layout, into the store.

        With ``require_digest`` a reference that anybody could point elsewhere is refused: UsageError.
        """
        if require_digest and not reference.digest:
            raise UsageError(
                f"{reference} is not pinned to a digest",
                code="digest-required",
                hint="write REPOSITORY@sha256:DIGEST; without --require-digest its digest is shown",
            )
        fetched = self.fetch(reference, store)
        if isinstance(fetched.document, Index):
            raise RegistryError(
                f"{reference} is a list of {len(fetched.document.manifests)} artifacts, not one",
                code="registry-artifact",
                hint="name one of them by its digest",
            )
        manifest = fetched.document
        layer = layout.workload_layer(manifest)
        repository = self._repository(reference)
        if manifest.config.media_type == layout.WASM_CONFIG:
            config = get_small(repository, manifest.config, store, layout.WASM_CONFIG_MAX_BYTES)
            layout.check_wasm_config(config, layer)
        path = pull_blob(repository, layer, store)
        pinned = reference.at(fetched.descriptor.digest)
        return Pulled(pinned, fetched.descriptor, manifest.artifact_type, layer, path)

    def push_package(
        self, reference: Reference, path: Path, media_type: str, annotations: Mapping[str, str] | None = None
    ) -> Descriptor:
        """Push a package; ``media_type`` is one of `layout.PACKAGE_MEDIA_TYPES`. Returns its manifest's descriptor."""
        with Content(path, media_type) as package:
            manifest = layout.package_manifest(package.descriptor, annotations)
            return self.push(reference, manifest, [Content(EMPTY_CONTENT, layout.EMPTY_DESCRIPTOR.media_type), package])

    def push_wasm(self, reference: Reference, path: Path, annotations: Mapping[str, str] | None = None) -> Descriptor:
        """Push a module in the CNCF's layout, for other tools as well. Returns its manifest's descriptor."""
        with Content(path, WASM) as module:
            config = layout.wasm_config(module.descriptor)
            manifest = layout.wasm_manifest(config, module.descriptor, annotations)
            return self.push(reference, manifest, [Content(config, layout.WASM_CONFIG), module])

    def push(self, reference: Reference, manifest: Manifest, contents: Sequence[Content]) -> Descriptor:
        """Push the blobs that a manifest names, then the manifest, under the reference's tag or its own digest."""
        data = manifest.encode()
        described = Descriptor(MANIFEST, digest_of(data), len(data), manifest.artifact_type)
        if reference.digest and reference.digest != described.digest:
            raise UsageError(
                f"what is pushed has the digest {described.digest}, and the reference says {reference.digest}",
                code="reference",
                hint="push to a tag: the digest follows from what is pushed",
            )
        repository = self._repository(reference)
        with ExitStack() as opened:
            for content in contents:
                push_blob(repository, content if content.digest else opened.enter_context(content))
        put_manifest(repository, reference.tag or described.digest, MANIFEST, data)
        return described

    def attach(self, reference: Reference, artifact_type: str, layers: Sequence[Attached]) -> Descriptor:
        """Push something that refers to the artifact: signatures, for example. It is found again by `attached`."""
        subject = self.resolve(reference)
        with ExitStack() as opened:
            contents = [opened.enter_context(Content(layer.data, layer.media_type)) for layer in layers]
            described = [content.descriptor for content in contents]
            manifest = layout.attached_manifest(artifact_type, subject, described)
            own = Reference(reference.host, reference.repository, digest=digest_of(manifest.encode()))
            empty = Content(EMPTY_CONTENT, layout.EMPTY_DESCRIPTOR.media_type)
            result = self.push(own, manifest, [empty, *contents])
        Referrers(self._repository(reference), subject.digest).add(result)
        return result

    def attached(
        self, reference: Reference, artifact_type: str, media_types: Sequence[str], store: Store | None = None
    ) -> list[Attached]:
        """What refers to the artifact, of that type, and its layers of these media types. Nobody vouches for it.

        The reference must be pinned: what a tag stands for may change between this and the pull.
        """
        found: list[Attached] = []
        repository = self._repository(reference)
        for descriptor in Referrers(repository, reference.digest).find(artifact_type):
            own = Reference(reference.host, reference.repository, digest=descriptor.digest)
            manifest = self.fetch(own, store).document
            if (
                not isinstance(manifest, Manifest)
                or manifest.artifact_type != artifact_type
                or manifest.subject is None
                or manifest.subject.digest != reference.digest
            ):
                continue
            found += [
                Attached(layer.media_type, get_small(repository, layer, store, SIGNATURE_MAX_BYTES))
                for layer in manifest.layers
                if layer.media_type in media_types
            ]
        return found

    def _repository(self, reference: Reference) -> Repository:
        endpoint = self._endpoints.get(reference.host)
        if endpoint is None:
            endpoint = self._endpoints[reference.host] = Endpoint(reference.host, self._http, self._lookup)
        return Repository(endpoint, reference.repository, self._progress, self._patience)


def _fetched(data: bytes) -> Fetched:
    document = parse_manifest(data)
    media_type = INDEX if isinstance(document, Index) else MANIFEST
    artifact_type = document.artifact_type if isinstance(document, Manifest) else ""
    return Fetched(Descriptor(media_type, digest_of(data), len(data), artifact_type), document, data)
