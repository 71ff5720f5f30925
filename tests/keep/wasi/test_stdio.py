"""Standard streams over pipes, files and terminals of the host."""

from __future__ import annotations

import os
import pty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from enarx.keep.wasi.abi import Errno, Fdflags, Filetype, Rights
from enarx.keep.wasi.stdio import Stdio
from tests.keep.wasi.conftest import MakeGuest
from tests.keep.wasi.guest import Guest, fails, on_read, on_write

Later = Callable[[float, Callable[[], object]], None]
IN, OUT = 4, 5


class Piped(NamedTuple):
    guest: Guest
    into: int
    out: int


@pytest.fixture
def piped(make_guest: MakeGuest) -> Iterator[Piped]:
    """A guest with a pipe to read from as IN and one to write to as OUT; the fixture's ends may be closed."""
    (ours_in, into), (out, ours_out) = os.pipe(), os.pipe()
    ends = [into, out]
    yield Piped(make_guest(Stdio(ours_in, readable=True), Stdio(ours_out, readable=False)), into, out)
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_bytes_go_through(piped: Piped) -> None:
    guest, into, out = piped
    os.write(into, b"0123456789")
    assert guest.read(IN, 4) == b"0123"
    assert guest.read(IN, 3, 100) == b"456789"
    assert guest.write(OUT, b"one ", b"two") == 7
    assert os.read(out, 100) == b"one two"
    assert guest.read(IN, 0) == b""
    assert guest.write(OUT, b"") == 0


def test_the_end_of_input_reads_as_nothing(piped: Piped) -> None:
    guest, into, _ = piped
    os.write(into, b"x")
    os.close(into)
    assert guest.read(IN, 10) == b"x"
    assert guest.read(IN, 10) == b""


def test_writing_to_who_no_longer_reads_breaks_the_pipe(piped: Piped) -> None:
    guest, _, out = piped
    os.close(out)
    with fails(Errno.PIPE):
        guest.write(OUT, b"x")


def test_each_stream_goes_one_way(piped: Piped) -> None:
    guest = piped.guest
    with fails(Errno.NOTCAPABLE):
        guest.write(IN, b"x")
    with fails(Errno.NOTCAPABLE):
        guest.read(OUT, 1)
    with fails(Errno.SPIPE):
        guest.seek(IN, 0)
    with fails(Errno.SPIPE):
        guest.tell(OUT)


def test_a_read_waits_for_input(piped: Piped, later: Later) -> None:
    guest, into, _ = piped
    later(0.03, lambda: os.write(into, b"late"))
    assert guest.read(IN, 10) == b"late"


def test_a_stream_that_does_not_block_says_again_and_leaves_the_hosts_flags_alone(piped: Piped) -> None:
    guest, into, out = piped
    for fd in (IN, OUT):
        guest.do("fd_fdstat_set_flags", fd, Fdflags.NONBLOCK)
        assert guest.fdstat(fd).flags == Fdflags.NONBLOCK
    with fails(Errno.AGAIN):
        guest.read(IN, 10)
    os.write(into, b"x")
    assert guest.read(IN, 10) == b"x"
    with fails(Errno.AGAIN):
        while True:
            guest.write(OUT, bytes(4096))
    assert os.get_blocking(into)
    assert os.get_blocking(out)


def test_a_write_that_does_not_block_is_as_long_as_there_is_room_for(piped: Piped) -> None:
    """The host's descriptor itself does block: a pipe that has room for a little is ready."""
    guest, _, out = piped
    guest.do("fd_fdstat_set_flags", OUT, Fdflags.NONBLOCK)
    first, written = guest.write(OUT, b"1" * 1000, b"2" * 1_000_000), 0
    assert 1000 < first < 100_000
    assert os.read(out, first) == b"1" * 1000 + b"2" * (first - 1000)
    with fails(Errno.AGAIN):
        while True:
            written += guest.write(OUT, b"3" * 1_000_000)
    os.read(out, 1)
    assert len(os.read(out, 1 << 20)) == written - 1


@pytest.mark.parametrize("flags", [Fdflags.SYNC, Fdflags.DSYNC | Fdflags.NONBLOCK, 32])
def test_other_flags_are_invalid(piped: Piped, flags: int) -> None:
    with fails(Errno.INVAL):
        piped.guest.do("fd_fdstat_set_flags", OUT, flags)
    piped.guest.do("fd_fdstat_set_flags", OUT, Fdflags.APPEND)


def test_a_description_that_somebody_else_made_nonblocking_still_blocks_the_guest(
    make_guest: MakeGuest, later: Later
) -> None:
    ours, into = os.pipe()
    os.set_blocking(ours, False)
    guest = make_guest(Stdio(ours, readable=True))
    later(0.03, lambda: os.write(into, b"late"))
    assert guest.read(IN, 10) == b"late"
    os.close(into)


def test_a_guest_that_does_not_block_meets_a_stream_with_too_little_room(make_guest: MakeGuest) -> None:
    """Ready for a write is not ready for this write: an event counter has room for one, and not for so large a one."""
    counter = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    guest = make_guest(Stdio(counter, readable=False))
    guest.do("fd_fdstat_set_flags", IN, Fdflags.NONBLOCK)
    assert guest.poll(on_write(IN))
    with fails(Errno.AGAIN):
        guest.write(IN, ((1 << 64) - 2).to_bytes(8, "little"))
    assert guest.write(IN, (1).to_bytes(8, "little")) == 8


def test_what_a_stream_is_tells_whether_it_is_a_terminal(make_guest: MakeGuest, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    controller, terminal = pty.openpty()
    pipe, other = os.pipe()
    guest = make_guest(
        Stdio(terminal, readable=True),
        Stdio(os.open(tmp_path / "file", os.O_RDONLY), readable=True),
        Stdio(pipe, readable=True),
    )
    kinds = [Filetype.CHARACTER_DEVICE, Filetype.REGULAR_FILE, Filetype.UNKNOWN]
    for fd, kind in enumerate(kinds, start=4):
        assert guest.fdstat(fd).filetype == guest.stat(fd).filetype == kind
        assert not guest.fdstat(fd).rights & (Rights.FD_SEEK | Rights.FD_TELL)
    assert guest.read(5, 100) == b"from a file"
    os.close(controller)
    os.close(other)


def test_an_error_of_the_hosts_descriptor_is_reported(make_guest: MakeGuest, tmp_path: Path) -> None:
    guest = make_guest(Stdio(os.open(tmp_path, os.O_RDONLY), readable=True))
    with fails(Errno.IO):  # a directory cannot be read
        guest.read(IN, 10)


def test_streams_can_be_waited_for(piped: Piped) -> None:
    guest, into, _ = piped
    assert [event.userdata for event in guest.poll(on_read(IN, 1), on_write(OUT, 2))] == [2]
    os.write(into, b"x")
    assert [event.userdata for event in guest.poll(on_read(IN, 1), on_write(OUT, 2))] == [1, 2]


def test_closing_closes_the_hosts_descriptor(piped: Piped) -> None:
    guest, _, out = piped
    guest.close(OUT)
    assert os.read(out, 1) == b""
    with fails(Errno.BADF):
        guest.write(OUT, b"x")
