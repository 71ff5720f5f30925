"""EXIT goes last: after all that the workload wrote, at both ends, and within a time."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from enarx.mux import leaving
from enarx.wire import Frame, Type, encode_fields
from tests.descriptors import nothing_left_open
from tests.mux.ends import Ends
from tests.mux.test_streams import MORE, drain, fill

EXIT = encode_fields(Type.EXIT, status=0, code="", message="", hint="")
BRIEF = 0.2
"""Seconds that an end waits in these tests for readers that read nothing."""


@pytest.fixture
def ends() -> Iterator[Ends]:
    with nothing_left_open(), Ends() as ends:
        yield ends


def standard(ends: Ends, name: str = "stdout") -> tuple[socket.socket, socket.socket]:
    """A standard stream: the host's end of it, and the workload's."""
    ends.keep_link.sendall(encode_fields(Type.STDIO, 1, name=name))
    ends.settle()
    assert [frame.type for frame in ends.to_host()] == [Type.STDIO]
    near, far = socket.socketpair()
    with far:
        socket.send_fds(ends.host_link, [encode_fields(Type.OPENED, 1, fd=True, name="")], [far.fileno()])
    ends.settle()
    (frame,) = ends.to_keep()
    return near, socket.socket(fileno=frame.take_fd())


def turn_until(ends: Ends, what: Type, seconds: float = 20.0) -> list[Frame]:
    """Turn until the host has got a frame of the type."""
    end = time.monotonic() + seconds
    got: list[Frame] = []
    while not any(frame.type is what for frame in got):
        assert time.monotonic() < end, "it did not come"
        for one in (ends.host, ends.keep):
            if not one.over:
                one.turn(wait=False)
        got += ends.to_host()
    return got


def test_exit_comes_after_what_was_written_before_it(ends: Ends) -> None:
    streams = [ends.open(), standard(ends)]
    for _, workload in streams:
        workload.sendall(b"last words")
    ends.keep_link.sendall(EXIT)  # nothing has been moved so far
    got = turn_until(ends, Type.EXIT)
    assert [frame.type for frame in got] == [Type.EXIT]
    for near, workload in streams:
        assert near.recv(100, socket.MSG_DONTWAIT) == b"last words"
        assert near.recv(100, socket.MSG_DONTWAIT) == b""
        near.close()
        workload.close()


def test_frames_before_exit_come_before_it(ends: Ends) -> None:
    status = encode_fields(Type.STATUS, sandbox={}, timings=[], evidence="")
    ends.keep_link.sendall(status * 100 + EXIT)
    assert [frame.type for frame in turn_until(ends, Type.EXIT)] == [Type.STATUS] * 100 + [Type.EXIT]


def test_the_keeps_end_is_over_when_the_host_has_exit(ends: Ends) -> None:
    ends.keep_link.sendall(EXIT)
    ends.keep_link.shutdown(socket.SHUT_WR)
    turn_until(ends, Type.EXIT)
    for _ in range(10):
        ends.host.turn(wait=False)
        if not ends.keep.over:
            ends.keep.turn(wait=False)
    assert ends.keep.over
    assert not ends.host.over
    ends.keep.close()  # the Keep has ended, and the host still delivers
    for _ in range(10):
        ends.host.turn(wait=False)
    assert not ends.host.over
    ends.host_link.close()
    ends.host.turn(wait=False)
    assert ends.host.over


def test_output_that_was_closed_is_read_to_its_end_however_slowly(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "DRAIN_SECONDS", 0.2)
    near, workload = standard(ends)
    with near:
        written = fill(ends, workload)
        assert written < MORE
        workload.close()
        ends.keep_link.sendall(EXIT)
        late = time.monotonic() + 0.3
        while time.monotonic() < late:
            ends.host.turn(wait=False)
            ends.keep.turn(wait=False)
        assert ends.to_host() == []
        assert len(drain_alone(ends, near)) == written
        turn_until(ends, Type.EXIT)


def drain_alone(ends: Ends, sock: socket.socket) -> bytes:
    """Read to the end, while the ends turn."""
    data = bytearray()
    idle = 0
    while idle < 50:
        for one in (ends.host, ends.keep):
            if not one.over:
                one.turn(wait=False)
        with contextlib.suppress(BlockingIOError):
            part = sock.recv(100_000, socket.MSG_DONTWAIT)
            data += part
            if not part:
                break
            idle = 0
        idle += 1
    return bytes(data)


@pytest.mark.parametrize("closed", [True, False])
def test_a_client_that_reads_nothing_is_waited_for_only_so_long(
    closed: bool, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "DRAIN_SECONDS", BRIEF)
    client, workload = ends.open()
    with client, workload:
        fill(ends, workload)
        if closed:
            workload.close()
        started = time.monotonic()
        ends.keep_link.sendall(EXIT)
        turn_until(ends, Type.EXIT)
        assert time.monotonic() - started >= BRIEF


def test_output_of_a_workload_that_was_ended_goes_as_far_as_there_is_room(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not closed its output, and there is nobody left to do so."""
    monkeypatch.setattr(leaving, "DRAIN_SECONDS", BRIEF)
    near, workload = standard(ends)
    with near, workload:
        fill(ends, workload)
        ends.keep_link.sendall(EXIT)
        turn_until(ends, Type.EXIT)


def test_a_host_that_does_not_take_exit_is_waited_for_only_so_long(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "DRAIN_SECONDS", BRIEF)
    ends.settle()
    ends.keep_link.sendall(EXIT)
    ends.keep_link.shutdown(socket.SHUT_WR)
    end = time.monotonic() + 20
    while not ends.keep.over:
        assert time.monotonic() < end
        ends.keep.turn()


def test_nobody_waits_for_what_comes_behind_exit(ends: Ends) -> None:
    client, workload = ends.open()
    with client, workload:
        workload.sendall(b"x")
        client.sendall(b"y")
        ends.keep_link.sendall(EXIT)
        ends.host_link.sendall(encode_fields(Type.STOP, reason=""))
        assert [frame.type for frame in turn_until(ends, Type.EXIT)] == [Type.EXIT]
        assert drain(ends, client, 2) == b"x"
