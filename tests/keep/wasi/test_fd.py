"""``fd_*`` on files and directories; sockets and standard streams have tests of their own."""

from __future__ import annotations

import time

import pytest

from enarx.errors import LimitError
from enarx.keep.wasi.abi import MAX_IOVECS, PRESTAT, Errno, Fdflags, Filetype, Fstflags, Oflags, Rights
from enarx.keep.wasi.descriptor import Null
from enarx.keep.wasi.openfile import preopen
from enarx.keep.wasi.tree import NODE_COST, FileSystem
from tests.keep.wasi.conftest import DESCRIPTORS, FILESYSTEM_LIMIT, MakeGuest
from tests.keep.wasi.guest import PAGE, Guest, fails

END = (1 << 63) - 1
"""The largest offset."""
TAKES_A_DESCRIPTOR = {
    "fd_advise": (0, 0, 0),
    "fd_allocate": (0, 1),
    "fd_close": (),
    "fd_datasync": (),
    "fd_fdstat_get": (1024,),
    "fd_fdstat_set_flags": (0,),
    "fd_fdstat_set_rights": (0, 0),
    "fd_filestat_get": (1024,),
    "fd_filestat_set_size": (0,),
    "fd_filestat_set_times": (0, 0, 0),
    "fd_pread": (1024, 0, 0, 1024),
    "fd_prestat_get": (1024,),
    "fd_prestat_dir_name": (1024, 8),
    "fd_pwrite": (1024, 0, 0, 1024),
    "fd_read": (1024, 0, 1024),
    "fd_readdir": (1024, 64, 0, 1024),
    "fd_renumber": (0,),
    "fd_seek": (0, 0, 1024),
    "fd_sync": (),
    "fd_tell": (1024,),
    "fd_write": (1024, 0, 1024),
    "path_create_directory": (1024, 1),
    "path_filestat_get": (0, 1024, 1, 2048),
    "path_filestat_set_times": (0, 1024, 1, 0, 0, 0),
    "path_link": (0, 1024, 1, 3, 1024, 1),
    "path_open": (0, 1024, 1, 0, 0, 0, 0, 2048),
    "path_readlink": (1024, 1, 2048, 8, 4096),
    "path_remove_directory": (1024, 1),
    "path_rename": (1024, 1, 3, 1024, 1),
    "path_unlink_file": (1024, 1),
    "sock_accept": (0, 1024),
    "sock_recv": (1024, 0, 0, 1024, 2048),
    "sock_send": (1024, 0, 0, 1024),
    "sock_shutdown": (1,),
}


