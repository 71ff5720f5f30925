"""``poll_oneoff``: wait for descriptors and clocks at once."""

from __future__ import annotations

import select
import time
from dataclasses import dataclass
from operator import attrgetter
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
_SETTLED: Final = attrgetter("settled")
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


class _Plan:
    """What subscriptions came to. A server polls with the same ones again and again: they are read once.

    It holds as long as the table has this ``generation``; one with clocks or with errors is not kept. ``watch`` waits
    for all of it at once, as long as every descriptor is `Descriptor.settled`.
    """

    __slots__ = ("descriptors", "generation", "interests", "raw", "watch")

    def __init__(self, raw: bytes, generation: int, interests: list[_Interest]) -> None:
        self.raw = raw
        self.generation = generation
        self.interests = interests
        self.descriptors = {descriptor for _, _, descriptor in interests}
        self.watch: _Watch | None = None


class _Watch:
    """A question to the kernel, and what its answers mean."""

    __slots__ = ("_poll", "_told")

    def __init__(self, interests: list[_Interest], standing: list[Readiness], interrupt: int) -> None:
        """About everything that ``standing`` does not say to be ready, and the descriptor ``interrupt``."""
        asked = {interrupt: select.POLLIN}
        told: dict[int, list[tuple[int, int, Descriptor, int, int]]] = {interrupt: []}
        for (userdata, kind, descriptor), readiness in zip(interests, standing, strict=True):
            if not readiness.ready:
                fileno = readiness.fileno
                asked[fileno] = asked.get(fileno, 0) | readiness.events
                told.setdefault(fileno, []).append((userdata, kind, descriptor, _WANTED[kind], readiness.count))
        poller = select.poll()
        for fileno, events in asked.items():
            poller.register(fileno, events)
        self._poll = poller.poll
        self._told = told

    def wait(self, timeout: int) -> list[bytes]:
        """Events of what happens within ``timeout`` ns."""
        events = []
        for fileno, happened in self._poll(timeout / 1e6):
            for userdata, kind, descriptor, wanted, known in self._told[fileno]:
                if here := happened & wanted:
                    count = descriptor.waiting() if known == UNCOUNTED or here & select.POLLRDHUP else known
                    ended = here & _ENDED or not count  # a peer that has hung up, with nothing left to read, is an end
                    events.append(EVENT.pack(userdata, 0, kind, count, EVENT_HANGUP if ended else 0))
        return events


class PollCalls:
    """See the module."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._memory = context.memory
        self._table = context.table
        self._plan = _Plan(b"", -1, [])

    def poll_oneoff(self, subscriptions: int, events: int, count: int, out: int) -> int:
        if not 0 < count <= MAX_SUBSCRIPTIONS:
            raise WasiError(Errno.INVAL)
        memory = self._memory
        raw = memory.read(subscriptions, count * SUBSCRIPTION_SIZE)
        memory.check(events, count * EVENT.size)
        memory.check(out, 4)
        plan = self._plan
        if raw == plan.raw and self._table.generation == plan.generation:
            done = self._again(plan)
        else:
            done, timers = [], list[_Timer]()
            interests = self._read(raw, done, timers)
            done += self._ready(interests, timers, immediately=bool(done))
        memory.write(events, b"".join(done))
        memory.set_u32(out, len(done))
        return 0

    def _again(self, plan: _Plan) -> list[bytes]:
        """The events of a plan that is kept."""
        if not all(map(_SETTLED, plan.descriptors)):
            return self._ready(plan.interests, [], immediately=False)
        interrupt = self._context.interrupt
        if plan.watch is None:
            plan.watch = _Watch(plan.interests, _standing(plan.interests), interrupt.fileno())
        wait = plan.watch.wait
        while True:
            interrupt.check()
            events = wait(_SLICE_NS)
            interrupt.check()
            if events:
                return events

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
            standing = _standing(interests)
            events = [
                _stands(interest, readiness)
                for interest, readiness in zip(interests, standing, strict=True)
                if readiness.ready
            ]
            timeout = 0 if immediately or events else min(remaining, default=_SLICE_NS)
            events += _Watch(interests, standing, interrupt.fileno()).wait(max(0, min(timeout, _SLICE_NS)))
            interrupt.check()
            if not events:  # else a time that passed while this thread was not scheduled is not what ended the wait
                remaining = [timer.remaining() for timer in timers]
            events += [_rung(timer) for timer, left in zip(timers, remaining, strict=True) if left <= 0]
            if events or immediately:
                return events


def _standing(interests: list[_Interest]) -> list[Readiness]:
    return [descriptor.poll_read() if kind == _READ else descriptor.poll_write() for _, kind, descriptor in interests]


def _stands(interest: _Interest, readiness: Readiness) -> bytes:
    """The event of what is ready without the kernel's help."""
    userdata, kind, _ = interest
    return EVENT.pack(userdata, 0, kind, readiness.count, EVENT_HANGUP if readiness.hangup else 0)


def _rung(timer: _Timer) -> bytes:
    return EVENT.pack(timer.userdata, 0, _CLOCK, 0, 0)


def _timer(userdata: int, clock: int, timeout: int, flags: int) -> _Timer:
    if clock not in (Clock.REALTIME, Clock.MONOTONIC) or flags & ~SUBCLOCK_ABSTIME:
        raise WasiError(Errno.INVAL)
    host = host_clock(clock)
    deadline = timeout if flags & SUBCLOCK_ABSTIME else time.clock_gettime_ns(host) + timeout
    return _Timer(userdata, host, deadline)
