"""The in-memory file system: what it counts, and that it behaves as a real one does."""

from __future__ import annotations

import contextlib
import errno as host_errno
import itertools
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from enarx.errors import LimitError
from enarx.keep.wasi.abi import MAX_NAME, Errno, Filetype, Oflags, WasiError
from enarx.keep.wasi.context import Context
from enarx.keep.wasi.descriptor import DescriptorTable, Null
from enarx.keep.wasi.openfile import preopen
from enarx.keep.wasi.tree import MAX_LINKS, NODE_COST, FileSystem, entry_cost
from tests.keep.wasi.guest import Guest, binder_named, fails

LIMIT = 10_000


@pytest.fixture
def small() -> FileSystem:
    return FileSystem(LIMIT, itertools.count().__next__)


def test_what_an_entry_will_cost_is_known_beforehand(small: FileSystem) -> None:
    small.create_directory(small.root, "é")
    small.create_file(small.root, "file", b"12345")
    assert small.used == entry_cost("é", 0) + entry_cost("file", 5)


def test_every_node_name_and_byte_is_counted_and_given_back(small: FileSystem) -> None:
    root = small.root
    assert small.used == 0
    file = small.create_file(root, "file", b"12345")
    assert small.used == NODE_COST + 4 + 5
    small.write(file, 10, [memoryview(b"67")])
    assert small.used == NODE_COST + 4 + 12
    small.resize(file, 3)
    assert small.used == NODE_COST + 4 + 3
    small.link(root, "other", file)
    assert small.used == NODE_COST + 4 + 5 + 3
    small.rename(root, "file", root, "renamed")
    assert small.used == NODE_COST + 7 + 5 + 3
    small.unlink(root, "other")
    small.unlink(root, "renamed")
    assert small.used == 0
    small.create_symlink(root, "ü", "größe")
    assert small.used == NODE_COST + 2 + 7
    small.unlink(root, "ü")
    directory = small.create_directory(root, "d")
    assert small.used == NODE_COST + 1
    small.create_file(directory, "f")
    small.unlink(directory, "f")
    small.remove_directory(root, "d")
    assert small.used == 0


@pytest.mark.parametrize(
    "action",
    [
        lambda fs: fs.create_file(fs.root, "x", bytes(LIMIT)),
        lambda fs: fs.write(fs.create_file(fs.root, "x"), 0, [memoryview(bytes(LIMIT))]),
        lambda fs: fs.write(fs.create_file(fs.root, "x"), LIMIT - 10, [memoryview(b"1")]),
        lambda fs: fs.resize(fs.create_file(fs.root, "x"), LIMIT),
        lambda fs: fs.create_symlink(fs.root, "x", "t" * LIMIT),
        lambda fs: [fs.create_directory(fs.root, f"{number}") for number in range(LIMIT)],
        lambda fs: [fs.link(fs.root, "n" * 200 + f"{number}", fs.root.entries["f"]) for number in range(LIMIT)],
    ],
)
def test_past_the_limit_the_error_names_it_and_nothing_is_counted(
    small: FileSystem, action: Callable[[FileSystem], object]
) -> None:
    small.create_file(small.root, "f")
    with pytest.raises(LimitError, match="`filesystem` of 10000 bytes"):
        action(small)
    assert small.used <= LIMIT


def test_a_file_of_the_package_is_copied_when_it_is_first_written(small: FileSystem) -> None:
    data = b"from the package"
    file = small.create_file(small.root, "file", data)
    assert file.data is data
    buffer = memoryview(bytearray(4))
    assert small.read(file, 12, [buffer]) == 4
    assert file.data is data
    small.write(file, 0, [memoryview(b"F")])
    assert bytes(file.data) == b"From the package"
    assert data == b"from the package"


def test_a_file_has_a_largest_number_of_names(small: FileSystem) -> None:
    file = small.create_file(small.root, "file")
    file.nlink = MAX_LINKS
    with fails(Errno.MLINK):
        small.link(small.root, "more", file)


def test_names_are_checked_before_anything_changes(small: FileSystem) -> None:
    with fails(Errno.NAMETOOLONG):
        small.create_file(small.root, "n" * (MAX_NAME + 1))
    assert small.used == 0
    with fails(Errno.NOTDIR):
        small.create_file(small.root, "file")
        small.remove_directory(small.root, "file")


