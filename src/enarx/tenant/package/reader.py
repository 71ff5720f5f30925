"""Reads a package from a file, whatever its size: contents stay on disk, and encrypted ones are decrypted as needed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Final

from enarx import archive, envelope
from enarx.archive import Archive, Entry
from enarx.envelope import Header
from enarx.errors import UsageError
from enarx.mediatype import WASM, media_type_of
from enarx.tenant.package.seal import Opener, unseal

PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Package:
    """A package, or a module alone, that has been read as a whole.

    ``digest`` is over the file, ``sha256:...``. ``header`` is None unless it is encrypted. ``entries`` are None when it
    is encrypted and there was no key; otherwise it is authentic in all its chunks.
    """

    size: int
    digest: str
    media_type: str
    header: Header | None
    entries: tuple[Entry, ...] | None
    _content: Archive

    def entry(self, path: str) -> Entry | None:
        """The entry of this path."""
        return next((one for one in self.entries or () if one.path == path), None)

    def pieces(self, entry: Entry) -> Iterator[bytes]:
        """The content of an entry."""
        end = entry.offset + entry.size
        for at in range(entry.offset, end, PIECE_BYTES):
            yield bytes(self._content[at : min(at + PIECE_BYTES, end)])

    def read(self, entry: Entry, limit: int) -> bytes:
        """At most ``limit`` bytes of an entry."""
        return b"".join(self.pieces(Entry(entry.path, entry.directory, entry.offset, min(entry.size, limit))))


@contextlib.contextmanager
def open_package(place: Path, key: bytes | None = None) -> Iterator[Package]:
    """Read the package at ``place``; its contents can be read until the context ends.

    A ``key`` is for an encrypted package. MalformedError for what is no package, AuthenticityError for one that the key
    does not open or that was changed, UsageError for a file that cannot be read or changes meanwhile.
    """
    with _readable(place):
        file = os.fdopen(os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    with file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise UsageError(f"{place} is not a file", code="file-unreadable", hint="name the file of a package")
        with _readable(place):
            package = _read(file, _FileView(place, file.fileno(), before.st_size), key)
        yield package
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UsageError(
            f"{place} changed while it was read", code="file-changed", hint="try again when nothing writes to it"
        )


@contextlib.contextmanager
def _readable(place: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeEncodeError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(
            f"cannot read {place}: {cause}", code="file-unreadable", hint="check the path and its permissions"
        ) from error


def _read(file: BufferedReader, view: _FileView, key: bytes | None) -> Package:
    name = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    size = len(view)
    head = view[: envelope.HEADER_BYTES]
    if not envelope.is_encrypted(head):
        if key is not None:
            raise UsageError(
                "the package is not encrypted, and a key was given",
                code="package-not-encrypted",
                hint="leave the key out",
            )
        if media_type_of(head) == WASM:
            module = Entry(archive.MODULE, directory=False, offset=0, size=size)
            return Package(size, name, WASM, None, (module,), view)
        return Package(size, name, archive.MEDIA_TYPE, None, tuple(archive.entries(view)), view)
    header = envelope.parse_header(head)
    header.check_total(size)
    if key is None:
        return Package(size, name, envelope.MEDIA_TYPE, header, None, view)
    file.seek(0)
    for _ in unseal(file, key):
        pass  # authentic to its last chunk, or an error
    content = _SealedView(view, Opener(header, key))
    return Package(size, name, envelope.MEDIA_TYPE, header, tuple(archive.entries(content)), content)


class _FileView:
    """A file as bytes. One that became shorter ends early, as bytes do."""

    def __init__(self, place: Path, descriptor: int, size: int) -> None:
        self._place = place
        self._descriptor = descriptor
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: slice, /) -> bytes:
        start, stop, _ = place.indices(self._size)
        parts = []
        with _readable(self._place):
            while start < stop and (part := os.pread(self._descriptor, stop - start, start)):
                parts.append(part)
                start += len(part)
        return b"".join(parts)


class _SealedView:
    """The plaintext of an encrypted file as bytes; the chunk that was opened last is kept."""

    def __init__(self, sealed: _FileView, opener: Opener) -> None:
        self._sealed = sealed
        self._opener = opener
        self._index = -1
        self._chunk = b""

    def __len__(self) -> int:
        return self._opener.header.length

    def __getitem__(self, place: slice, /) -> bytes:
        start, stop, _ = place.indices(len(self))
        size = self._opener.header.chunk_bytes
        parts = []
        while start < stop:
            index, within = divmod(start, size)
            if index != self._index:
                offset, length = self._opener.header.chunk(index)
                self._chunk = self._opener.open(index, self._sealed[offset : offset + length])
                self._index = index
            part = self._chunk[within : within + stop - start]
            parts.append(part)
            start += len(part)
        return b"".join(parts)
