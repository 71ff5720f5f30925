"""Manifests, and other documents that are held in memory, from and to a repository: bounded, and checked by digest."""

from __future__ import annotations

from typing import Final

from enarx.errors import RegistryError
from enarx.registry.digest import digest_of
from enarx.registry.endpoint import Repository
from enarx.registry.manifest import INDEX, MANIFEST, MANIFEST_MAX_BYTES, Descriptor
from enarx.registry.retry import retrying
from enarx.registry.store import Store
from enarx.registry.transport import Request

DIGEST_HEADER: Final = "Docker-Content-Digest"
_ACCEPT: Final = f"{MANIFEST}, {INDEX}"


def get_manifest(repository: Repository, target: str, expected: str = "") -> bytes:
    """The manifest with a tag or digest, and of the digest ``expected`` if there is one.

    RegistryError ``registry-manifest-missing``; ``registry-wrong-digest`` where what comes is not what it is said to
    be, by us or by the registry.
    """
    what = f"the manifest of {repository.endpoint.host}/{repository.name} {target}"

    def ask() -> tuple[bytes, str]:
        with repository.ask("GET", f"manifests/{target}", {"Accept": _ACCEPT}) as response:
            if response.status != 200:
                raise repository.endpoint.refused(response, what, missing="registry-manifest-missing")
            return response.read(MANIFEST_MAX_BYTES, "the manifest"), response.header(DIGEST_HEADER) or ""

    data, announced = retrying(repository.patience, what, ask)
    for digest in (expected, announced):
        if digest.startswith("sha256:"):
            check_digest(data, digest, what)
    return data


def put_manifest(repository: Repository, target: str, media_type: str, data: bytes) -> None:
    """Store a manifest under a tag, or under its digest. RegistryError."""
    what = f"push the manifest of {repository.endpoint.host}/{repository.name} {target}"
    headers = {"Content-Type": media_type}
    request = Request("PUT", repository.url(f"manifests/{target}"), headers, lambda: [data], len(data))

    def ask() -> None:
        with repository.tell(request) as response:
            if response.status not in (200, 201, 202):
                raise repository.endpoint.refused(response, what)
            announced = response.header(DIGEST_HEADER) or ""
        if announced.startswith("sha256:"):
            check_digest(data, announced, what)

    retrying(repository.patience, what, ask)


def get_small(repository: Repository, wanted: Descriptor, store: Store | None, limit: int) -> bytes:
    """A blob of at most ``limit`` bytes, from the store or the registry; RegistryError as for manifests."""
    if wanted.size > limit:
        raise RegistryError(
            f"{wanted.digest} of type {wanted.media_type} is larger than {limit} bytes",
            code="registry-too-large",
            hint="this is not what its type says",
        )
    kept = store.get(wanted.digest, limit) if store is not None else None
    if kept is not None:
        return kept
    what = f"pull {wanted.digest}"

    def ask() -> bytes:
        with repository.ask("GET", f"blobs/{wanted.digest}") as response:
            if response.status != 200:
                raise repository.endpoint.refused(response, what, missing="registry-blob-missing")
            return response.read(wanted.size, wanted.digest)

    data = retrying(repository.patience, what, ask)
    check_digest(data, wanted.digest, what)
    if store is not None:
        store.put(data)
    return data


def check_digest(data: bytes, expected: str, what: str) -> None:
    """RegistryError ``registry-wrong-digest``."""
    found = digest_of(data)
    if found != expected:
        raise RegistryError(
            f"{what}: it is said to be {ascii(expected)[1:-1][:80]}, and is {found}",
            code="registry-wrong-digest",
            hint="the registry, or something before it, changes what it holds: do not use it",
        )
