"""TLS streams as a guest sees them: plain sockets, whose end is an end only if the peer said so."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from enarx.keep.wasi.abi import Errno, Fdflags
from enarx.keep.wasi.tls_stream import RECORD, TlsStream
from tests.keep.wasi.conftest import MakeGuest
from tests.keep.wasi.guest import Guest, fails, on_clock, on_read
from tests.keep.wasi.sockets import raw, tls_stream

PEEK, WAITALL = 1, 2
READ, WRITE, BOTH = 1, 2, 3
HANGUP = 1
Later = Callable[[float, Callable[[], object]], None]


class Secure(NamedTuple):
    guest: Guest
    fd: int
    stream: TlsStream
    peer: ssl.SSLSocket

    def nonblocking(self, on: bool = True) -> None:
        self.guest.do("fd_fdstat_set_flags", self.fd, Fdflags.NONBLOCK if on else 0)


@pytest.fixture
def secure(make_guest: MakeGuest) -> Iterator[Secure]:
    stream, peer = tls_stream()
    with peer:
        yield Secure(make_guest(stream), 4, stream, peer)


def received(peer: ssl.SSLSocket) -> bytes:
    """Everything up to the peer's end; raises SSLError when it ended without close_notify."""
    data = bytearray()
    while part := peer.recv(65536):
        data += part
    return bytes(data)


def caught(tls: ssl.SSLSocket, data: bytes) -> bytes:
    """The record in which ``tls`` would send ``data``, which it does not: for the call its descriptor is another's."""
    ours, theirs = socket.socketpair()
    kept = os.dup(tls.fileno())
    with ours, theirs:
        os.dup2(theirs.fileno(), tls.fileno(), inheritable=False)
        tls.sendall(data)
        os.dup2(kept, tls.fileno(), inheritable=False)
        os.close(kept)
        return ours.recv(65536)


def cut(tls: ssl.SSLSocket) -> None:
    """Cut the stream off, both ways, as a host does that kills its peer."""
    with raw(tls) as wire:
        wire.shutdown(socket.SHUT_RDWR)


# Bytes