HOST_KINDS = {
    stat.S_IFREG: Filetype.REGULAR_FILE,
    stat.S_IFDIR: Filetype.DIRECTORY,
    stat.S_IFLNK: Filetype.SYMBOLIC_LINK,
}
NAMES = st.sampled_from("abc")
PATHS = st.tuples(st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.sampled_from(["", "", "", "/"])).map(
    "".join
)
TARGETS = st.lists(NAMES, min_size=1, max_size=2).map("/".join)
DATA = st.binary(max_size=20)
OFFSETS = st.integers(0, 40)


def outcome(action: Callable[[], object]) -> object:
    """What an operation gave: its result, or the name of its error, on either side."""
    try:
        return action()
    except OSError as error:
        return Errno[host_errno.errorcode[error.errno or 0][1:]].name
    except WasiError as error:
        return error.errno.name


class AgainstARealDirectory(RuleBasedStateMachine):
    """The same operations on a guest's directory and on one of the host's must have the same outcomes."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.real = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.fs = FileSystem(1 << 20, itertools.count().__next__)
        table = DescriptorTable(1000)
        for descriptor in (Null(), Null(), Null(), preopen(self.fs, self.fs.root, b"/")):
            table.add(descriptor)
        self.guest = Guest(Context(table), binder_named("unchecked"))
        self.held: list[tuple[int, int]] = []

    def host(self, path: str) -> str:
        return f"{self.real}/{path}"

    def same(self, ours: Callable[[], object], theirs: Callable[[], object]) -> object:
        expected = outcome(theirs)
        assert outcome(ours) == expected
        return expected

    def host_open(self, path: str, flags: int) -> int:
        return os.open(self.host(path), flags | os.O_CLOEXEC, 0o600)

    @rule(path=PATHS, data=DATA, exclusive=st.booleans(), follow=st.booleans())
    def create(self, path: str, data: bytes, exclusive: bool, follow: bool) -> None:
        def ours() -> int:
            oflags = Oflags.CREAT | (Oflags.EXCL if exclusive else Oflags.TRUNC)
            fd = self.guest.open(path, oflags=oflags, follow=follow)
            written = self.guest.write(fd, data)
            self.guest.close(fd)
            return written

        def theirs() -> int:
            flags = os.O_RDWR | os.O_CREAT | (os.O_EXCL if exclusive else os.O_TRUNC)
            fd = self.host_open(path, flags | (0 if follow else os.O_NOFOLLOW))
            written = os.write(fd, data)
            os.close(fd)
            return written

        self.same(ours, theirs)

    @rule(path=PATHS, offset=OFFSETS, data=DATA)
    def write(self, path: str, offset: int, data: bytes) -> None:
        def ours() -> int:
            fd = self.guest.open(path)
            written = self.guest.pwrite(fd, offset, data)
            self.guest.close(fd)
            return written

        def theirs() -> int:
            fd = self.host_open(path, os.O_RDWR)
            written = os.pwrite(fd, data, offset)
            os.close(fd)
            return written

        self.same(ours, theirs)

    @rule(path=PATHS, size=OFFSETS)
    def truncate(self, path: str, size: int) -> None:
        def ours() -> None:
            fd = self.guest.open(path)
            self.guest.do("fd_filestat_set_size", fd, size)
            self.guest.close(fd)

        self.same(ours, lambda: os.truncate(self.host(path), size))

    @rule(path=PATHS)
    def mkdir(self, path: str) -> None:
        self.same(lambda: self.guest.mkdir(path), lambda: os.mkdir(self.host(path)))

    @rule(path=PATHS)
    def rmdir(self, path: str) -> None:
        self.same(lambda: self.guest.rmdir(path), lambda: os.rmdir(self.host(path)))

    @rule(path=PATHS)
    def unlink(self, path: str) -> None:
        self.same(lambda: self.guest.unlink(path), lambda: os.unlink(self.host(path)))

    @rule(old=PATHS, new=PATHS)
    def rename(self, old: str, new: str) -> None:
        expected = outcome(lambda: os.rename(self.host(old), self.host(new)))
        got = outcome(lambda: self.guest.rename(old, new))
        if old.startswith(new.rstrip("/") + "/") and expected == "NOTEMPTY":
            # Linux says so before it looks at what is renamed; POSIX has ISDIR for what is no directory.
            assert got in ("NOTEMPTY", "ISDIR", "NOTDIR")
        else:
            assert got == expected

    def made(self, path: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
        """A link. Behind a file, a slash is EXIST to Linux and NOTDIR to us; POSIX has both."""
        expected, got = outcome(theirs), outcome(ours)
        assert got == expected or (path.endswith("/") and (expected, got) == ("EXIST", "NOTDIR"))

    @rule(old=PATHS, new=PATHS)
    def link(self, old: str, new: str) -> None:
        self.made(
            new,
            lambda: self.guest.link(old, new),
            lambda: os.link(self.host(old), self.host(new), follow_symlinks=False),
        )

    @rule(aim=TARGETS, path=PATHS)
    def symlink(self, aim: str, path: str) -> None:
        self.made(path, lambda: self.guest.symlink(aim, path), lambda: os.symlink(aim, self.host(path)))

    @rule(path=PATHS)
    def readlink(self, path: str) -> None:
        self.same(lambda: self.guest.readlink(path).decode(), lambda: os.readlink(self.host(path)))

    @rule(path=PATHS, follow=st.booleans())
    def stat(self, path: str, follow: bool) -> None:
        def ours() -> tuple[int, int, int]:
            found = self.guest.path_stat(path, follow=follow)
            if found.filetype == Filetype.DIRECTORY:  # whose size and links each kind of file system counts its way
                return found.filetype, 0, 0
            return found.filetype, found.size, found.nlink

        def theirs() -> tuple[int, int, int]:
            found = os.stat(self.host(path), follow_symlinks=follow)
            kind = HOST_KINDS[stat.S_IFMT(found.st_mode)]
            return (kind, 0, 0) if kind == Filetype.DIRECTORY else (kind, found.st_size, found.st_nlink)

        self.same(ours, theirs)

    @rule(path=PATHS)
    def readdir(self, path: str) -> None:
        def ours() -> list[str]:
            fd = self.guest.open_directory(path)
            names = sorted(entry.name for entry in self.guest.entries(fd, 64))
            self.guest.close(fd)
            return names

        self.same(ours, lambda: sorted([".", "..", *os.listdir(self.host(path))]))

    @rule(path=PATHS)
    def hold(self, path: str) -> None:
        """Keep a file open, so that it may lose its name meanwhile."""
        theirs = outcome(lambda: self.host_open(path, os.O_RDWR))
        ours = outcome(lambda: self.guest.open(path))
        if isinstance(theirs, int):
            assert isinstance(ours, int)
            self.held.append((ours, theirs))
        else:
            assert ours == theirs

    @precondition(lambda self: self.held)
    @rule(data=st.data(), offset=OFFSETS, written=DATA)
    def use(self, data: st.DataObject, offset: int, written: bytes) -> None:
        ours, theirs = data.draw(st.sampled_from(self.held))
        self.same(lambda: self.guest.pwrite(ours, offset, written), lambda: os.pwrite(theirs, written, offset))
        self.same(lambda: self.guest.pread(ours, 0, 100), lambda: os.pread(theirs, 100, 0))
        self.same(lambda: self.guest.stat(ours)[3:5], lambda: (os.fstat(theirs).st_nlink, os.fstat(theirs).st_size))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        ours, theirs = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.guest.close(ours)
        os.close(theirs)

    def compare(self, path: str, at: int) -> None:
        """The whole tree below ``path``, content included; remove ours on the way."""
        names = [entry.name for entry in self.guest.entries(at) if entry.name not in (".", "..")]
        assert sorted(names) == sorted(os.listdir(self.host(path)))
        for name in names:
            below = f"{path}/{name}"
            mode = os.lstat(self.host(below)).st_mode
            assert self.guest.path_stat(name, at=at, follow=False).filetype == HOST_KINDS[stat.S_IFMT(mode)]
            if stat.S_ISDIR(mode):
                fd = self.guest.open_directory(name, at=at)
                self.compare(below, fd)
                self.guest.close(fd)
                self.guest.rmdir(name, at=at)
                continue
            if stat.S_ISLNK(mode):
                assert self.guest.readlink(name, at=at).decode() == os.readlink(self.host(below))
            else:
                assert self.guest.content(name, at=at) == Path(self.host(below)).read_bytes()
            self.guest.unlink(name, at=at)

    def teardown(self) -> None:
        try:
            self.compare("", 3)
            while self.held:
                ours, theirs = self.held.pop()
                self.guest.close(ours)
                os.close(theirs)
            assert self.fs.used == 0
            assert self.fs.root.nlink == 2
        finally:
            for _, theirs in self.held:
                os.close(theirs)
            self.guest.context.table.close_all(10)
            self.stack.close()


TestAgainstARealDirectory = AgainstARealDirectory.TestCase
TestAgainstARealDirectory.settings = settings(max_examples=60, stateful_step_count=50)
