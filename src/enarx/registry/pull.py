"""Blobs from a registry into the store: streamed, resumed, and every byte part of the digest.

Source: OCI distribution specification 1.1, "Pulling blobs"; RFC 9110 14 for ranges.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from enarx.errors import RegistryError
from enarx.registry.download import Download
from enarx.registry.endpoint import Repository
from enarx.registry.manifest import Descriptor
from enarx.registry.retry import Attempts
from enarx.registry.store import Store
from enarx.registry.transport import BLOCK_BYTES, Response, TransientError

BLOB_MAX_BYTES: Final = 8 << 30
"""Largest blob that is fetched or pushed."""
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")


def pull_blob(repository: Repository, wanted: Descriptor, store: Store) -> Path:
    """The blob in the store, from there if it is there and undamaged, else from the registry.

    RegistryError: ``registry-blob-missing``, ``registry-wrong-content``, ``registry-protocol``,
    ``registry-unreachable``, those of the store and of authentication.
    """
    if wanted.size > BLOB_MAX_BYTES:
        raise RegistryError(
            f"{wanted.digest} is said to have {wanted.size} bytes, more than {BLOB_MAX_BYTES}",
            code="registry-too-large",
            hint="this is no package",
        )
    found = store.verified(wanted.digest, wanted.size)
    if found is not None:
        return found
    with store.download(wanted.digest, wanted.size) as download:
        if download is not None:
            resumed = download.offset > 0
            fetch = _Fetch(repository, wanted, download)
            fetch.run()
            try:
                download.commit()
            except RegistryError:
                if not (resumed or fetch.resumed):
                    raise
                # What was there before, or was put together from several answers, may be what is wrong: once, anew.
                fetch.run()
                download.commit()
    return store.path(wanted.digest)


class _Fetch:
    def __init__(self, repository: Repository, wanted: Descriptor, download: Download) -> None:
        self._repository = repository
        self._wanted = wanted
        self._download = download
        self._what = f"pull {wanted.digest}"
        self.resumed = False

    def run(self) -> None:
        """Fetch what is missing."""
        attempts = Attempts(self._repository.patience, self._what)
        while self._download.missing:
            try:
                self._once(attempts)
            except TransientError as failure:
                self.resumed = True
                attempts.failed(failure)
        self._repository.progress(self._what, self._wanted.size, self._wanted.size)

    def _once(self, attempts: Attempts) -> None:
        offset = self._download.offset
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._repository.ask("GET", f"blobs/{self._wanted.digest}", headers) as response:
            if response.status == 416 and offset:
                self._download.restart()
                raise TransientError("the registry does not go on where we were")
            if response.status == 206 and offset:
                end = self._end_of_range(response, offset)
            elif response.status == 200:
                if offset:
                    self._download.restart()
                end = self._wanted.size
            else:
                raise self._repository.endpoint.refused(response, self._what, missing="registry-blob-missing")
            self._copy(response, end, attempts)
        if self._download.missing:
            raise TransientError(f"the registry sent no more than {end - offset} bytes")

    def _end_of_range(self, response: Response, offset: int) -> int:
        found = _CONTENT_RANGE.fullmatch((response.header("Content-Range") or "").strip())
        if found is not None:
            start, last, total = int(found[1]), int(found[2]), found[3]
            if start == offset <= last < self._wanted.size and total in ("*", str(self._wanted.size)):
                return last + 1
        raise self._lied("sends another part than was asked for")

    def _copy(self, response: Response, end: int, attempts: Attempts) -> None:
        length = response.length
        if length is not None and length != end - self._download.offset:
            raise self._lied(f"sends {length} bytes where {end - self._download.offset} are missing")
        response.expect(end - self._download.offset)
        buffer = memoryview(bytearray(min(BLOCK_BYTES, end - self._download.offset)))
        while (left := end - self._download.offset) > 0:
            count = response.readinto(buffer[: min(len(buffer), left)])
            if count == 0:
                raise TransientError(f"the connection ended after {self._download.offset} of {self._wanted.size} bytes")
            self._download.write(buffer[:count])
            attempts.progress(self._download.offset)
            self._repository.progress(self._what, self._download.offset, self._wanted.size)
        if length is None and response.readinto(memoryview(bytearray(1))):
            raise self._lied("sends more than there is")

    def _lied(self, what: str) -> RegistryError:
        return RegistryError(
            f"{self._what}: {self._repository.endpoint.host} {what}",
            code="registry-protocol",
            hint="the registry, or something before it, is broken or hostile",
        )
