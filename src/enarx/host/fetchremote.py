"""References to what is elsewhere: OCI registries, URLs, and the slugs of a Drawbridge, by way of the local store."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from enarx import archive
from enarx.errors import HostError, RegistryError
from enarx.host.fetch import MAX_SIGNATURE_BYTES, Fetched
from enarx.host.filebytes import Data, FileBytes
from enarx.mediatype import WASM
from enarx.registry import Access, Progress, Reference, Registry, Store, parse_reference
from enarx.registry.credentials import Lookup
from enarx.registry.layout import SIGNATURE_MEDIA_TYPES, SIGNATURE_TYPE
from enarx.registry.web import Web

MAX_SIGNATURES: Final = 8
"""Signatures that are handed over, those that the registry lists first (count): a Keep passes on no more."""
TRIES: Final = 3
"""How often something is fetched that other processes remove from the store before it is opened."""

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Remote:
    """How to fetch: who may be spoken to and how, credentials, and who is told how far it is, and of what went wrong.

    ``signatures``: whether those beside a package are of use to anybody.
    """

    access: Access
    lookup: Lookup
    progress: Progress
    say: Callable[[str], None]
    require_digest: bool = False
    signatures: bool = True


class OciFetcher:
    """``oci://HOST/REPO[:TAG][@DIGEST]``: a package, or a module in the CNCF's layout."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def fetch(self, reference: str) -> Fetched:
        """The workload. Raises RegistryError or UsageError."""
        remote, wanted, store = self._remote, parse_reference(reference), Store()
        with Registry(remote.access, remote.lookup, progress=remote.progress) as registry:
            pulled, content = _opened(
                lambda: registry.pull(wanted, store, require_digest=remote.require_digest),
                lambda found: (found.path, found.layer.digest),
            )
            try:
                media_type = pulled.layer.media_type
                kind = ("module", archive.MODULE) if media_type == WASM else ("package", "")
                objects = [(*kind, content), *self._signatures(registry, pulled.reference, store)]
            except BaseException:
                content.close()
                raise
        return Fetched(pulled.layer.digest, media_type, objects, str(pulled.reference))

    def _signatures(self, registry: Registry, reference: Reference, store: Store) -> list[tuple[str, str, Data]]:
        """Those beside the artifact. That there are none is no error here: whether they are needed, a Steward says."""
        if not self._remote.signatures:
            return []
        try:
            found = registry.attached(reference, SIGNATURE_TYPE, SIGNATURE_MEDIA_TYPES, store)
        except RegistryError as error:
            self._remote.say(f"its signatures cannot be had: {error.message}")
            return []
        usable = [("signature", one.media_type, one.data) for one in found if len(one.data) <= MAX_SIGNATURE_BYTES]
        if len(found) > min(len(usable), MAX_SIGNATURES):
            self._remote.say(f"it has {len(found)} signatures: at most {MAX_SIGNATURES} are handed over")
        return [*usable[:MAX_SIGNATURES]]


class WebFetcher:
    """``https://...[#sha256=HEX]``: a module, a package or a Drawbridge's tree; or a slug, for a Drawbridge's tag."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def fetch(self, reference: str) -> Fetched:
        """The workload. Raises RegistryError or UsageError."""
        remote, store = self._remote, Store()
        with Web(remote.access, progress=remote.progress) as web:
            found, content = _opened(
                lambda: web.fetch(reference, store, require_digest=remote.require_digest),
                lambda found: (found.path, found.digest),
            )
        objects: list[tuple[str, str, Data]] = [("config", archive.CONFIG, found.config)] if found.config else []
        kind = ("module", archive.MODULE) if found.media_type == WASM else ("package", "")
        return Fetched(found.digest, found.media_type, [*objects, (*kind, content)])


def _opened(fetch: Callable[[], _Found], place: Callable[[_Found], tuple[Path, str]]) -> tuple[_Found, FileBytes]:
    """What was fetched, and its bytes: the store has checked them, and whoever makes room there may remove them."""
    for _ in range(TRIES):
        found = fetch()
        path, digest = place(found)
        try:
            return found, FileBytes(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), str(path), digest)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise HostError(
                f"{path} cannot be read: {error.strerror}", code="file-unreadable", hint="it can be removed"
            ) from error
    raise HostError(
        "what is fetched is removed from the local store at once", code="store-bound", hint="make room on its disk"
    )