@pytest.mark.parametrize("fd", [4, 63, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("name", TAKES_A_DESCRIPTOR)
def test_a_descriptor_that_is_not_open_is_bad(guest: Guest, name: str, fd: int) -> None:
    with fails(Errno.BADF):
        guest.do(name, fd, *TAKES_A_DESCRIPTOR[name])


# Reading and writing


def test_what_is_written_is_read_back(guest: Guest) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    assert guest.write(fd, b"one ", b"", b"two ", b"three") == 13
    assert guest.tell(fd) == 13
    assert guest.read(fd, 4) == b""
    assert guest.seek(fd, 0) == 0
    assert guest.read(fd, 3, 0, 5, 100) == b"one two three"
    assert guest.read(fd, 10) == b""


def test_reading_fills_buffers_in_order_and_no_further(guest: Guest) -> None:
    guest.create("file", b"abcdef")
    fd = guest.open("file")
    first, second, out = guest.room(4), guest.room(4), guest.room(4)
    guest.do("fd_read", fd, *guest.iovecs([(first, 4), (second, 4)]), out)
    assert (guest.u32(out), guest.peek(first, 4), guest.peek(second, 4)) == (6, b"abcd", b"ef\xaa\xaa")


def test_reading_at_an_offset_leaves_the_position(guest: Guest) -> None:
    guest.create("file", b"0123456789")
    fd = guest.open("file")
    assert guest.pread(fd, 4, 3, 3) == b"456789"
    assert guest.pread(fd, 9, 5) == b"9"
    assert guest.pread(fd, 10, 5) == b""
    assert guest.pread(fd, END, 5) == b""
    assert guest.tell(fd) == 0


def test_writing_at_an_offset_leaves_the_position_and_fills_a_gap_with_zeros(guest: Guest) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    assert guest.pwrite(fd, 4, b"ab", b"cd") == 4
    assert guest.pwrite(fd, 0, b"x") == 1
    assert guest.tell(fd) == 0
    assert guest.read(fd, 100) == b"x\0\0\0abcd"


def test_writing_nothing_at_an_offset_does_not_extend_the_file(guest: Guest) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    assert guest.pwrite(fd, 100, b"") == 0
    assert guest.stat(fd).size == 0


@pytest.mark.parametrize("offset", [1 << 63, (1 << 64) - 1])
def test_a_negative_offset_is_invalid(guest: Guest, offset: int) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    with fails(Errno.INVAL):
        guest.pread(fd, offset, 1)
    with fails(Errno.INVAL):
        guest.pwrite(fd, offset, b"x")


def test_an_offset_that_no_file_can_reach_is_too_big(guest: Guest) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    for offset in (FILESYSTEM_LIMIT + 1, 1 << 40, END):
        with fails(Errno.FBIG):
            guest.pwrite(fd, offset, b"x")
    assert guest.stat(fd).size == 0


def test_appending_writes_at_the_end_wherever_the_position_is(guest: Guest) -> None:
    guest.create("file", b"start")
    fd = guest.open("file", flags=Fdflags.APPEND)
    other = guest.open("file")
    assert guest.seek(fd, 1) == 1
    assert guest.write(fd, b"-one") == 4
    assert guest.seek(other, 0, 2) == 9
    assert guest.write(other, b"-two") == 4
    assert guest.write(fd, b"-three") == 6
    assert guest.tell(fd) == 19
    assert guest.content("file") == b"start-one-two-three"


def test_append_can_be_switched_on_and_off(guest: Guest) -> None:
    guest.create("file", b"12345")
    fd = guest.open("file")
    guest.do("fd_fdstat_set_flags", fd, Fdflags.APPEND)
    assert guest.fdstat(fd).flags == Fdflags.APPEND
    guest.write(fd, b"6")
    guest.do("fd_fdstat_set_flags", fd, 0)
    guest.seek(fd, 0)
    guest.write(fd, b"X")
    assert guest.content("file") == b"X23456"


def test_unknown_flags_are_invalid(guest: Guest) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    with fails(Errno.INVAL):
        guest.do("fd_fdstat_set_flags", fd, 32)
    with fails(Errno.INVAL):
        guest.do("fd_fdstat_set_flags", 3, 1 << 31)


# Bad memory must not lose data or act halfway


def test_a_read_whose_result_cannot_be_stored_consumes_nothing(guest: Guest) -> None:
    guest.create("file", b"data")
    fd = guest.open("file")
    buffer = guest.room(4)
    with fails(Errno.FAULT):
        guest.do("fd_read", fd, *guest.iovecs([(buffer, 4)]), guest.size - 3)
    assert guest.tell(fd) == 0
    assert guest.peek(buffer, 4) == b"\xaa" * 4


def test_one_bad_buffer_of_many_fails_the_call_before_it_acts(guest: Guest) -> None:
    guest.create("file", b"data")
    fd = guest.open("file")
    good, out = guest.room(2), guest.room(4)
    bad = [(guest.size, 1), (guest.size - 1, 2), (0xFFFFFFFF, 1), (0, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF)]
    for buffer in bad:
        for buffers in ([buffer], [(good, 2), buffer], [buffer, (good, 2)]):
            with fails(Errno.FAULT):
                guest.do("fd_read", fd, *guest.iovecs(buffers), out)
            with fails(Errno.FAULT):
                guest.do("fd_write", fd, *guest.iovecs(buffers), out)
            with fails(Errno.FAULT):
                guest.do("fd_pwrite", fd, *guest.iovecs(buffers), 0, out)
    assert guest.tell(fd) == 0
    assert guest.peek(good, 2) == b"\xaa\xaa"
    assert guest.content("file") == b"data"


def test_a_list_of_buffers_outside_memory_is_a_fault(guest: Guest) -> None:
    for pointer, count in ((guest.size - 7, 1), (guest.size, 1), (0xFFFFFFF8, 2), (guest.size - 8, MAX_IOVECS)):
        with fails(Errno.FAULT):
            guest.do("fd_write", 0, pointer, count, 1024)


def test_more_buffers_than_the_limit_are_invalid(guest: Guest) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    assert guest.write(fd, *[b"x"] * MAX_IOVECS) == MAX_IOVECS
    for count in (MAX_IOVECS + 1, 10_000, 0xFFFFFFFF):
        with fails(Errno.INVAL):
            guest.do("fd_write", fd, 1024, count, 1024)


def test_an_empty_buffer_may_point_anywhere(guest: Guest) -> None:
    guest.create("file", b"data")
    fd, out = guest.open("file"), guest.room(4)
    guest.do("fd_read", fd, *guest.iovecs([(0xFFFFFFFF, 0)]), out)
    assert guest.u32(out) == 0


def test_memory_that_has_grown_between_calls_can_be_used(guest: Guest) -> None:
    guest.create("file", b"in the new page")
    fd = guest.open("file")
    edge = guest.size
    with fails(Errno.FAULT):
        guest.do("fd_read", fd, *guest.iovecs([(edge, 32)]), guest.room(4))
    assert guest.grow(2) == edge // PAGE
    out = edge + PAGE
    guest.do("fd_read", fd, *guest.iovecs([(edge, 32)]), out)
    assert guest.peek(edge, guest.u32(out)) == b"in the new page"


# Positions


def test_seeking_from_start_position_and_end(guest: Guest) -> None:
    guest.create("file", b"0123456789")
    fd = guest.open("file")
    assert guest.seek(fd, 4, 0) == 4
    assert guest.seek(fd, -2, 1) == 2
    assert guest.seek(fd, -1, 2) == 9
    assert guest.read(fd, 5) == b"9"
    assert guest.seek(fd, 10, 2) == 20
    assert guest.read(fd, 5) == b""
    guest.write(fd, b"!")
    assert guest.content("file") == b"0123456789" + bytes(10) + b"!"


def test_seeking_before_the_start_past_the_last_offset_or_from_nowhere_is_refused(guest: Guest) -> None:
    guest.create("file", b"0123456789")
    fd = guest.open("file")
    guest.seek(fd, 5)
    with fails(Errno.INVAL):
        guest.seek(fd, -6, 1)
    with fails(Errno.INVAL):
        guest.seek(fd, -1, 0)
    with fails(Errno.INVAL):
        guest.seek(fd, -(1 << 63), 2)
    with fails(Errno.OVERFLOW):
        guest.seek(fd, END, 1)
    with fails(Errno.INVAL):
        guest.seek(fd, 0, 3)
    assert guest.tell(fd) == 5
    assert guest.seek(fd, END, 0) == END


def test_a_directory_has_no_position(guest: Guest) -> None:
    with fails(Errno.BADF):
        guest.seek(3, 0)
    with fails(Errno.BADF):
        guest.tell(3)


def test_null_reads_nothing_swallows_everything_and_has_no_position(guest: Guest) -> None:
    assert guest.read(0, 10) == b""
    assert guest.write(1, b"abc", b"def") == 6
    with fails(Errno.SPIPE):
        guest.seek(0, 0)
    assert guest.stat(0).filetype == Filetype.UNKNOWN


# Sizes


def test_a_file_is_cut_and_extended(guest: Guest) -> None:
    guest.create("file", b"0123456789")
    fd = guest.open("file")
    guest.do("fd_filestat_set_size", fd, 4)
    assert guest.content("file") == b"0123"
    guest.do("fd_filestat_set_size", fd, 6)
    assert guest.content("file") == b"0123\0\0"
    with fails(Errno.INVAL):
        guest.do("fd_filestat_set_size", fd, 1 << 63)
    with fails(Errno.FBIG):
        guest.do("fd_filestat_set_size", fd, END)


def test_allocating_extends_and_never_cuts(guest: Guest) -> None:
    guest.create("file", b"01234567")
    fd = guest.open("file")
    guest.do("fd_allocate", fd, 2, 4)
    assert guest.stat(fd).size == 8
    guest.do("fd_allocate", fd, 6, 10)
    assert guest.content("file") == b"01234567" + bytes(8)
    with fails(Errno.INVAL):
        guest.do("fd_allocate", fd, 0, 0)
    with fails(Errno.FBIG):
        guest.do("fd_allocate", fd, (1 << 64) - 1, (1 << 64) - 1)
    with fails(Errno.FBIG):
        guest.do("fd_allocate", fd, 0, END)


def test_only_files_have_a_size_to_set(guest: Guest) -> None:
    for fd in (0, 3):
        with fails(Errno.NOTCAPABLE):
            guest.do("fd_filestat_set_size", fd, 0)
        with fails(Errno.NOTCAPABLE):
            guest.do("fd_allocate", fd, 0, 1)


def test_files_and_directories_can_be_synced(guest: Guest) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    guest.do("fd_sync", fd)
    guest.do("fd_datasync", fd)
    guest.do("fd_sync", 3)
    with fails(Errno.NOTCAPABLE):
        guest.do("fd_sync", 0)


def test_advice_is_taken_on_files_alone(guest: Guest) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    for advice in range(6):
        guest.do("fd_advise", fd, 0, (1 << 64) - 1, advice)
    with fails(Errno.INVAL):
        guest.do("fd_advise", fd, 0, 0, 6)
    with fails(Errno.BADF):
        guest.do("fd_advise", 3, 0, 0, 0)


# Attributes


def test_attributes_of_a_file_and_a_directory(guest: Guest) -> None:
    guest.create("file", b"12345")
    fd = guest.open("file")
    stat = guest.stat(fd)
    assert (stat.dev, stat.filetype, stat.nlink, stat.size) == (1, Filetype.REGULAR_FILE, 1, 5)
    root = guest.stat(3)
    assert (root.dev, root.filetype, root.nlink) == (1, Filetype.DIRECTORY, 2)
    assert root.ino != stat.ino
    assert guest.fdstat(fd) == (Filetype.REGULAR_FILE, 0, Rights.FILE, 0)
    assert guest.fdstat(3) == (Filetype.DIRECTORY, 0, Rights.DIRECTORY, Rights.DIRECTORY | Rights.FILE)


def test_timestamps_are_set_kept_or_taken_from_the_clock(guest: Guest) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    before = guest.stat(fd)
    guest.do("fd_filestat_set_times", fd, 111, 222, Fstflags.ATIM | Fstflags.MTIM)
    stat = guest.stat(fd)
    assert (stat.atim, stat.mtim) == (111, 222)
    assert stat.ctim > before.ctim
    guest.do("fd_filestat_set_times", fd, 333, 444, Fstflags.MTIM)
    assert guest.stat(fd)[5:7] == (111, 444)
    guest.do("fd_filestat_set_times", fd, 0, 0, 0)
    assert guest.stat(fd)[5:7] == (111, 444)
    now = time.time_ns()
    guest.do("fd_filestat_set_times", fd, 0, (1 << 64) - 1, Fstflags.ATIM_NOW | Fstflags.MTIM)
    stat = guest.stat(fd)
    assert now <= stat.atim <= time.time_ns()
    assert stat.mtim == (1 << 64) - 1
    guest.do("fd_filestat_set_times", 3, 5, 0, Fstflags.ATIM | Fstflags.MTIM_NOW)
    assert guest.stat(3).atim == 5


@pytest.mark.parametrize("flags", [3, 12, 15, 16, 0xFFFF])
def test_contradicting_or_unknown_timestamp_flags_are_invalid(guest: Guest, flags: int) -> None:
    with fails(Errno.INVAL):
        guest.do("fd_filestat_set_times", 3, 0, 0, flags)
    with fails(Errno.INVAL):
        guest.do("path_filestat_set_times", 3, 0, *guest.put("."), 0, 0, flags)


def test_writing_moves_modification_and_change_time(guest: Guest) -> None:
    guest.create("file", b"1")
    fd = guest.open("file")
    first = guest.stat(fd)
    guest.write(fd, b"2")
    second = guest.stat(fd)
    assert second.mtim > first.mtim
    assert second.ctim > first.ctim
    assert second.atim == first.atim


# Rights


def test_rights_can_be_given_up_and_never_regained(guest: Guest) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    guest.do("fd_fdstat_set_rights", fd, Rights.FD_READ | Rights.FD_SEEK, 0)
    assert guest.fdstat(fd).rights == Rights.FD_READ | Rights.FD_SEEK
    with fails(Errno.NOTCAPABLE):
        guest.write(fd, b"x")
    with fails(Errno.NOTCAPABLE):
        guest.do("fd_fdstat_set_rights", fd, Rights.FD_READ | Rights.FD_WRITE, 0)
    with fails(Errno.NOTCAPABLE):
        guest.do("fd_fdstat_set_rights", fd, 0, Rights.FD_READ)
    with fails(Errno.NOTCAPABLE):
        guest.do("fd_fdstat_set_rights", fd, 1 << 63, 0)
    assert guest.read(fd, 1) == b""


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("fd_read", Rights.FD_READ),
        ("fd_write", Rights.FD_WRITE),
        ("fd_pread", Rights.FD_READ),
        ("fd_pread", Rights.FD_SEEK),
        ("fd_pwrite", Rights.FD_WRITE),
        ("fd_pwrite", Rights.FD_SEEK),
        ("fd_sync", Rights.FD_SYNC),
        ("fd_datasync", Rights.FD_DATASYNC),
        ("fd_advise", Rights.FD_ADVISE),
        ("fd_allocate", Rights.FD_ALLOCATE),
        ("fd_fdstat_set_flags", Rights.FD_FDSTAT_SET_FLAGS),
        ("fd_filestat_get", Rights.FD_FILESTAT_GET),
        ("fd_filestat_set_size", Rights.FD_FILESTAT_SET_SIZE),
        ("fd_filestat_set_times", Rights.FD_FILESTAT_SET_TIMES),
    ],
)
def test_each_operation_on_a_file_needs_its_right(guest: Guest, name: str, right: int) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    guest.do(name, fd, *TAKES_A_DESCRIPTOR[name])
    guest.do("fd_fdstat_set_rights", fd, Rights.FILE & ~right, 0)
    with fails(Errno.NOTCAPABLE):
        guest.do(name, fd, *TAKES_A_DESCRIPTOR[name])


