"""``poll_oneoff`` over clocks, streams, standard streams and files at once."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enarx.keep.wasi.abi import EVENT, MAX_SUBSCRIPTIONS, SUBSCRIPTION_SIZE, Errno, Eventtype, Oflags, Rights, WasiError
from enarx.keep.wasi.context import Context, WorkloadStopped
from enarx.keep.wasi.descriptor import READY, DescriptorTable, Null, Readiness
from enarx.keep.wasi.stdio import Stdio
from enarx.keep.wasi.stream import Listener, Stream
from enarx.keep.wasi.tls_stream import TlsStream
from tests.keep.wasi.conftest import MakeGuest
from tests.keep.wasi.guest import Event, Guest, binder_named, fails, on_clock, on_read, on_write
from tests.keep.wasi.sockets import Queue, tls_pair, tls_stream

CLOCK, READ, WRITE = Eventtype
HANGUP = 1
MILLISECOND = 1_000_000
Later = Callable[[float, Callable[[], object]], None]


@pytest.fixture
def pair() -> Iterator[tuple[Stream, socket.socket]]:
    ours, peer = socket.socketpair()
    with peer:
        yield Stream(ours), peer


# Clocks


@pytest.mark.parametrize("clock", [0, 1])
def test_a_clock_rings_after_its_time(guest: Guest, clock: int) -> None:
    own = [time.CLOCK_REALTIME, time.CLOCK_MONOTONIC][clock]
    start = time.clock_gettime_ns(own)
    assert guest.poll(on_clock(20 * MILLISECOND, clock=clock, userdata=7)) == [Event(7, 0, CLOCK, 0, 0)]
    assert time.clock_gettime_ns(own) - start >= 20 * MILLISECOND


def test_a_clock_rings_at_an_absolute_time(guest: Guest) -> None:
    then = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + 20 * MILLISECOND
    guest.poll(on_clock(then, absolute=True))
    assert time.clock_gettime_ns(time.CLOCK_MONOTONIC) >= then
    assert guest.poll(on_clock(1, absolute=True, clock=0))


def test_of_two_clocks_the_first_wakes_alone(guest: Guest) -> None:
    events = guest.poll(on_clock(3_600_000 * MILLISECOND, userdata=1), on_clock(MILLISECOND, userdata=2))
    assert [event.userdata for event in events] == [2]


def test_clocks_that_have_rung_all_tell(guest: Guest) -> None:
    events = guest.poll(on_clock(0, userdata=1), on_clock((1 << 64) - 1, userdata=2), on_clock(0, userdata=3))
    assert [event.userdata for event in events] == [1, 3]


@pytest.mark.parametrize("clock", [2, 3, 4, 0xFFFFFFFF])
def test_clocks_that_cannot_be_waited_for_are_an_event_with_an_error(guest: Guest, clock: int) -> None:
    assert guest.poll(on_clock(0, clock=clock, userdata=5)) == [Event(5, Errno.INVAL, CLOCK, 0, 0)]


# Descriptors


def test_a_stream_is_readable_when_bytes_are_there(make_guest: MakeGuest, pair: tuple[Stream, socket.socket]) -> None:
    stream, peer = pair
    guest = make_guest(stream)
    assert guest.poll(on_read(4, 1), on_clock(0, userdata=2)) == [Event(2, 0, CLOCK, 0, 0)]
    peer.sendall(b"12345")
    assert guest.poll(on_read(4, 1)) == [Event(1, 0, READ, 5, 0)]


def test_bytes_that_come_while_the_guest_waits_are_counted_and_no_hangup(
    make_guest: MakeGuest, pair: tuple[Stream, socket.socket], later: Later
) -> None:
    stream, peer = pair
    later(0.03, lambda: peer.sendall(b"12345"))
    assert make_guest(stream).poll(on_read(4, 1)) == [Event(1, 0, READ, 5, 0)]


def test_the_end_of_the_peer_is_a_hangup(
    make_guest: MakeGuest, pair: tuple[Stream, socket.socket], later: Later
) -> None:
    stream, peer = pair
    guest = make_guest(stream)
    later(0.03, peer.close)
    assert guest.poll(on_read(4)) == [Event(0, 0, READ, 0, HANGUP)]


def test_a_half_closed_peer_is_a_hangup_for_reading_alone(
    make_guest: MakeGuest, pair: tuple[Stream, socket.socket]
) -> None:
    stream, peer = pair
    peer.shutdown(socket.SHUT_WR)
    events = make_guest(stream).poll(on_read(4), on_write(4))
    assert [(event.kind, event.flags) for event in events] == [(READ, HANGUP), (WRITE, 0)]


def test_a_stream_is_writable_until_it_is_full(make_guest: MakeGuest, pair: tuple[Stream, socket.socket]) -> None:
    stream, peer = pair
    guest = make_guest(stream)
    guest.do("fd_fdstat_set_flags", 4, 4)
    (event,) = guest.poll(on_write(4, 9))
    assert (event.userdata, event.kind, event.errno) == (9, WRITE, 0)
    with fails(Errno.AGAIN):
        while True:
            guest.send(4, bytes(65536))
    assert [event.kind for event in guest.poll(on_write(4), on_clock(MILLISECOND))] == [CLOCK]
    while len(peer.recv(1 << 20)) == 1 << 20:
        pass
    assert [event.kind for event in guest.poll(on_write(4))] == [WRITE]


def test_tls_bytes_that_were_decrypted_already_are_ready(make_guest: MakeGuest) -> None:
    stream, peer = tls_stream()
    guest = make_guest(stream)
    with peer:
        assert guest.poll(on_read(4), on_clock(0, userdata=2))[0].userdata == 2
        peer.sendall(b"0123456789")
        assert guest.recv(4, 4) == b"0123"
        assert guest.poll(on_read(4)) == [Event(0, 0, READ, 6, 0)]
        (event,) = guest.poll(on_write(4))
        assert (event.kind, event.errno) == (WRITE, 0)


def test_a_listener_is_readable_when_a_connection_is_there(make_guest: MakeGuest, later: Later) -> None:
    guest, queue = make_guest(), Queue()
    fd = guest.context.table.add(Listener(queue, guest.context.interrupt.wait, nonblocking=True))
    assert [event.kind for event in guest.poll(on_read(fd), on_clock(0))] == [CLOCK]
    ours, peer = socket.socketpair()
    later(0.03, lambda: queue.push(ours))
    assert guest.poll(on_read(fd, 3)) == [Event(3, 0, READ, 1, 0)]
    with peer:
        guest.accept(fd)
    assert [event.kind for event in guest.poll(on_read(fd), on_clock(0))] == [CLOCK]


def test_everything_at_once(make_guest: MakeGuest, pair: tuple[Stream, socket.socket], later: Later) -> None:
    stream, peer = pair
    stdin, stdin_far = os.pipe()
    stdout_far, stdout = os.pipe()
    secure, secure_peer = tls_stream()
    queue = Queue()
    guest = make_guest(stream, Stdio(stdin, readable=True), Stdio(stdout, readable=False), secure)
    listener = guest.context.table.add(Listener(queue, guest.context.interrupt.wait, nonblocking=True))
    reads = [on_read(fd, fd) for fd in (4, 5, 7, listener)]

    def wait() -> list[int]:
        return [event.userdata for event in guest.poll(*reads, on_clock(3_600_000 * MILLISECOND))]

    with secure_peer:
        assert [event.userdata for event in guest.poll(*reads, on_clock(0, userdata=99))] == [99]
        assert [event.userdata for event in guest.poll(*reads, on_write(6, 66))] == [66]
        later(0.02, lambda: os.write(stdin_far, b"typed"))
        assert wait() == [5]
        assert guest.read(5, 10) == b"typed"
        later(0.02, lambda: secure_peer.sendall(b"secret"))
        assert wait() == [7]
        later(0.02, lambda: peer.sendall(b"plain"))
        guest.recv(7, 10)
        assert wait() == [4]
        ours, theirs = socket.socketpair()
        queue.push(ours)
        assert wait() == [4, listener]
        os.close(stdin_far)
        assert wait() == [4, 5, listener]
        theirs.close()
    os.close(stdout_far)
    (event,) = guest.poll(on_write(6))
    assert event.flags == HANGUP


def test_files_and_null_are_always_ready(guest: Guest) -> None:
    fd = guest.open("file", oflags=Oflags.CREAT)
    events = guest.poll(on_read(fd, 1), on_write(fd, 2), on_read(0, 3), on_write(1, 4), on_clock(1 << 62))
    assert [(event.userdata, event.kind, event.errno) for event in events] == [
        (1, READ, 0),
        (2, WRITE, 0),
        (3, READ, 0),
        (4, WRITE, 0),
    ]


def test_a_time_that_passes_while_ready_descriptors_are_looked_at_does_not_ring(make_guest: MakeGuest) -> None:
    """A thread may not run for a while. What a guest waits for has come all the same, and it was not too late."""

    class Slow(Null):
        def poll_read(self) -> Readiness:
            time.sleep(0.02)
            return READY

    guest = make_guest(Slow())
    events = guest.poll(on_read(4, 1), on_clock(10 * MILLISECOND, userdata=2), on_clock(0, userdata=3))
    assert [event.userdata for event in events] == [1, 3]


# Errors


def test_a_bad_descriptor_is_an_event_and_the_others_do_not_wait(
    make_guest: MakeGuest, pair: tuple[Stream, socket.socket]
) -> None:
    guest = make_guest(pair[0])
    assert guest.poll(on_read(77, 1), on_read(4, 2), on_clock(1 << 62)) == [Event(1, Errno.BADF, READ, 0, 0)]
    assert guest.poll(on_write(77, 1)) == [Event(1, Errno.BADF, WRITE, 0, 0)]


def test_a_descriptor_without_the_right_is_an_event(make_guest: MakeGuest, pair: tuple[Stream, socket.socket]) -> None:
    guest = make_guest(pair[0])
    guest.do("fd_fdstat_set_rights", 4, Rights.SOCK_SHUTDOWN, 0)
    assert guest.poll(on_read(4)) == [Event(0, Errno.NOTCAPABLE, READ, 0, 0)]


def test_the_same_question_is_answered_anew_when_its_descriptors_have_changed(
    make_guest: MakeGuest, pair: tuple[Stream, socket.socket]
) -> None:
    """Subscriptions that repeat are read once: not after a number means something else, or permits less."""
    ours, peer = socket.socketpair()
    with peer:
        guest = make_guest(pair[0], Stream(ours))
        asked = on_read(4, 1), on_read(5, 2)
        for _ in range(2):
            peer.sendall(b"x")
            assert guest.poll(*asked) == [Event(2, 0, READ, 1, 0)]
            guest.read(5, 1)
        peer.sendall(b"xy")
        guest.do("fd_renumber", 5, 4)
        assert guest.poll(*asked) == [Event(2, Errno.BADF, READ, 0, 0), Event(1, 0, READ, 2, 0)]
        guest.context.table.add(Null())
        assert {event.userdata: event.nbytes for event in guest.poll(*asked)} == {1: 2, 2: 0}
        guest.do("fd_fdstat_set_rights", 5, 0, 0)
        assert guest.poll(*asked)[0] == Event(2, Errno.NOTCAPABLE, READ, 0, 0)
        guest.do("fd_close", 4)
        assert guest.poll(*asked)[0] == Event(1, Errno.BADF, READ, 0, 0)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(["send", "records", "take", "all", "peek", "answer", "much", "drain", "end", "close"])))
def test_a_question_about_tls_that_repeats_has_the_same_answer_as_one_that_is_new(steps: list[str]) -> None:
    """Whatever was read, peeked, kept back or ended in between."""
    server, peer = tls_pair()
    peer.setblocking(False)
    stream = TlsStream(server, nonblocking=True)
    table = DescriptorTable(8)
    fd = table.add(stream)
    guest = Guest(Context(table), binder_named("unchecked"))
    asked = on_read(fd, 1), on_write(fd, 2)
    acts: dict[str, Callable[[], object]] = {
        "send": lambda: peer.send(b"0123456789"),
        "records": lambda: (peer.send(bytes(40)), peer.send(bytes(50))),
        "take": lambda: guest.read(fd, 4),
        "all": lambda: guest.read(fd, 1 << 14),
        "peek": lambda: guest.recv(fd, 3, flags=1),
        "answer": lambda: guest.write(fd, b"answer"),
        "much": lambda: guest.write(fd, bytes(1 << 19)),
        "drain": lambda: [peer.recv(1 << 14) for _ in range(99)],
        "end": lambda: guest.shutdown(fd, 2),
        "close": peer.close,
    }
    with peer:
        for step in steps:
            with contextlib.suppress(OSError, ValueError, WasiError):
                acts[step]()
            if select.select([], [server], [], 0)[1]:  # else the question might have no answer
                again = guest.poll(*asked)
                assert again == [event for event in guest.poll(*asked, on_clock(0)) if event.kind != CLOCK]
    table.close_all(10)


def test_the_number_of_subscriptions_has_bounds(guest: Guest) -> None:
    for count in (0, MAX_SUBSCRIPTIONS + 1, 0xFFFFFFFF):
        with fails(Errno.INVAL):
            guest.do("poll_oneoff", 1024, 1024, count, 1024)
    room = MAX_SUBSCRIPTIONS * SUBSCRIPTION_SIZE
    guest.poke(65536, on_clock(0) * MAX_SUBSCRIPTIONS)
    guest.do("poll_oneoff", 65536, 65536 + room, MAX_SUBSCRIPTIONS, 1024)
    assert guest.u32(1024) == MAX_SUBSCRIPTIONS


def test_an_unknown_kind_of_subscription_is_invalid(guest: Guest) -> None:
    with fails(Errno.INVAL):
        guest.poll(bytes(8) + b"\x03" + bytes(39))


def test_unknown_clock_flags_are_an_event_with_an_error(guest: Guest) -> None:
    bad = bytearray(on_clock(0))
    bad[40] = 2
    assert guest.poll(bytes(bad))[0].errno == Errno.INVAL


def test_memory_for_subscriptions_events_and_count_is_checked_before_anything_waits(guest: Guest) -> None:
    subscription = guest.put(on_clock(1 << 62))[0]
    for arguments in (
        (guest.size - SUBSCRIPTION_SIZE + 1, 1024, 1, 1024),
        (subscription, guest.size - EVENT.size + 1, 1, 1024),
        (subscription, 1024, 1, guest.size - 3),
    ):
        with fails(Errno.FAULT):
            guest.do("poll_oneoff", *arguments)


def test_events_may_overwrite_the_subscriptions(guest: Guest) -> None:
    pointer = guest.put(on_clock(0, userdata=1) + on_clock(0, userdata=2))[0]
    guest.do("poll_oneoff", pointer, pointer, 2, guest.room(4))
    assert [event[0] for event in EVENT.iter_unpack(guest.peek(pointer, 64))] == [1, 2]


# Being told to stop


def test_a_wait_ends_when_the_workload_is_to_stop(guest: Guest, later: Later) -> None:
    later(0.03, guest.context.wake)
    for _ in range(2):
        with pytest.raises(WorkloadStopped):
            guest.poll(on_clock(3_600_000 * MILLISECOND))


def test_a_wait_that_repeats_ends_when_the_workload_is_to_stop(
    make_guest: MakeGuest, pair: tuple[Stream, socket.socket], later: Later
) -> None:
    stream, peer = pair
    guest = make_guest(stream)
    for _ in range(2):
        peer.sendall(b"x")
        assert guest.poll(on_read(4))
        guest.read(4, 1)
    later(0.03, guest.context.interrupt.set)
    for _ in range(2):
        with pytest.raises(WorkloadStopped):
            guest.poll(on_read(4))