@pytest.mark.parametrize("size", [1, RECORD - 1, RECORD, RECORD + 1, 5 * RECORD + 7])
def test_bytes_go_both_ways_whatever_their_number(secure: Secure, size: int) -> None:
    guest, fd, _, peer = secure
    data = bytes(range(251)) * (size // 251 + 1)
    assert guest.send(fd, data[:size]) == size
    got = bytearray()
    while len(got) < size:
        got += peer.recv(65536)
    assert got == data[:size]
    peer.sendall(data[:size])
    assert guest.recv(fd, size, flags=WAITALL) == data[:size]


def test_several_buffers_are_written_and_read_in_order(secure: Secure) -> None:
    guest, fd, _, peer = secure
    assert guest.write(fd, b"one ", b"", b"two ", b"three") == 13
    got = b""
    while len(got) < 13:
        got += peer.recv(100)
    assert got == b"one two three"
    peer.sendall(b"0123456789")
    assert guest.read(fd, 3, 3) == b"012345"
    assert guest.read(fd, 3, 100) == b"6789"


def test_a_read_of_one_small_buffer_takes_no_more_than_fits(secure: Secure) -> None:
    guest, fd, _, peer = secure
    peer.sendall(b"0123456789")
    assert guest.read(fd, 4) == b"0123"
    assert guest.recv(fd, 2, flags=PEEK) == b"45"
    assert guest.read(fd, 3) == b"456"
    assert guest.read(fd, RECORD) == b"789"
    secure.nonblocking()
    with fails(Errno.AGAIN):
        guest.read(fd, 1)


def test_a_read_returns_what_is_there_without_waiting_for_the_rest(secure: Secure) -> None:
    guest, fd, _, peer = secure
    peer.sendall(b"01")
    assert guest.recv(fd, 1, 100) == b"01"


def test_waiting_for_all_spans_records(secure: Secure, later: Later) -> None:
    guest, fd, _, peer = secure
    peer.sendall(b"01")

    def send_later() -> None:
        peer.sendall(b"23")
        time.sleep(0.02)
        peer.sendall(b"4567")

    later(0.02, send_later)
    assert guest.recv(fd, 3, 3, flags=WAITALL) == b"012345"
    assert guest.recv(fd, 10) == b"67"


def test_peeking_leaves_the_bytes(secure: Secure) -> None:
    guest, fd, _, peer = secure
    peer.sendall(b"0123456789")
    assert guest.recv(fd, 4, flags=PEEK) == b"0123"
    assert guest.recv(fd, 3, 4, flags=PEEK) == b"0123456"
    assert guest.recv(fd, 2) == b"01"
    assert guest.recv(fd, 4, flags=PEEK) == b"2345"
    assert [event.nbytes for event in guest.poll(on_read(fd))] == [8]
    assert guest.recv(fd, 5, 100) == b"23456789"
    assert guest.recv(fd, flags=PEEK) == b""


def test_a_stream_that_does_not_block_says_again(secure: Secure) -> None:
    guest, fd, _, peer = secure
    secure.nonblocking()
    for flags in (0, PEEK, WAITALL):
        with fails(Errno.AGAIN):
            guest.recv(fd, 10, flags=flags)
    peer.sendall(b"x")
    assert guest.recv(fd, 10, flags=WAITALL) == b"x"


def test_half_a_record_is_not_there_yet(secure: Secure) -> None:
    """A record that arrives in two halves must neither block a stream that does not, nor be lost."""
    guest, fd, _, peer = secure
    secure.nonblocking()
    record = caught(peer, b"in two halves")
    with raw(peer) as wire:
        wire.sendall(record[:10])
        with fails(Errno.AGAIN):
            guest.recv(fd, 100)
        wire.sendall(record[10:])
    assert guest.recv(fd, 100) == b"in two halves"


# Ends


def test_the_end_that_the_peer_announces_reads_as_nothing(secure: Secure) -> None:
    guest, fd, _, peer = secure
    peer.sendall(b"last")
    peer.setblocking(False)
    with pytest.raises(ssl.SSLWantReadError):
        peer.unwrap()
    assert guest.recv(fd, 100) == b"last"
    for _ in range(3):
        assert guest.recv(fd, 100) == b""
        assert guest.recv(fd, 100, flags=PEEK) == b""
    assert guest.send(fd, b"answer") == 6
    peer.settimeout(10)
    assert peer.recv(100) == b"answer"


def test_a_stream_cut_off_without_an_announcement_is_reset_and_stays_so(secure: Secure) -> None:
    guest, fd, _, peer = secure
    peer.sendall(b"part of a message")
    with raw(peer) as wire:
        wire.shutdown(socket.SHUT_WR)
    assert guest.recv(fd, 100) == b"part of a message"
    for flags in (0, PEEK, WAITALL, 0):
        with fails(Errno.CONNRESET):
            guest.recv(fd, 100, flags=flags)
    (event,) = guest.poll(on_read(fd))
    assert event.flags == HANGUP


def test_what_came_before_the_cut_is_read_even_by_a_read_that_waits_for_more(secure: Secure) -> None:
    guest, fd, _, peer = secure
    peer.sendall(b"part")
    with raw(peer) as wire:
        wire.shutdown(socket.SHUT_WR)
    assert guest.recv(fd, 100, flags=WAITALL) == b"part"
    with fails(Errno.CONNRESET):
        guest.recv(fd, 100)


def test_bytes_that_are_no_tls_are_an_error(secure: Secure) -> None:
    guest, fd, _, peer = secure
    with raw(peer) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(100))
    with fails(Errno.IO):
        guest.recv(fd, 100)
    with fails(Errno.IO):
        guest.recv(fd, 100)


def test_a_peer_that_vanished_breaks_the_pipe(secure: Secure) -> None:
    guest, fd, _, peer = secure
    peer.close()
    with fails(Errno.PIPE):
        for _ in range(3):
            guest.send(fd, b"x")


def test_closing_announces_the_end(secure: Secure) -> None:
    guest, fd, _, peer = secure
    guest.send(fd, b"bye")
    guest.close(fd)
    assert received(peer) == b"bye"


def test_closing_announces_the_end_while_bytes_of_the_peer_wait(secure: Secure) -> None:
    guest, fd, _, peer = secure
    peer.sendall(b"never read")
    guest.send(fd, b"bye")
    guest.close(fd)
    assert received(peer) == b"bye"


def test_closing_after_the_peer_is_gone_is_no_error(secure: Secure) -> None:
    secure.peer.close()
    secure.guest.close(secure.fd)


def test_when_the_workload_ends_every_stream_announces_its_end(secure: Secure) -> None:
    secure.guest.send(secure.fd, b"bye")
    secure.guest.context.table.close_all(10)
    assert received(secure.peer) == b"bye"


# Halves


@pytest.mark.parametrize("nonblocking", [False, True])
def test_after_writing_is_shut_down_reading_goes_on(secure: Secure, nonblocking: bool) -> None:
    guest, fd, _, peer = secure
    secure.nonblocking(nonblocking)
    guest.send(fd, b"request")
    guest.shutdown(fd, WRITE)
    assert received(peer) == b"request"
    peer.sendall(b"first")
    assert guest.recv(fd, 100) == b"first"
    peer.sendall(b"second")
    assert guest.recv(fd, 100) == b"second"
    with fails(Errno.PIPE):
        guest.send(fd, b"x")
    guest.shutdown(fd, WRITE)
    peer.unwrap()
    assert guest.recv(fd, 100) == b""
    guest.close(fd)


