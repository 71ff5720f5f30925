"""``poll_oneoff``: wait for descriptors and clocks at once."""

from __future__ import annotations

import select
import time
from dataclasses import dataclass
from typing import Final

from enarx.keep.wasi.abi import (
    EVENT,
    EVENT_HANGUP,
    MAX_SUBSCRIPTIONS,
    SUBCLOCK_ABSTIME,
    SUBSCRIPTION,
    SUBSCRIPTION_SIZE,
    Clock,
    Errno,
    Eventtype,
    Rights,
    WasiError,
)
from enarx.keep.wasi.context import Context
from enarx.keep.wasi.descriptor import UNCOUNTED, Descriptor, Readiness
from enarx.keep.wasi.proc import host_clock

_SLICE_NS = 3_600_000_000_000
"""Longest single wait, ns: an hour, so that a clock that is set meanwhile is noticed and no argument overflows."""
# A server asks about each of its connections for every few requests, so this path counts its microseconds: members
# of an enumeration are looked up once, and the kernel is asked for a count only where one is needed.
_CLOCK: Final = Eventtype.CLOCK
_READ: Final = Eventtype.FD_READ
_WRITE: Final = Eventtype.FD_WRITE
_MAY_POLL: Final = Rights.POLL_FD_READWRITE | Rights.FD_READ | Rights.FD_WRITE
_ENDED: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL
_WANTED: Final[dict[int, int]] = {_READ: select.POLLIN | select.POLLRDHUP | _ENDED, _WRITE: select.POLLOUT | _ENDED}


@dataclass(slots=True)
class _Timer:
    userdata: int
    clock: int
    deadline: int

    def remaining(self) -> int:
        return self.deadline - time.clock_gettime_ns(self.clock)


_Interest = tuple[int, int, Descriptor]
"""Userdata, kind of event, and the descriptor that it is about."""


@dataclass(slots=True)
class _Plan:
    """What subscriptions came to. A server polls with the same ones again and again: they are read once.

    It holds as long as the table has this ``generation``; one with clocks or with errors is not kept.
    """

    raw: bytes
    generation: int
    interests: list[_Interest]


class _Poller:
    """The kernel's poll. What it was last asked about stays registered, for the next question is often the same."""

    def __init__(self) -> None:
        self._asked: list[tuple[int, int]] | None = None
        self._poll = select.poll()

    def wait(self, asked: list[tuple[int, int]], interrupt: int, timeout: int) -> list[tuple[int, int]]:
        """What is so within ``timeout`` ns, of the (descriptor, events) that are ``asked`` about."""
        if asked != self._asked:
            self._poll, merged = select.poll(), dict[int, int]()
            for fileno, events in asked:
                merged[fileno] = merged.get(fileno, 0) | events
            for fileno, events in merged.items():
                self._poll.register(fileno, events)
            self._poll.register(interrupt, select.POLLIN)
            self._asked = asked
        return self._poll.poll(timeout / 1e6)


class PollCalls:
    """See the module."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._memory = context.memory
        self._table = context.table
        self._plan = _Plan(b"", -1, [])
        self._poller = _Poller()

    def poll_oneoff(self, subscriptions: int, events: int, count: int, out: int) -> int:
        if not 0 < count <= MAX_SUBSCRIPTIONS:
            raise WasiError(Errno.INVAL)
        raw = self._memory.read(subscriptions, count * SUBSCRIPTION_SIZE)
        room = self._memory.slice(events, count * EVENT.size)
        result = self._memory.slice(out, 4)
        done: list[bytes] = []
        timers: list[_Timer] = []
        if raw == self._plan.raw and self._table.generation == self._plan.generation:
            interests = self._plan.interests
        else:
            interests = self._read(raw, done, timers)
        done += self._ready(interests, timers, immediately=bool(done))
        packed = b"".join(done)
        room[: len(packed)] = packed
        result[:] = len(done).to_bytes(4, "little")
        return 0

    def _read(self, raw: bytes, done: list[bytes], timers: list[_Timer]) -> list[_Interest]:
        """Read subscriptions: the interests; clocks go into ``timers``, and events of errors into ``done``."""
        interests: list[_Interest] = []
        for userdata, tag, number, timeout, flags in SUBSCRIPTION.iter_unpack(raw):
            if tag not in (_READ, _WRITE, _CLOCK):
                raise WasiError(Errno.INVAL)
            try:
                if tag == _CLOCK:
                    timers.append(_timer(userdata, number, timeout, flags))
                else:
                    interests.append((userdata, tag, self._descriptor(number)))
            except WasiError as error:
                done.append(EVENT.pack(userdata, error.errno, tag, 0, 0))
        if not done and not timers:
            self._plan = _Plan(raw, self._table.generation, interests)
        return interests

    def _descriptor(self, fd: int) -> Descriptor:
        descriptor = self._table.get(fd)
        if not descriptor.rights & _MAY_POLL:
            raise WasiError(Errno.NOTCAPABLE)
        return descriptor

    def _ready(self, interests: list[_Interest], timers: list[_Timer], *, immediately: bool) -> list[bytes]:
        """Events of everything that is ready, after waiting for the first unless ``immediately``.

        A clock is reported with what is ready if it was due before that was looked at, and else when nothing was.
        """
        interrupt = self._context.interrupt
        while True:
            interrupt.check()
            remaining = [timer.remaining() for timer in timers]
            standing = [
                descriptor.poll_read() if kind == _READ else descriptor.poll_write()
                for _, kind, descriptor in interests
            ]
            timeout = min(remaining, default=_SLICE_NS)
            if immediately or any(readiness.ready for readiness in standing):
                timeout = 0
            asked = [(readiness.fileno, readiness.events) for readiness in standing if not readiness.ready]
            seen = dict(self._poller.wait(asked, interrupt.fileno(), max(0, min(timeout, _SLICE_NS))))
            interrupt.check()
            events = []
            for (userdata, kind, descriptor), readiness in zip(interests, standing, strict=True):
                if readiness.ready:
                    flags = EVENT_HANGUP if readiness.hangup else 0
                    events.append(EVENT.pack(userdata, 0, kind, readiness.count, flags))
                elif happened := seen.get(readiness.fileno, 0) & _WANTED[kind]:
                    count, flags = _arrived(descriptor, readiness, happened)
                    events.append(EVENT.pack(userdata, 0, kind, count, flags))
            if not events:  # else a time that passed while this thread was not scheduled is not what ended the wait
                remaining = [timer.remaining() for timer in timers]
            events += [_rung(timer) for timer, left in zip(timers, remaining, strict=True) if left <= 0]
            if events or immediately:
                return events


def _rung(timer: _Timer) -> bytes:
    return EVENT.pack(timer.userdata, 0, _CLOCK, 0, 0)


def _arrived(descriptor: Descriptor, readiness: Readiness, happened: int) -> tuple[int, int]:
    """The count and flags of an event: a peer that has hung up, with nothing left to read, is an end."""
    count = readiness.count
    if count == UNCOUNTED or happened & select.POLLRDHUP:
        count = descriptor.waiting()
    return count, EVENT_HANGUP if happened & _ENDED or not count else 0


def _timer(userdata: int, clock: int, timeout: int, flags: int) -> _Timer:
    if clock not in (Clock.REALTIME, Clock.MONOTONIC) or flags & ~SUBCLOCK_ABSTIME:
        raise WasiError(Errno.INVAL)
    host = host_clock(clock)
    deadline = timeout if flags & SUBCLOCK_ABSTIME else time.clock_gettime_ns(host) + timeout
    return _Timer(userdata, host, deadline)