def test_telling_the_position_needs_tell_or_seek_and_moving_it_needs_seek(guest: Guest) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT, rights=Rights.FD_TELL)
    assert guest.tell(fd) == 0
    assert guest.seek(fd, 0, 1) == 0
    with fails(Errno.NOTCAPABLE):
        guest.seek(fd, 0, 0)
    with fails(Errno.NOTCAPABLE):
        guest.seek(fd, 1, 1)
    guest.do("fd_fdstat_set_rights", fd, 0, 0)
    with fails(Errno.NOTCAPABLE):
        guest.tell(fd)


def test_what_is_opened_below_a_directory_gets_no_more_than_the_directory_passes_on(guest: Guest) -> None:
    guest.mkdir("d")
    guest.create("d/file", b"x")
    directory = guest.open("d", rights=Rights.DIRECTORY, inheriting=Rights.FD_READ | Rights.PATH_OPEN)
    assert guest.fdstat(directory).inheriting == Rights.FD_READ | Rights.PATH_OPEN
    with fails(Errno.NOTCAPABLE):
        guest.open("file", at=directory, rights=Rights.FD_READ | Rights.FD_WRITE)
    with fails(Errno.NOTCAPABLE):
        guest.open("file", at=directory, rights=Rights.FD_READ, inheriting=Rights.FD_WRITE)
    fd = guest.open("file", at=directory, rights=Rights.FD_READ)
    assert guest.fdstat(fd).rights == Rights.FD_READ
    with fails(Errno.NOTCAPABLE):
        guest.write(fd, b"y")


