"""The in-memory file system: nodes, names and the byte limit. Knows nothing of descriptors or paths.

What the package brings is the read-only layer: its file contents are ``bytes`` that nothing ever changes. The
first write to such a file copies it (``bytearray``), so the writable layer holds exactly what the workload made.
Both count against one limit, and so does every name, so that empty files are not free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from enarx.errors import LimitError
from enarx.keep.wasi.abi import MAX_NAME, Errno, Filetype, WasiError
from enarx.keep.wasi.descriptor import Stat

NODE_COST: Final = 256
"""Bytes counted for a file, directory or symbolic link beside its contents and names."""
MAX_LINKS: Final = 65_000
"""Most hard links to one file."""


def entry_cost(name: str, size: int) -> int:
    """What a file of ``size`` bytes, or an empty directory, counts against the limit ``filesystem``, in bytes."""
    return NODE_COST + len(name.encode()) + size


class Node:
    """A file, directory or symbolic link."""

    filetype = Filetype.UNKNOWN
    __slots__ = ("atim", "ctim", "ino", "mtim", "nlink", "opens")

    def __init__(self, ino: int, now: int) -> None:
        self.ino = ino
        self.nlink = 0
        self.opens = 0
        self.atim = self.mtim = self.ctim = now

    @property
    def size(self) -> int:
        """Bytes of content."""
        return 0

    def stat(self) -> Stat:
        """Attributes."""
        return Stat(self.ino, self.filetype, self.nlink, self.size, self.atim, self.mtim, self.ctim)


class File(Node):
    """A regular file. ``data`` is bytes while it is the package's own, and a bytearray once written."""

    filetype = Filetype.REGULAR_FILE
    __slots__ = ("data",)

    def __init__(self, ino: int, now: int, data: bytes | bytearray = b"") -> None:
        super().__init__(ino, now)
        self.data = data

    @property
    def size(self) -> int:
        return len(self.data)


class Symlink(Node):
    """A symbolic link."""

    filetype = Filetype.SYMBOLIC_LINK
    __slots__ = ("target",)

    def __init__(self, ino: int, now: int, target: str) -> None:
        super().__init__(ino, now)
        self.target = target

    @property
    def size(self) -> int:
        return len(self.target.encode())


class Directory(Node):
    """A directory. ``parent`` is itself for the root of the tree and for a directory that was removed."""

    filetype = Filetype.DIRECTORY
    __slots__ = ("entries", "parent")

    def __init__(self, ino: int, now: int, parent: Directory | None) -> None:
        super().__init__(ino, now)
        self.entries: dict[str, Node] = {}
        self.parent = parent or self

    @property
    def removed(self) -> bool:
        """Whether the directory has been removed while it was open: nothing can be made in it any more."""
        return self.nlink == 0

    def ancestors(self) -> Iterator[Directory]:
        """This directory, its parent, and so on to the root."""
        node = self
        while True:
            yield node
            if node.parent is node:
                return
            node = node.parent


