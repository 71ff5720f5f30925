"""The event loop: callbacks when they are due, and none for what is gone."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from enarx.keep.loop import Loop

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made = [socket.socketpair() for _ in range(3)]
    yield made
    for pair in made:
        for sock in pair:
            sock.close()


def both(*actions: Callable[[], object]) -> Callable[[], None]:
    def work() -> None:
        for action in actions:
            action()

    return work


def test_a_watched_descriptor_calls_back_until_the_loop_stops(pairs: list[Pair]) -> None:
    loop, calls = Loop(), list[bytes]()
    ours, theirs = pairs[0]

    def readable() -> None:
        calls.append(ours.recv(1))
        if len(calls) == 3:
            loop.stop()

    loop.watch(ours, selectors.EVENT_READ, readable)
    theirs.sendall(b"abcdef")
    loop.run()
    assert calls == [b"a", b"b", b"c"]


def test_a_second_watch_replaces_the_first(pairs: list[Pair]) -> None:
    loop, calls = Loop(), list[str]()
    ours, theirs = pairs[0]
    loop.watch(ours, selectors.EVENT_READ, lambda: calls.append("first"))
    loop.watch(ours, selectors.EVENT_READ, both(lambda: calls.append("second"), loop.stop))
    theirs.send(b"x")
    loop.run()
    assert calls == ["second"]


def test_what_is_forgotten_does_not_call_back(pairs: list[Pair]) -> None:
    loop, calls = Loop(), list[str]()
    ours, theirs = pairs[0]
    loop.watch(ours, selectors.EVENT_READ, lambda: calls.append("readable"))
    loop.forget(ours)
    loop.forget(ours)
    theirs.send(b"x")
    loop.call_later("end", 0.02, loop.stop)
    loop.run()
    assert calls == []


@pytest.mark.parametrize("first", [0, 1])
def test_what_an_earlier_callback_closed_does_not_call_back(first: int, pairs: list[Pair]) -> None:
    """Both are ready in one turn; whichever comes first closes the other."""
    loop, calls = Loop(), list[int]()

    def closes(own: int) -> None:
        calls.append(own)
        loop.forget(pairs[1 - own][0])
        pairs[1 - own][0].close()
        loop.forget(pairs[own][0])
        loop.call_later("end", 0.02, loop.stop)

    for number in (first, 1 - first):
        loop.watch(pairs[number][0], selectors.EVENT_READ, partial(closes, number))
        pairs[number][1].send(b"x")
    loop.run()
    assert len(calls) == 1


def test_an_event_is_not_given_to_a_new_descriptor_of_the_same_number(pairs: list[Pair]) -> None:
    loop, calls = Loop(), list[str]()
    made = list[socket.socket]()

    def replaces(own: int) -> None:
        other = pairs[1 - own][0]
        number = other.fileno()
        loop.forget(pairs[own][0])
        loop.forget(other)
        other.close()
        fresh, peer = socket.socketpair()
        made.extend((fresh, peer))
        assert fresh.fileno() == number
        loop.watch(fresh, selectors.EVENT_READ, lambda: calls.append("fresh"))
        loop.call_later("end", 0.02, loop.stop)

    for number in (0, 1):
        loop.watch(pairs[number][0], selectors.EVENT_READ, partial(replaces, number))
        pairs[number][1].send(b"x")
    loop.run()
    for sock in made:
        sock.close()
    assert (calls, len(made)) == ([], 2)


def test_timers_come_in_time_and_once() -> None:
    loop, calls = Loop(), list[str]()
    loop.call_later("last", 0.05, loop.stop)
    loop.call_later("late", 0.02, lambda: calls.append("late"))
    loop.call_later("early", 0.0, lambda: calls.append("early"))
    loop.run()
    assert calls == ["early", "late"]


def test_a_timer_can_be_replaced_and_cancelled() -> None:
    loop, calls = Loop(), list[str]()
    loop.call_later("one", 0.0, lambda: calls.append("replaced"))
    loop.call_later("one", 0.01, lambda: calls.append("one"))
    loop.call_later("two", 0.0, lambda: calls.append("cancelled"))
    loop.cancel("two")
    loop.cancel("never set")
    loop.call_later("last", 0.03, loop.stop)
    loop.run()
    assert calls == ["one"]


def test_a_timer_may_cancel_another_that_is_due() -> None:
    loop, calls = Loop(), list[str]()
    loop.call_later("first", 0.0, both(lambda: calls.append("first"), lambda: loop.cancel("second")))
    loop.call_later("second", 0.0, lambda: calls.append("second"))
    loop.call_later("last", 0.02, loop.stop)
    loop.run()
    assert calls == ["first"]


def test_nothing_is_called_after_stop() -> None:
    loop, calls = Loop(), list[str]()
    loop.call_later("first", 0.0, loop.stop)
    loop.call_later("second", 0.0, lambda: calls.append("second"))
    loop.run()
    assert (calls, loop.running()) == ([], False)