def test_a_directory_that_is_to_pass_on_neither_reading_nor_writing_passes_on_what_its_parent_does(
    guest: Guest,
) -> None:
    """So programs ask that were written for engines without rights. What was given up for good stays so."""
    guest.mkdir("d")
    asked = Rights.PATH_OPEN | Rights.PATH_CREATE_FILE
    directory = guest.open("d", oflags=Oflags.DIRECTORY, rights=asked, inheriting=asked)
    assert guest.fdstat(directory).rights == asked
    assert guest.fdstat(directory).inheriting == guest.fdstat(3).inheriting
    assert guest.write(guest.open("file", at=directory, oflags=Oflags.CREAT), b"x") == 1
    guest.do("fd_fdstat_set_rights", 3, Rights.DIRECTORY, Rights.PATH_OPEN | Rights.FD_READ)
    directory = guest.open("d", oflags=Oflags.DIRECTORY, rights=Rights.PATH_OPEN)
    with fails(Errno.NOTCAPABLE):
        guest.open("file", at=directory, rights=Rights.FD_WRITE)
    assert guest.read(guest.open("file", at=directory, rights=Rights.FD_READ), 10) == b"x"


# Numbers


def test_descriptors_get_the_lowest_free_number(guest: Guest) -> None:
    guest.create("file")
    assert [guest.open("file") for _ in range(4)] == [4, 5, 6, 7]
    guest.close(6)
    guest.close(4)
    guest.close(5)
    assert [guest.open("file") for _ in range(4)] == [4, 5, 6, 8]
    guest.close(0)
    assert guest.open("file") == 0