@pytest.mark.parametrize("nonblocking", [False, True])
@pytest.mark.parametrize("read_first", [0, 3])
def test_bytes_that_wait_are_not_lost_when_writing_is_shut_down(
    secure: Secure, nonblocking: bool, read_first: int
) -> None:
    guest, fd, _, peer = secure
    secure.nonblocking(nonblocking)
    peer.sendall(b"one ")
    peer.sendall(b"two ")
    assert guest.recv(fd, read_first) == b"one "[:read_first]
    guest.shutdown(fd, WRITE)
    assert received(peer) == b""
    peer.sendall(b"three")
    got = b""
    while len(got) < 13 - read_first:
        got += guest.recv(fd, 100)
    assert got == b"one two three"[read_first:]


def test_bytes_that_keep_coming_are_not_lost_when_writing_is_shut_down(secure: Secure) -> None:
    """The peer writes all the time: whenever the end is announced, a record is on its way."""
    guest, fd, _, peer = secure
    data = bytes(range(256)) * 4096

    def send() -> None:
        for start in range(0, len(data), 1000):
            peer.sendall(data[start : start + 1000])
        peer.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            peer.unwrap()

    thread = threading.Thread(target=send)
    thread.start()
    got = bytearray(guest.recv(fd, 10_000, flags=WAITALL))
    guest.shutdown(fd, WRITE)
    while part := guest.recv(fd, 65536):
        got += part
    thread.join()
    assert got == data


def test_a_stream_that_blocks_still_does_after_writing_is_shut_down(secure: Secure, later: Later) -> None:
    guest, fd, _, peer = secure
    guest.shutdown(fd, WRITE)
    later(0.03, lambda: peer.sendall(b"late"))
    assert guest.recv(fd, 100) == b"late"


def test_shutting_down_after_the_peer_has_ended_finishes_the_stream(secure: Secure) -> None:
    guest, fd, _, peer = secure
    peer.sendall(b"last")
    peer.setblocking(False)
    with pytest.raises(ssl.SSLWantReadError):
        peer.unwrap()
    assert guest.recv(fd, 100) == b"last"
    assert guest.recv(fd, 100) == b""
    guest.shutdown(fd, WRITE)
    assert guest.recv(fd, 100) == b""
    with fails(Errno.PIPE):
        guest.send(fd, b"x")
    (event,) = guest.poll(on_read(fd))
    assert event.flags == HANGUP
    peer.settimeout(10)
    peer.unwrap()
    guest.close(fd)


def test_after_reading_is_shut_down_writing_goes_on(secure: Secure) -> None:
    guest, fd, _, peer = secure
    peer.sendall(b"never read")
    assert guest.recv(fd, 2, flags=PEEK) == b"ne"
    guest.shutdown(fd, READ)
    assert guest.recv(fd, 100) == b""
    assert guest.recv(fd, 100, flags=PEEK) == b""
    assert guest.send(fd, b"still") == 5
    (event,) = guest.poll(on_read(fd))
    assert (event.nbytes, event.flags) == (0, HANGUP)
    guest.close(fd)
    assert received(peer) == b"still"


def test_both_halves_are_shut_down_at_once(secure: Secure) -> None:
    guest, fd, _, peer = secure
    guest.send(fd, b"bye")
    guest.shutdown(fd, BOTH)
    assert received(peer) == b"bye"
    assert guest.recv(fd, 100) == b""
    with fails(Errno.PIPE):
        guest.send(fd, b"x")


def test_shutting_down_a_stream_whose_peer_vanished_tells_so(secure: Secure) -> None:
    guest, fd, _, peer = secure
    peer.close()
    with fails(Errno.PIPE):
        guest.shutdown(fd, WRITE)


def test_a_stream_that_failed_is_shut_down_without_an_announcement(secure: Secure) -> None:
    guest, fd, _, peer = secure
    with raw(peer) as wire:
        wire.sendall(bytes(100))
    with fails(Errno.IO):
        guest.recv(fd, 100)
    guest.shutdown(fd, WRITE)
    with fails(Errno.PIPE):
        guest.send(fd, b"x")
    with pytest.raises(ssl.SSLError):
        received(peer)


# A peer that does not read


def fill(secure: Secure) -> int:
    """Write until nothing more is taken; how much was."""
    secure.nonblocking()
    total = 0
    with fails(Errno.AGAIN):
        while True:
            total += secure.guest.send(secure.fd, b"f" * 40_000)
    return total


