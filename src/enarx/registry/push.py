"""Blobs to a registry: streamed in parts, and gone on with where an upload broke off, if the registry lets us.

Source: OCI distribution specification 1.1, "Pushing blobs". Small blobs are one request; of larger ones each part is a
PATCH and the last one the PUT that ends the upload. A registry that takes no parts gets the blob in one.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from enarx.errors import RegistryError, UsageError
from enarx.registry.digest import digest_of
from enarx.registry.endpoint import Repository
from enarx.registry.manifest import Descriptor
from enarx.registry.pull import BLOB_MAX_BYTES
from enarx.registry.retry import Attempts, retrying
from enarx.registry.transport import BLOCK_BYTES, Request, Response, TransientError
from enarx.registry.urls import Url

PART_BYTES: Final = 64 << 20
"""Size of a part. Larger ones cost less, smaller ones lose less where a registry forgets what it has of a part."""
_RANGE: Final = re.compile(r"(?:bytes=)?0-([0-9]{1,19})")
_NO_PARTS: Final = frozenset({400, 405, 411, 413, 416, 501})
"""How registries refuse a part, where they would take a whole blob."""

_WRONG_DIGEST: Final = "DIGEST_INVALID"
"""The registry's code where it has received something else than was announced: the file was changed meanwhile."""


