"""Open files and directories without a guest around them."""

from __future__ import annotations

import itertools

import pytest

from enarx.keep.wasi.abi import Errno, Filetype, Rights
from enarx.keep.wasi.openfile import OpenDirectory, OpenFile, preopen
from enarx.keep.wasi.tree import FileSystem
from tests.keep.wasi.guest import fails


@pytest.fixture
def small() -> FileSystem:
    return FileSystem(1 << 16, itertools.count().__next__)


def test_each_open_file_has_a_position_of_its_own(small: FileSystem) -> None:
    file = small.create_file(small.root, "file", b"abcdef")
    first, second = (OpenFile(small, file, Rights.FILE, 0, 0) for _ in range(2))
    buffer = memoryview(bytearray(2))
    assert first.read([buffer]) == 2
    assert second.read([buffer]) == 2
    assert buffer.tobytes() == b"ab"
    assert first.read([buffer]) == 2
    assert buffer.tobytes() == b"cd"


def test_a_node_is_freed_when_the_last_descriptor_of_it_closes(small: FileSystem) -> None:
    file = small.create_file(small.root, "file", b"abcdef")
    opened = [OpenFile(small, file, Rights.FILE, 0, 0) for _ in range(3)]
    small.unlink(small.root, "file")
    for descriptor in opened:
        assert small.used > 0
        descriptor.close()
    assert small.used == 0


def test_a_directory_with_rights_it_never_has_still_refuses_what_files_do(small: FileSystem) -> None:
    directory = OpenDirectory(small, small.root, Rights.ALL, Rights.ALL)
    for attempt in (
        lambda: directory.set_size(0),
        lambda: directory.allocate(0, 1),
        lambda: directory.read([]),
        lambda: directory.write([]),
    ):
        with fails(Errno.BADF):
            attempt()
    for attempt in (lambda: directory.pread([], 0), lambda: directory.pwrite([], 0)):
        with fails(Errno.SPIPE):
            attempt()


def test_a_directory_of_the_start_passes_on_the_rights_of_files_and_directories(small: FileSystem) -> None:
    opened = preopen(small, small.root, b"/data")
    assert opened.preopen == b"/data"
    assert opened.filetype == Filetype.DIRECTORY
    assert opened.inheriting == Rights.DIRECTORY | Rights.FILE
    assert not opened.rights & (Rights.FD_READ | Rights.FD_WRITE)