def drain(peer: ssl.SSLSocket, size: int) -> None:
    got = 0
    while got < size:
        part = peer.recv(65536)
        assert part
        assert part == b"f" * len(part)
        got += len(part)


def test_what_was_taken_arrives_though_the_guest_writes_something_else_next(secure: Secure) -> None:
    guest, fd, _, peer = secure
    total = fill(secure)
    with fails(Errno.AGAIN):
        guest.send(fd, b"other")
    drain(peer, total - RECORD)
    assert guest.send(fd, b"other") == 5
    drain(peer, RECORD)
    assert peer.recv(100) == b"other"


def test_reading_sends_what_is_kept(secure: Secure) -> None:
    guest, fd, stream, peer = secure
    total = fill(secure)
    assert stream._unsent
    drain(peer, total - RECORD)
    with fails(Errno.AGAIN):
        guest.recv(fd, 1)
    assert not stream._unsent
    drain(peer, RECORD)


def test_waiting_to_read_sends_what_is_kept_and_is_not_a_reason_to_wake(secure: Secure, later: Later) -> None:
    guest, fd, stream, peer = secure
    total = fill(secure)

    def take_and_answer() -> None:
        drain(peer, total)
        peer.sendall(b"answer")

    later(0.03, take_and_answer)
    (event,) = guest.poll(on_read(fd))
    assert (event.errno, event.flags) == (0, 0)
    assert event.nbytes > 0
    assert not stream._unsent
    assert guest.recv(fd, 100) == b"answer"


def test_the_announcement_of_the_end_waits_behind_what_is_kept(secure: Secure) -> None:
    guest, fd, _, peer = secure
    total = fill(secure)
    guest.shutdown(fd, WRITE)
    drain(peer, total - RECORD)
    assert guest.poll(on_read(fd), on_clock(0))
    drain(peer, RECORD)
    assert guest.poll(on_read(fd), on_clock(0))
    assert received(peer) == b""
    peer.sendall(b"answer")
    assert guest.recv(fd, 100) == b"answer"


def test_closing_waits_a_while_for_a_peer_to_take_what_is_kept(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enarx.keep.wasi.tls_stream.CLOSE_SECONDS", 60.0)
    guest, fd, _, peer = secure
    total = fill(secure)
    taken: list[bytes] = []
    reader = threading.Timer(0.05, lambda: taken.append(received(peer)))
    reader.start()
    guest.close(fd)
    reader.join()
    assert taken == [b"f" * total]


def test_closing_does_not_wait_for_ever_and_then_the_stream_is_cut(
    secure: Secure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enarx.keep.wasi.tls_stream.CLOSE_SECONDS", 0.05)
    guest, fd, _, peer = secure
    fill(secure)
    guest.close(fd)
    with pytest.raises(ssl.SSLError, match=r"(?i)eof"):
        received(peer)


def test_a_write_that_breaks_off_tells_how_far_it_came_and_the_next_one_why(secure: Secure, later: Later) -> None:
    guest, fd, _, peer = secure
    size = 1 << 20

    def cut_when_some_has_come() -> None:
        come = 0
        while come < size // 4:
            come += len(peer.recv(size))
        cut(peer)

    later(0.0, cut_when_some_has_come)
    assert 0 < guest.send(fd, bytes(size)) < size
    with fails(Errno.PIPE):
        guest.send(fd, b"x")


def test_waiting_for_a_peer_that_vanished_while_something_is_kept_for_it_ends(secure: Secure) -> None:
    guest, fd, stream, peer = secure
    fill(secure)
    assert stream._unsent
    cut(peer)
    (event,) = guest.poll(on_read(fd))
    assert (event.errno, event.flags) == (0, HANGUP)
    with fails(Errno.CONNRESET):
        guest.recv(fd, 10)
    with fails(Errno.PIPE):
        guest.send(fd, b"x")


# Being told to stop


def test_a_read_that_waits_ends_when_the_workload_is_to_stop_and_the_peer_sees_no_ordinary_end(
    secure: Secure, later: Later
) -> None:
    guest, fd, _, peer = secure
    guest.send(fd, b"so far")
    later(0.03, guest.context.wake)
    with fails(Errno.CONNRESET):
        guest.recv(fd, 10)
    guest.context.table.close_all(10)
    assert peer.recv(100) == b"so far"
    with pytest.raises(ssl.SSLError):
        received(peer)


def test_a_stream_on_which_nothing_waits_announces_its_end_when_the_workload_is_to_stop(secure: Secure) -> None:
    secure.guest.send(secure.fd, b"so far")
    secure.guest.context.wake()
    secure.guest.context.table.close_all(10)
    assert received(secure.peer) == b"so far"