class FileSystem:
    """A tree under a limit of ``limit`` bytes. ``clock`` returns nanoseconds since 1970."""

    def __init__(self, limit: int, clock: Callable[[], int]) -> None:
        self._limit = limit
        self._next_ino = 1
        self.clock = clock
        self.used = 0
        self.root = self.new_root()

    def new_root(self) -> Directory:
        """A further, empty tree under the same limit."""
        root = Directory(self._ino(), self.clock(), None)
        root.nlink = 2
        return root

    def _ino(self) -> int:
        self._next_ino += 1
        return self._next_ino - 1

    def charge(self, count: int) -> None:
        """Count ``count`` more bytes (fewer, when negative). Raises LimitError past the limit."""
        if count > 0 and self.used + count > self._limit:
            raise LimitError(
                f"the workload's files exceed the limit `filesystem` of {self._limit} bytes",
                code="limit-filesystem",
                hint="raise `filesystem` under [limits] in Enarx.toml, or write less",
            )
        self.used += count

    def _enter(self, parent: Directory, name: str, node: Node, cost: int) -> None:
        """Make ``name`` refer to ``node``. The name must be free."""
        if parent.removed:
            raise WasiError(Errno.NOENT)
        if len(name.encode()) > MAX_NAME:
            raise WasiError(Errno.NAMETOOLONG)
        self.charge(cost + len(name.encode()))
        parent.entries[name] = node
        node.nlink += 1
        parent.mtim = parent.ctim = node.ctim = self.clock()

    def _leave(self, parent: Directory, name: str) -> Node:
        """Make ``name`` refer to nothing. The node stays, for whoever holds it."""
        node = parent.entries.pop(name)
        node.nlink -= 1
        self.charge(-len(name.encode()))
        parent.mtim = parent.ctim = node.ctim = self.clock()
        return node

    def release(self, node: Node) -> None:
        """Give back the bytes of a node that has neither a name nor an open descriptor."""
        if node.nlink <= 0 and node.opens <= 0:
            self.charge(-(NODE_COST + node.size))

    def create_file(self, parent: Directory, name: str, data: bytes = b"") -> File:
        """A new file that holds ``data``."""
        file = File(self._ino(), self.clock(), data)
        self._enter(parent, name, file, NODE_COST + len(data))
        return file

    def create_directory(self, parent: Directory, name: str) -> Directory:
        """A new, empty directory."""
        directory = Directory(self._ino(), self.clock(), parent)
        self._enter(parent, name, directory, NODE_COST)
        directory.nlink += 1  # its own `.`
        parent.nlink += 1  # its `..`
        return directory

    def create_symlink(self, parent: Directory, name: str, target: str) -> Symlink:
        """A new symbolic link."""
        link = Symlink(self._ino(), self.clock(), target)
        self._enter(parent, name, link, NODE_COST + link.size)
        return link

    def link(self, parent: Directory, name: str, node: Node) -> None:
        """A further name for a file or symbolic link."""
        if isinstance(node, Directory):
            raise WasiError(Errno.PERM)
        if node.nlink >= MAX_LINKS:
            raise WasiError(Errno.MLINK)
        self._enter(parent, name, node, 0)

    def unlink(self, parent: Directory, name: str) -> None:
        """Remove the name of a file or symbolic link; the node goes when nothing refers to it."""
        self.release(self._leave(parent, name))

    def remove_directory(self, parent: Directory, name: str) -> None:
        """Remove an empty directory."""
        directory = parent.entries[name]
        if not isinstance(directory, Directory):
            raise WasiError(Errno.NOTDIR)
        if directory.entries:
            raise WasiError(Errno.NOTEMPTY)
        self._leave(parent, name)
        parent.nlink -= 1
        directory.nlink = 0
        directory.parent = directory
        self.release(directory)

    def rename(self, source: Directory, old: str, target: Directory, new: str) -> None:
        """Move a name, replacing what POSIX's rename() may replace."""
        node = source.entries[old]
        existing = target.entries.get(new)
        if existing is node:
            return
        if target.removed:
            raise WasiError(Errno.NOENT)
        if isinstance(node, Directory):
            if node in target.ancestors():
                raise WasiError(Errno.INVAL)
            if existing is not None:
                self.remove_directory(target, new)
        elif isinstance(existing, Directory):
            raise WasiError(Errno.ISDIR)
        elif existing is not None:
            self.unlink(target, new)
        self._leave(source, old)
        self._enter(target, new, node, 0)
        if isinstance(node, Directory):
            node.parent = target
            source.nlink -= 1
            target.nlink += 1

    def resize(self, file: File, size: int) -> None:
        """Truncate or extend with zeros."""
        if size > self._limit:
            raise WasiError(Errno.FBIG)
        self.charge(size - file.size)
        data = self.writable(file)
        if size < len(data):
            del data[size:]
        else:
            data.extend(bytes(size - len(data)))
        file.mtim = file.ctim = self.clock()

    def write(self, file: File, offset: int, views: list[memoryview]) -> int:
        """Write the buffers at ``offset``, extending the file; the number of bytes written."""
        total = sum(map(len, views))
        end = offset + total
        if offset > self._limit:
            raise WasiError(Errno.FBIG)
        self.charge(max(end - file.size, 0))
        data = self.writable(file)
        if offset > len(data):
            data.extend(bytes(offset - len(data)))
        for view in views:
            data[offset : offset + len(view)] = view
            offset += len(view)
        file.mtim = file.ctim = self.clock()
        return total

    @staticmethod
    def writable(file: File) -> bytearray:
        """The file's contents in the writable layer, copied there if they are not yet."""
        if not isinstance(file.data, bytearray):
            file.data = bytearray(file.data)
        return file.data

    @staticmethod
    def read(file: File, offset: int, views: list[memoryview]) -> int:
        """Fill the buffers from ``offset``; the number of bytes read."""
        start = offset
        data = memoryview(file.data)
        try:
            for view in views:
                count = min(len(view), max(len(data) - offset, 0))
                view[:count] = data[offset : offset + count]
                offset += count
        finally:
            data.release()
        return offset - start