def test_renumbering_moves_a_descriptor_onto_an_open_one(guest: Guest) -> None:
    guest.create("a", b"a")
    guest.create("b", b"b")
    a, b = guest.open("a"), guest.open("b")
    guest.do("fd_renumber", a, b)
    assert guest.read(b, 1) == b"a"
    with fails(Errno.BADF):
        guest.read(a, 1)
    guest.do("fd_renumber", b, b)
    assert guest.tell(b) == 1
    with fails(Errno.BADF):
        guest.do("fd_renumber", b, 40)
    assert guest.open("b") == a


def test_closing_twice_is_bad(guest: Guest) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    guest.close(fd)
    with fails(Errno.BADF):
        guest.close(fd)


def test_too_many_descriptors_end_the_workload_by_name(guest: Guest) -> None:
    guest.create("file")
    for _ in range(DESCRIPTORS - 4):
        guest.open("file")
    with pytest.raises(LimitError, match="descriptors") as limit:
        guest.open("file")
    assert limit.value.code == "limit-descriptors"


# Limits of the file system


def test_a_file_that_outgrows_the_file_system_ends_the_workload_by_name(guest: Guest) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    with pytest.raises(LimitError, match="filesystem") as limit:
        for _ in range(FILESYSTEM_LIMIT // PAGE + 1):
            guest.write(fd, bytes(PAGE))
    assert limit.value.code == "limit-filesystem"


def test_empty_files_are_not_free(guest: Guest) -> None:
    with pytest.raises(LimitError, match="filesystem"):
        for number in range(FILESYSTEM_LIMIT // NODE_COST):
            guest.close(guest.open(f"{number}", oflags=Oflags.CREAT))


# Directories


def test_a_directory_lists_itself_its_parent_and_its_entries(guest: Guest) -> None:
    guest.mkdir("d")
    guest.create("file")
    guest.symlink("file", "link")
    entries = guest.entries(3)
    assert [(entry.name, entry.kind) for entry in entries] == [
        (".", Filetype.DIRECTORY),
        ("..", Filetype.DIRECTORY),
        ("d", Filetype.DIRECTORY),
        ("file", Filetype.REGULAR_FILE),
        ("link", Filetype.SYMBOLIC_LINK),
    ]
    assert entries[0].ino == entries[1].ino == guest.stat(3).ino
    assert entries[3].ino == guest.path_stat("file").ino
    assert len({entry.cookie for entry in entries}) == 5


@pytest.mark.parametrize("room", [280, 300, 1000])
def test_a_small_buffer_lists_everything_in_pieces(guest: Guest, room: int) -> None:
    names = {f"{number}-" + "n" * (number * 8) for number in range(30)}
    for name in names:
        guest.create(name)
    assert {entry.name for entry in guest.entries(3, room)} == names | {".", ".."}


@pytest.mark.parametrize("room", range(0, 60, 7))
def test_an_entry_that_does_not_fit_is_cut_at_the_end_of_the_buffer(guest: Guest, room: int) -> None:
    guest.create("file-with-a-longer-name")
    everything = guest.readdir(3, 0, 4096)
    assert guest.readdir(3, 0, room) == everything[:room]


def test_reading_goes_on_from_a_cookie_while_the_directory_changes(guest: Guest) -> None:
    for name in "abcd":
        guest.create(name)
    entries = guest.entries(3)
    guest.unlink("a")
    guest.unlink("c")
    guest.create("e")
    rest = guest.readdir(3, entries[2].cookie, 4096)
    assert b"b" in rest
    assert b"d" in rest
    assert b"c" not in rest
    assert guest.readdir(3, entries[-1].cookie, 4096) == b""
    assert guest.readdir(3, (1 << 64) - 1, 4096) == b""
    assert [entry.name for entry in guest.entries(3)] == [".", "..", "b", "d", "e"]


def test_a_listing_can_begin_at_any_cookie(guest: Guest) -> None:
    guest.create("a")
    assert guest.readdir(3, 2, 4096) == guest.readdir(3, 0, 4096)[24 + 1 + 24 + 2 :]


def test_only_directories_are_listed(guest: Guest, fs: FileSystem) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    with fails(Errno.NOTCAPABLE):
        guest.readdir(fd, 0, 100)
    with fails(Errno.FAULT):
        guest.do("fd_readdir", 3, guest.size - 8, 9, 0, 1024)
    with fails(Errno.FAULT):
        guest.do("fd_readdir", 3, 1024, 9, 0, guest.size)


def test_a_descriptor_with_every_right_that_is_no_directory_cannot_be_listed(make_guest: MakeGuest) -> None:
    null = Null()
    null.rights = Rights.ALL
    with fails(Errno.NOTDIR):
        make_guest(null).readdir(4, 0, 100)


# Directories that are open at the start


def test_the_directory_that_is_open_at_the_start_tells_its_path(guest: Guest) -> None:
    out, name = guest.room(8), guest.room(4)
    guest.do("fd_prestat_get", 3, out)
    assert PRESTAT.unpack(guest.peek(out, 8)) == (0, 1)
    guest.do("fd_prestat_dir_name", 3, name, 4)
    assert guest.peek(name, 4) == b"/\xaa\xaa\xaa"
    with fails(Errno.NAMETOOLONG):
        guest.do("fd_prestat_dir_name", 3, name, 0)
    with fails(Errno.FAULT):
        guest.do("fd_prestat_dir_name", 3, guest.size, 1)
    with fails(Errno.FAULT):
        guest.do("fd_prestat_get", 3, guest.size - 7)


def test_a_directory_opened_later_is_not_one_of_the_start(guest: Guest) -> None:
    guest.mkdir("d")
    fd = guest.open_directory("d")
    with fails(Errno.BADF):
        guest.do("fd_prestat_get", fd, 1024)
    with fails(Errno.BADF):
        guest.do("fd_prestat_dir_name", fd, 1024, 10)


def test_a_guest_that_looks_from_3_up_finds_a_directory_behind_other_descriptors(
    make_guest: MakeGuest, fs: FileSystem
) -> None:
    guest = make_guest(Null(), Null(), preopen(fs, fs.new_root(), b"/data"), Null())
    kinds = []
    for fd in range(3, 100):
        out = guest.room(8)
        errno = guest.call("fd_prestat_get", fd, out)
        if errno == Errno.BADF:
            break
        assert errno == 0
        kinds.append(PRESTAT.unpack(guest.peek(out, 8)))
    assert kinds[0] == (0, 1)
    assert kinds[3] == (0, 5)
    assert [kind for kind, _ in kinds[1:3]] == [1, 1]
    assert len(kinds) == 4
