"""Open files and directories of the in-memory file system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from enarx.keep.wasi.abi import DIRENT, Errno, Fdflags, Filetype, Rights, WasiError, Whence
from enarx.keep.wasi.descriptor import Descriptor, Stat
from enarx.keep.wasi.tree import Directory, File, FileSystem, Node

MAX_OFFSET: Final = (1 << 63) - 1
"""Largest file offset: ``$filedelta`` is signed."""


class OpenNode(Descriptor):
    """What files and directories share."""

    def __init__(self, fs: FileSystem, node: Node, rights: int, inheriting: int, flags: int) -> None:
        super().__init__(rights, inheriting, flags)
        self.fs = fs
        self._node = node
        self.filetype = node.filetype
        node.opens += 1

    def stat(self) -> Stat:
        return self._node.stat()

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        set_times(self.fs, self._node, atim, mtim)

    def set_flags(self, flags: int) -> None:
        if flags & ~Fdflags.ALL:
            raise WasiError(Errno.INVAL)
        self.flags = flags

    def close(self) -> None:
        self._node.opens -= 1
        self.fs.release(self._node)


class OpenFile(OpenNode):
    """A regular file with a position."""

    def __init__(self, fs: FileSystem, file: File, rights: int, inheriting: int, flags: int) -> None:
        super().__init__(fs, file, rights, inheriting, flags)
        self._file = file
        self._position = 0

    def read(self, views: list[memoryview]) -> int:
        count = self.fs.read(self._file, self._position, views)
        self._position += count
        return count

    def write(self, views: list[memoryview]) -> int:
        if self.flags & Fdflags.APPEND:
            self._position = self._file.size
        count = self.pwrite(views, self._position)
        self._position += count
        return count

    def pread(self, views: list[memoryview], offset: int) -> int:
        if offset > MAX_OFFSET:
            raise WasiError(Errno.INVAL)
        return self.fs.read(self._file, offset, views)

    def pwrite(self, views: list[memoryview], offset: int) -> int:
        if offset > MAX_OFFSET:
            raise WasiError(Errno.INVAL)
        return self.fs.write(self._file, offset, views) if views else 0

    def seek(self, offset: int, whence: int) -> int:
        bases = {Whence.SET: 0, Whence.CUR: self._position, Whence.END: self._file.size}
        position = bases.get(Whence(whence), 0) + offset
        if position < 0:
            raise WasiError(Errno.INVAL)
        if position > MAX_OFFSET:
            raise WasiError(Errno.OVERFLOW)
        self._position = position
        return position

    def advise(self) -> None:
        pass

    def allocate(self, offset: int, length: int) -> None:
        if not length:
            raise WasiError(Errno.INVAL)
        if offset + length > MAX_OFFSET:
            raise WasiError(Errno.FBIG)
        if offset + length > self._file.size:
            self.fs.resize(self._file, offset + length)

    def set_size(self, size: int) -> None:
        if size > MAX_OFFSET:
            raise WasiError(Errno.INVAL)
        self.fs.resize(self._file, size)


@dataclass(slots=True, frozen=True)
class _Listing:
    """A directory's entries as they were when reading began: cookies stay valid while the directory changes."""

    names: list[str]
    inos: list[int]


class OpenDirectory(OpenNode):
    """A directory: a place to start a path from, and a list of entries."""

    def __init__(self, fs: FileSystem, directory: Directory, rights: int, inheriting: int, flags: int = 0) -> None:
        super().__init__(fs, directory, rights, inheriting, flags)
        self.directory = directory
        self._listing: _Listing | None = None

    def set_size(self, size: int) -> None:
        raise WasiError(Errno.BADF)

    def seek(self, offset: int, whence: int) -> int:
        raise WasiError(Errno.BADF)

    def advise(self) -> None:
        raise WasiError(Errno.BADF)

    def readdir(self, cookie: int, room: int) -> bytes:
        """``$dirent`` records from ``cookie`` on, at most ``room`` bytes; fewer only when the listing has ended.

        The last record may be cut short, which tells the caller to come again with a larger buffer.
        """
        if cookie == 0 or self._listing is None:
            entries = self.directory.entries
            self._listing = _Listing(
                [".", "..", *entries],
                [self.directory.ino, self.directory.parent.ino, *(node.ino for node in entries.values())],
            )
        listing, out = self._listing, bytearray()
        for index in range(min(cookie, len(listing.names)), len(listing.names)):
            if len(out) >= room:
                break
            name = listing.names[index]
            kind = Filetype.DIRECTORY
            if index >= 2:
                node = self.directory.entries.get(name)
                if node is None:  # removed since the listing was taken
                    continue
                kind = node.filetype
            raw = name.encode()
            out += DIRENT.pack(index + 1, listing.inos[index], len(raw), kind) + raw
        return bytes(out[:room])


def set_times(fs: FileSystem, node: Node, atim: int | None, mtim: int | None) -> None:
    """Set the timestamps (ns) that are not None."""
    if atim is not None:
        node.atim = atim
    if mtim is not None:
        node.mtim = mtim
    node.ctim = fs.clock()


def preopen(fs: FileSystem, root: Directory, path: bytes, *, read_only: bool = False) -> OpenDirectory:
    """A directory that the workload finds open at its start, under the guest path ``path``."""
    allowed = ~Rights.CHANGE if read_only else Rights.ALL
    opened = OpenDirectory(fs, root, Rights.DIRECTORY & allowed, (Rights.DIRECTORY | Rights.FILE) & allowed)
    opened.preopen = path
    return opened


__all__ = ["MAX_OFFSET", "OpenDirectory", "OpenFile", "preopen", "set_times"]
