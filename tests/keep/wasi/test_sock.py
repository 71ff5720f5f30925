"""``sock_*`` over plain sockets and listeners."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from enarx.errors import LimitError
from enarx.keep.wasi.abi import MAX_IOVECS, Errno, Fdflags, Filetype, Oflags, Rights
from enarx.keep.wasi.context import WorkloadStopped
from enarx.keep.wasi.stream import STREAM_RIGHTS, Listener, Stream
from tests.keep.wasi.conftest import DESCRIPTORS, MakeGuest
from tests.keep.wasi.guest import Guest, fails
from tests.keep.wasi.sockets import Queue, tls_pair

PEEK, WAITALL = 1, 2
READ, WRITE, BOTH = 1, 2, 3
Later = Callable[[float, Callable[[], object]], None]


class Connected(NamedTuple):
    guest: Guest
    fd: int
    peer: socket.socket


@pytest.fixture
def connected(make_guest: MakeGuest) -> Iterator[Connected]:
    ours, peer = socket.socketpair()
    peer.settimeout(10)
    with peer:
        yield Connected(make_guest(Stream(ours)), 4, peer)


class Listening(NamedTuple):
    guest: Guest
    fd: int
    queue: Queue


@pytest.fixture
def listening(make_guest: MakeGuest) -> Listening:
    queue = Queue()
    guest = make_guest()
    listener = Listener(queue, guest.context.interrupt.wait, nonblocking=False)
    return Listening(guest, guest.context.table.add(listener), queue)


def nonblocking(guest: Guest, fd: int) -> None:
    guest.do("fd_fdstat_set_flags", fd, Fdflags.NONBLOCK)


# Streams


def test_bytes_go_both_ways(connected: Connected) -> None:
    guest, fd, peer = connected
    assert guest.send(fd, b"one ", b"two") == 7
    assert peer.recv(100) == b"one two"
    assert guest.write(fd, b"three") == 5
    assert peer.recv(100) == b"three"
    peer.sendall(b"0123456789")
    assert guest.recv(fd, 4) == b"0123"
    assert guest.read(fd, 2, 3) == b"45678"
    assert guest.recv(fd, 3, 3) == b"9"


def test_the_end_of_the_peer_reads_as_nothing(connected: Connected) -> None:
    guest, fd, peer = connected
    peer.sendall(b"last")
    peer.close()
    assert guest.recv(fd, 100) == b"last"
    assert guest.recv(fd, 100) == b""
    with fails(Errno.PIPE):
        guest.send(fd, b"x")
    with fails(Errno.PIPE):
        guest.write(fd, b"x", b"y")


def test_a_stream_looks_like_a_stream(connected: Connected) -> None:
    guest, fd, _ = connected
    assert guest.fdstat(fd) == (Filetype.SOCKET_STREAM, 0, STREAM_RIGHTS, 0)
    assert guest.stat(fd).filetype == Filetype.SOCKET_STREAM
    with fails(Errno.SPIPE):
        guest.seek(fd, 0)
    with fails(Errno.NOTDIR):
        guest.path_stat("x", at=fd)


def test_peeking_leaves_the_bytes(connected: Connected) -> None:
    guest, fd, peer = connected
    peer.sendall(b"0123456789")
    assert guest.recv(fd, 4, flags=PEEK) == b"0123"
    assert guest.recv(fd, 3, 3, flags=PEEK) == b"012345"
    assert guest.recv(fd, 100) == b"0123456789"


def test_waiting_for_all_fills_every_buffer(connected: Connected, later: Later) -> None:
    guest, fd, peer = connected
    peer.sendall(b"01")
    later(0.02, lambda: peer.sendall(b"2345"))
    later(0.04, lambda: peer.sendall(b"6789"))
    assert guest.recv(fd, 3, 5, flags=WAITALL) == b"01234567"


def test_waiting_for_all_ends_with_the_stream(connected: Connected, later: Later) -> None:
    guest, fd, peer = connected
    peer.sendall(b"01")
    later(0.02, peer.close)
    assert guest.recv(fd, 10, flags=WAITALL) == b"01"


def test_a_blocking_read_waits(connected: Connected, later: Later) -> None:
    guest, fd, peer = connected
    later(0.03, lambda: peer.sendall(b"late"))
    assert guest.recv(fd, 10) == b"late"


def test_a_stream_that_does_not_block_says_again(connected: Connected) -> None:
    guest, fd, peer = connected
    nonblocking(guest, fd)
    assert guest.fdstat(fd).flags == Fdflags.NONBLOCK
    with fails(Errno.AGAIN):
        guest.recv(fd, 10)
    with fails(Errno.AGAIN):
        guest.recv(fd, 10, flags=PEEK)
    with fails(Errno.AGAIN):
        while guest.send(fd, bytes(65536)):
            pass
    peer.sendall(b"x")
    assert guest.recv(fd, 10, flags=WAITALL) == b"x"
    guest.do("fd_fdstat_set_flags", fd, 0)
    assert guest.fdstat(fd).flags == 0


def test_streams_take_no_other_flags(connected: Connected) -> None:
    with fails(Errno.INVAL):
        connected.guest.do("fd_fdstat_set_flags", connected.fd, Fdflags.APPEND)


def test_unknown_message_flags_are_invalid(connected: Connected) -> None:
    guest, fd, _ = connected
    with fails(Errno.INVAL):
        guest.recv(fd, 1, flags=4)
    with fails(Errno.INVAL):
        guest.do("sock_send", fd, *guest.iovecs([guest.put(b"x")]), 1, guest.room(4))


def test_a_receive_tells_that_nothing_was_truncated(connected: Connected) -> None:
    guest, fd, peer = connected
    peer.sendall(b"0123456789")
    out, flags = guest.room(4), guest.room(2)
    guest.do("sock_recv", fd, *guest.iovecs([(guest.room(4), 4)]), 0, out, flags)
    assert guest.peek(flags, 2) == b"\0\0"


def test_a_receive_whose_results_cannot_be_stored_loses_nothing(connected: Connected) -> None:
    guest, fd, peer = connected
    peer.sendall(b"0123456789")
    buffers = guest.iovecs([(guest.room(4), 4)])
    bad_buffers = guest.iovecs([(guest.room(4), 4), (guest.size - 3, 4)])
    for arguments in (
        (*buffers, 0, guest.size - 3, 1024),
        (*buffers, 0, 1024, guest.size - 1),
        (*bad_buffers, 0, 1024, 2048),
        (1024, MAX_IOVECS + 1, 0, 1024, 2048),
    ):
        assert guest.call("sock_recv", fd, *arguments) in (Errno.FAULT, Errno.INVAL)
    assert guest.call("fd_read", fd, *buffers, guest.size - 3) == Errno.FAULT
    assert guest.recv(fd, 100) == b"0123456789"


def test_no_buffers_transfer_nothing(connected: Connected) -> None:
    guest, fd, peer = connected
    assert guest.recv(fd) == b""
    assert guest.recv(fd, 0) == b""
    assert guest.send(fd) == 0
    peer.sendall(b"x")
    assert guest.recv(fd, 0, 1) == b"x"


@pytest.mark.parametrize(("how", "reads", "writes"), [(READ, False, True), (WRITE, True, False), (BOTH, False, False)])
def test_each_half_is_shut_down_by_itself(connected: Connected, how: int, reads: bool, writes: bool) -> None:
    guest, fd, peer = connected
    guest.shutdown(fd, how)
    if writes:
        assert guest.send(fd, b"out") == 3
        assert peer.recv(10) == b"out"
    else:
        assert peer.recv(10) == b""
        with fails(Errno.PIPE):
            guest.send(fd, b"out")
    if reads:
        peer.sendall(b"in")
        assert guest.recv(fd, 10) == b"in"
    else:
        assert guest.recv(fd, 10) == b""


@pytest.mark.parametrize("how", [0, 4, 7, 1 << 31])
def test_shutting_down_something_else_is_invalid(connected: Connected, how: int) -> None:
    with fails(Errno.INVAL):
        connected.guest.shutdown(connected.fd, how)


def test_a_reset_is_reported(make_guest: MakeGuest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    guest = make_guest(Stream(ours))
    guest.send(4, b"never read")
    peer.close()
    with fails(Errno.CONNRESET):
        guest.recv(4, 10)
    with fails(Errno.PIPE):
        guest.send(4, b"x")
    with fails(Errno.NOTCONN):
        guest.shutdown(4, WRITE)


@pytest.mark.parametrize(
    ("name", "right"),
    [("sock_recv", Rights.FD_READ), ("sock_send", Rights.FD_WRITE), ("sock_shutdown", Rights.SOCK_SHUTDOWN)],
)
def test_each_operation_on_a_stream_needs_its_right(connected: Connected, name: str, right: int) -> None:
    guest, fd, _ = connected
    arguments = {"sock_recv": (1024, 0, 0, 1024, 2048), "sock_send": (1024, 0, 0, 1024), "sock_shutdown": (3,)}
    guest.do("fd_fdstat_set_rights", fd, STREAM_RIGHTS & ~right, 0)
    with fails(Errno.NOTCAPABLE):
        guest.do(name, fd, *arguments[name])


def test_what_is_no_socket_is_told_so(guest: Guest) -> None:
    guest.open("file", oflags=Oflags.CREAT)
    for fd in (0, 3, 4):
        for attempt in (
            lambda fd=fd: guest.recv(fd, 1),
            lambda fd=fd: guest.send(fd, b"x"),
            lambda fd=fd: guest.shutdown(fd, WRITE),
            lambda fd=fd: guest.accept(fd),
        ):
            with fails(Errno.NOTSOCK):
                attempt()


# Listeners


def test_connections_are_accepted_in_order(listening: Listening) -> None:
    guest, fd, queue = listening
    pairs = [socket.socketpair() for _ in range(3)]
    for ours, _ in pairs:
        queue.push(ours)
    for number, (_, peer) in enumerate(pairs):
        accepted = guest.accept(fd)
        guest.send(accepted, b"%d" % number)
        assert peer.recv(10) == b"%d" % number
        peer.close()


def test_a_listener_that_blocks_waits_for_a_connection(listening: Listening, later: Later) -> None:
    guest, fd, queue = listening
    ours, peer = socket.socketpair()
    later(0.03, lambda: queue.push(ours))
    with peer:
        assert guest.accept(fd) == 5
        assert guest.fdstat(5).rights == STREAM_RIGHTS


def test_a_listener_that_does_not_block_says_again(listening: Listening) -> None:
    guest, fd, queue = listening
    nonblocking(guest, fd)
    with fails(Errno.AGAIN):
        guest.accept(fd)
    ours, peer = socket.socketpair()
    queue.push(ours)
    with peer:
        accepted = guest.accept(fd)
        assert guest.fdstat(accepted).flags == 0  # blocking is not inherited, as on Linux


def test_a_connection_can_be_accepted_as_one_that_does_not_block(listening: Listening) -> None:
    guest, fd, queue = listening
    ours, peer = socket.socketpair()
    queue.push(ours)
    with peer:
        accepted = guest.accept(fd, Fdflags.NONBLOCK)
        assert guest.fdstat(accepted).flags == Fdflags.NONBLOCK
        with fails(Errno.AGAIN):
            guest.recv(accepted, 1)
    with fails(Errno.INVAL):
        guest.accept(fd, Fdflags.APPEND)


def test_an_accept_whose_result_cannot_be_stored_keeps_the_connection(listening: Listening) -> None:
    guest, fd, queue = listening
    ours, peer = socket.socketpair()
    queue.push(ours)
    with fails(Errno.FAULT):
        guest.do("sock_accept", fd, 0, guest.size - 3)
    with peer:
        assert guest.accept(fd) == 5


def test_a_tls_connection_is_accepted_as_one(listening: Listening) -> None:
    guest, fd, queue = listening
    server, client = tls_pair()
    queue.push(server)
    with client:
        accepted = guest.accept(fd)
        client.sendall(b"secret")
        assert guest.recv(accepted, 10) == b"secret"


def test_accepted_connections_have_no_more_rights_than_the_listener_passes_on(listening: Listening) -> None:
    guest, fd, queue = listening
    guest.do("fd_fdstat_set_rights", fd, Rights.SOCK_ACCEPT, Rights.FD_READ)
    ours, peer = socket.socketpair()
    queue.push(ours)
    with peer:
        assert guest.fdstat(guest.accept(fd)).rights == Rights.FD_READ
    guest.do("fd_fdstat_set_rights", fd, 0, 0)
    with fails(Errno.NOTCAPABLE):
        guest.accept(fd)


def test_a_listener_is_no_connection_and_a_connection_no_listener(listening: Listening) -> None:
    guest, fd, queue = listening
    with fails(Errno.NOTCONN):
        guest.recv(fd, 1)
    with fails(Errno.NOTCONN):
        guest.send(fd, b"x")
    with fails(Errno.NOTCONN):
        guest.shutdown(fd, WRITE)
    with fails(Errno.BADF):
        guest.read(fd, 1)
    ours, peer = socket.socketpair()
    queue.push(ours)
    with peer, fails(Errno.INVAL):
        guest.accept(guest.accept(fd))
    assert guest.stat(fd).filetype == Filetype.SOCKET_STREAM


def test_closing_a_listener_closes_its_queue(listening: Listening) -> None:
    guest, fd, queue = listening
    guest.close(fd)
    assert queue.closed


def test_a_connection_past_the_limit_of_descriptors_ends_the_workload(listening: Listening) -> None:
    guest, fd, queue = listening
    for _ in range(DESCRIPTORS - 5):
        guest.open("file", oflags=Oflags.CREAT)
    ours, peer = socket.socketpair()
    queue.push(ours)
    with peer:
        with pytest.raises(LimitError, match="descriptors"):
            guest.accept(fd)
        assert peer.recv(1) == b""


# Being told to stop


def test_waiting_for_a_connection_ends_when_the_workload_is_to_stop(listening: Listening, later: Later) -> None:
    guest, fd, _ = listening
    later(0.03, guest.context.wake)
    with pytest.raises(WorkloadStopped):
        guest.accept(fd)
    with pytest.raises(WorkloadStopped):
        guest.accept(fd)


def test_a_read_that_waits_ends_when_the_workload_is_to_stop(connected: Connected, later: Later) -> None:
    guest, fd, peer = connected
    later(0.03, guest.context.wake)
    assert guest.recv(fd, 10) == b""
    assert guest.send(fd, b"goodbye") == 7
    assert peer.recv(10) == b"goodbye"
