"""Bytes that go to a Keep: in memory, or in a file that is read while they are sent."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from typing import Final

from enarx.errors import HostError
from enarx.wire import MAX_PAYLOAD

PART_BYTES: Final = MAX_PAYLOAD
"""How much of a file is in memory at a time, in bytes: what one frame carries."""


class FileBytes:
    """The bytes of an open regular file. ``len`` is its size when it was opened, ``name`` is for errors.

    Not mapped into memory: a file that somebody else cuts short would end the process. One that is changed while it is
    read is an error, and never another content than the one whose digest was told.
    """

    def __init__(self, fd: int, name: str, digest: str = "") -> None:
        """Takes ``fd`` over. ``digest``: as a manifest writes it, where it is known. HostError for no regular file."""
        self.name = name
        self._fd = fd
        self._digest = digest
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            self.close()
            raise HostError(f"{name} is not a regular file", code="file-unreadable", hint="check the path")
        self._size = info.st_size
        self._state = _state(info)

    def __len__(self) -> int:
        return self._size

    def head(self, size: int) -> bytes:
        """The first ``size`` bytes, or fewer where there are fewer."""
        return self._read(0, min(size, self._size))

    def parts(self) -> Iterator[bytes]:
        """Everything, `PART_BYTES` at a time. Raises HostError when the file is no longer what it was."""
        for start in range(0, self._size, PART_BYTES):
            yield self._read(start, min(PART_BYTES, self._size - start))
        if _state(os.fstat(self._fd)) != self._state:
            raise self._changed()

    def digest(self) -> str:
        """Its SHA-256 as a manifest writes it; reads the file once. Raises HostError."""
        if not self._digest:
            found = hashlib.sha256()
            for part in self.parts():
                found.update(part)
            self._digest = f"sha256:{found.hexdigest()}"
        return self._digest

    def close(self) -> None:
        """Close the file. More than once does no harm."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self, start: int, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                more = os.pread(self._fd, size - len(data), start + len(data))
            except OSError as error:
                raise HostError(
                    f"{self.name} cannot be read: {error.strerror}", code="file-unreadable", hint="check its disk"
                ) from error
            if not more:
                raise self._changed()
            data += more
        return data

    def _changed(self) -> HostError:
        return HostError(
            f"{self.name} was changed while it was read",
            code="file-changed",
            hint="repeat when it is written",
        )


Data = bytes | bytearray | memoryview | FileBytes
"""What an object of a launch can be."""


def parts_of(data: Data) -> Iterator[bytes | memoryview]:
    """``data``, at most `PART_BYTES` at a time. Raises HostError for a file that was changed."""
    if isinstance(data, FileBytes):
        yield from data.parts()
        return
    view = memoryview(data)
    for start in range(0, len(view), PART_BYTES):
        yield view[start : start + PART_BYTES]


def head_of(data: Data, size: int) -> bytes:
    """The first ``size`` bytes of ``data``, or fewer where there are fewer. Raises HostError."""
    return data.head(size) if isinstance(data, FileBytes) else bytes(memoryview(data)[:size])


def digest_of(data: Data) -> str:
    """The SHA-256 of ``data`` as a manifest writes it. Raises HostError for a file that was changed."""
    return data.digest() if isinstance(data, FileBytes) else f"sha256:{hashlib.sha256(data).hexdigest()}"


def _state(info: os.stat_result) -> tuple[int, int]:
    """What a write changes; to replace or to remove the file changes neither this nor what we have open."""
    return info.st_size, info.st_mtime_ns