class Content:
    """What is pushed: a file, or bytes. Used as a context manager; its digest is computed on entry."""

    def __init__(self, source: str | Path | bytes, media_type: str) -> None:
        self._source = source
        self.media_type = media_type
        self._descriptor = -1
        self.size = 0
        self.digest = ""

    def __enter__(self) -> Content:
        if isinstance(self._source, bytes):
            self.size, self.digest = len(self._source), digest_of(self._source)
            return self
        try:
            self._descriptor = os.open(self._source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            info = os.fstat(self._descriptor)
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        self.size = info.st_size
        if not stat.S_ISREG(info.st_mode) or self.size > BLOB_MAX_BYTES:
            self.close()
            raise UsageError(
                f"{self._source} is not a file of at most {BLOB_MAX_BYTES} bytes",
                code="file-unreadable",
                hint="name a package or a module",
            )
        digest = hashlib.sha256()
        try:
            for block in self.blocks(0, self.size):
                digest.update(block)
        except BaseException:
            self.close()
            raise
        self.digest = f"sha256:{digest.hexdigest()}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, self.digest, self.size)

    def blocks(self, start: int, end: int) -> Iterator[memoryview]:
        """The content from ``start`` to ``end``, a block at a time; a block is valid until the next. UsageError."""
        if isinstance(self._source, bytes):
            yield memoryview(self._source)[start:end]
            return
        buffer = memoryview(bytearray(min(BLOCK_BYTES, max(1, end - start))))
        while start < end:
            try:
                count = os.preadv(self._descriptor, [buffer[: min(len(buffer), end - start)]], start)
            except OSError as error:
                raise self._unreadable(error) from error
            if count == 0:
                raise UsageError(
                    f"{self._source} has become shorter", code="file-unreadable", hint="leave it alone meanwhile"
                )
            start += count
            yield buffer[:count]

    def _unreadable(self, error: OSError | ValueError) -> UsageError:
        cause = error.strerror if isinstance(error, OSError) else "not a path"
        return UsageError(
            f"cannot read {self._source!s}: {cause}", code="file-unreadable", hint="check the path and its permissions"
        )


@dataclass(slots=True)
class _Upload:
    """An upload that was begun: where it is gone on with, how much of it the registry has."""

    url: Url
    offset: int = 0


def push_blob(repository: Repository, content: Content) -> Descriptor:
    """Have the blob in the repository; nothing is sent if it is there. RegistryError as for a pull."""
    _Push(repository, content).run()
    return content.descriptor


class _Push:
    def __init__(self, repository: Repository, content: Content) -> None:
        self._repository = repository
        self._endpoint = repository.endpoint
        self._patience = repository.patience
        self._content = content
        self._what = f"push {content.digest}"
        self._part = PART_BYTES
        self._upload: _Upload | None = None

    def run(self) -> None:
        attempts = Attempts(self._patience, self._what)
        while not self._exists():
            try:
                if self._send(attempts):
                    break
            except TransientError as failure:
                attempts.failed(failure)
                self._find_upload()
        self._repository.progress(self._what, self._content.size, self._content.size)

    def _exists(self) -> bool:
        """Whether the registry has the blob: before anything is sent, and after an answer that got lost."""

        def ask() -> bool:
            request = Request("HEAD", self._repository.url(f"blobs/{self._content.digest}"))
            with self._repository.tell(request) as response:
                if response.status not in (200, 404):
                    raise self._endpoint.refused(response, self._what)
                return response.status == 200 and response.length in (None, self._content.size)

        return retrying(self._patience, self._what, ask)

    def _send(self, attempts: Attempts) -> bool:
        """Send what the registry does not have. False where the upload must begin again. Raises TransientError."""
        if self._upload is None:
            self._begin()
        upload = self._upload
        assert upload is not None  # noqa: S101 - it was just begun
        while self._content.size - upload.offset > self._part:
            start, end = upload.offset, upload.offset + self._part
            with self._request("PATCH", upload.url, start, end) as response:
                if response.status not in (202, 204):
                    if start == 0 and response.status in _NO_PARTS and self._part < self._content.size:
                        self._part = self._content.size
                        return self._restart()
                    return self._lost(response, attempts)
                upload.url = self._location(response)
                upload.offset = self._received(response, end)
            if not start <= upload.offset <= end:
                raise self._lied(f"has {upload.offset} bytes of the {end} that were sent")
            attempts.progress(upload.offset)
            if upload.offset < end:
                attempts.failed(TransientError(f"the registry took {upload.offset - start} of {end - start} bytes"))
        url = upload.url.with_query(("digest", self._content.digest))
        with self._request("PUT", url, upload.offset, self._content.size) as response:
            return response.status in (201, 204) or self._lost(response, attempts)

    def _begin(self) -> None:
        with self._repository.tell(Request("POST", self._repository.url("blobs/uploads/"), size=0)) as response:
            if response.status != 202:
                raise self._endpoint.refused(response, self._what)
            self._upload = _Upload(self._location(response))
            least = response.header("OCI-Chunk-Min-Length") or ""
            if least.isascii() and least.isdigit() and len(least) < 19:
                self._part = max(self._part, int(least))

    def _request(self, method: str, url: Url, start: int, end: int) -> Response:
        def body() -> Iterator[memoryview]:
            sent = start
            for block in self._content.blocks(start, end):
                yield block
                sent += len(block)
                self._repository.progress(self._what, max(0, min(sent, self._content.size - 1)), self._content.size)

        headers = {"Content-Type": "application/octet-stream"}
        if start or method == "PATCH":
            headers["Content-Range"] = f"{start}-{end - 1}"
        return self._repository.tell(Request(method, url, headers, body, end - start))

    def _find_upload(self) -> None:
        """Ask how much of the upload the registry has; an upload that it does not know begins again."""
        upload = self._upload
        if upload is None:
            return

        def ask() -> _Upload | None:
            with self._repository.tell(Request("GET", upload.url)) as response:
                if response.status not in (200, 202, 204):
                    return None
                return _Upload(self._location(response), self._received(response, 0))

        self._upload = retrying(self._patience, self._what, ask)
        if self._upload is not None and not 0 <= self._upload.offset <= self._content.size:
            self._upload = None

    def _lost(self, response: Response, attempts: Attempts) -> bool:
        """After a refusal that may only mean that the registry forgot what it had: begin again, a few times."""
        refusal = self._endpoint.refused(response, self._what)
        if response.status not in (400, 404, 416) or _WRONG_DIGEST in refusal.message:
            raise refusal
        attempts.failed(TransientError(refusal.message))
        return self._restart()

    def _restart(self) -> bool:
        self._upload = None
        return False

    def _location(self, response: Response) -> Url:
        location = response.header("Location")
        if location is None:
            raise self._lied("does not say where the upload goes on")
        return self._repository.lead(response, location)

    def _received(self, response: Response, default: int) -> int:
        """How many bytes the registry has. "0-0" is what some say for none, and parts are never of one byte."""
        found = _RANGE.fullmatch((response.header("Range") or "").strip())
        if found is None:
            return default
        return int(found[1]) + 1 if int(found[1]) else 0

    def _lied(self, what: str) -> RegistryError:
        return RegistryError(
            f"{self._what}: {self._endpoint.host} {what}",
            code="registry-protocol",
            hint="the registry, or something before it, is broken or hostile",
        )
