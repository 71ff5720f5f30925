"""The socket that http.client is given."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from enarx.registry.guard import HEAD_MAX_BYTES, GuardedSocket


@pytest.fixture
def pair() -> Iterator[tuple[GuardedSocket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield GuardedSocket(ours), theirs


def test_what_came_before_a_silence_is_handed_out(
    pair: tuple[GuardedSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download goes on after the last byte that arrived, not after the last full block."""
    monkeypatch.setattr("enarx.registry.guard.IDLE_SECONDS", 0.05)
    guarded, theirs = pair
    theirs.sendall(b"x" * 300)
    guarded.expect_body(1000)
    buffer = bytearray(1000)
    with guarded.makefile("rb") as file:
        assert file.readinto(buffer) == 300
        assert isinstance(guarded.failure, TimeoutError)
        assert file.readinto(buffer) == 0
    assert buffer[:301] == b"x" * 300 + b"\0"


def test_no_more_is_received_than_was_expected(pair: tuple[GuardedSocket, socket.socket]) -> None:
    guarded, theirs = pair
    theirs.setblocking(False)
    guarded.expect_body(1000)
    received = 0
    with guarded.makefile("rb") as file:
        while guarded.failure is None:
            with contextlib.suppress(BlockingIOError):
                theirs.send(bytes(65536))
            received += len(file.read1())
    assert isinstance(guarded.failure, ConnectionAbortedError)
    assert 1500 <= received < 1500 + HEAD_MAX_BYTES + 2 * 65536


def test_a_head_has_a_time_of_its_own(pair: tuple[GuardedSocket, socket.socket]) -> None:
    guarded, theirs = pair
    theirs.sendall(b"x")
    guarded.expect_head(0.0)
    assert guarded.receive(memoryview(bytearray(1))) == 0
    assert isinstance(guarded.failure, TimeoutError)


def test_a_body_that_comes_too_slowly_is_given_up(
    pair: tuple[GuardedSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("enarx.registry.guard.time", SimpleNamespace(monotonic=lambda: now))
    guarded, theirs = pair
    guarded.expect_body(10**9)
    theirs.sendall(bytes(3000))
    buffer = memoryview(bytearray(1024))
    assert guarded.receive(buffer) == 1024
    now = 1060.0  # within the time of grace
    assert guarded.receive(buffer[:1]) == 1
    now = 1061.0
    assert guarded.receive(buffer) == 0
    assert isinstance(guarded.failure, TimeoutError)


def test_the_socket_is_closed_by_the_last_who_uses_it(pair: tuple[GuardedSocket, socket.socket]) -> None:
    guarded, theirs = pair
    file = guarded.makefile("rb")
    guarded.close()
    theirs.sendall(b"x")
    guarded.expect_body(1)
    assert file.read(1) == b"x"
    file.close()
    assert theirs.recv(1) == b""
