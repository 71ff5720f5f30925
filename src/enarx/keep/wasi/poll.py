"""``poll_oneoff``: wait for descriptors and clocks at once."""

from __future__ import annotations

import select
import time
from dataclasses import dataclass

from enarx.keep.wasi.abi import (
    EVENT,
    EVENT_HANGUP,
    MAX_SUBSCRIPTIONS,
    SUBCLOCK_ABSTIME,
    SUBSCRIPTION,
    SUBSCRIPTION_CLOCK,
    SUBSCRIPTION_FD,
    SUBSCRIPTION_SIZE,
    Clock,
    Errno,
    Eventtype,
    Rights,
    WasiError,
)
from enarx.keep.wasi.context import Context
from enarx.keep.wasi.descriptor import Readiness
from enarx.keep.wasi.proc import host_clock

_SLICE_NS = 3_600_000_000_000
"""Longest single wait, ns: an hour, so that a clock that is set meanwhile is noticed and no argument overflows."""


@dataclass(slots=True)
class _Timer:
    userdata: int
    clock: int
    deadline: int

    def remaining(self) -> int:
        return self.deadline - time.clock_gettime_ns(self.clock)


@dataclass(slots=True)
class _Interest:
    userdata: int
    kind: Eventtype
    readiness: Readiness


class PollCalls:
    """See the module."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._memory = context.memory
        self._table = context.table

    def poll_oneoff(self, subscriptions: int, events: int, count: int, out: int) -> int:
        if not 0 < count <= MAX_SUBSCRIPTIONS:
            raise WasiError(Errno.INVAL)
        raw = self._memory.read(subscriptions, count * SUBSCRIPTION_SIZE)
        room = self._memory.slice(events, count * EVENT.size)
        result = self._memory.slice(out, 4)
        done: list[bytes] = []
        timers: list[_Timer] = []
        interests: list[_Interest] = []
        for start in range(0, len(raw), SUBSCRIPTION_SIZE):
            userdata, tag = SUBSCRIPTION.unpack_from(raw, start)
            try:
                if tag == Eventtype.CLOCK:
                    timers.append(_timer(userdata, raw, start + 16))
                elif tag in (Eventtype.FD_READ, Eventtype.FD_WRITE):
                    (fd,) = SUBSCRIPTION_FD.unpack_from(raw, start + 16)
                    interests.append(self._interest(userdata, Eventtype(tag), fd))
                else:
                    raise WasiError(Errno.INVAL)
            except WasiError as error:
                if tag > Eventtype.FD_WRITE:
                    raise
                done.append(EVENT.pack(userdata, error.errno, tag, 0, 0))
        done += self._ready(interests, timers, immediately=bool(done))
        packed = b"".join(done)
        room[: len(packed)] = packed
        result[:] = len(done).to_bytes(4, "little")
        return 0

    def _interest(self, userdata: int, kind: Eventtype, fd: int) -> _Interest:
        descriptor = self._table.get(fd)
        if not descriptor.rights & (Rights.POLL_FD_READWRITE | Rights.FD_READ | Rights.FD_WRITE):
            raise WasiError(Errno.NOTCAPABLE)
        readiness = descriptor.poll_read() if kind == Eventtype.FD_READ else descriptor.poll_write()
        return _Interest(userdata, kind, readiness)

    def _ready(self, interests: list[_Interest], timers: list[_Timer], *, immediately: bool) -> list[bytes]:
        """Events of everything that is ready, after waiting for the first unless ``immediately``."""
        poller = select.poll()
        waits: dict[int, int] = {}
        for interest in interests:
            if interest.readiness.ready:
                immediately = True
            else:
                waits[interest.readiness.fileno] = waits.get(interest.readiness.fileno, 0) | interest.readiness.events
        for fileno, wanted in waits.items():
            poller.register(fileno, wanted)
        interrupt = self._context.interrupt
        poller.register(interrupt.fileno(), select.POLLIN)
        while True:
            interrupt.check()
            remaining = min((timer.remaining() for timer in timers), default=_SLICE_NS)
            timeout = 0 if immediately else max(0, min(remaining, _SLICE_NS))
            seen = dict(poller.poll(timeout / 1e6))
            interrupt.check()
            events = [
                EVENT.pack(timer.userdata, 0, Eventtype.CLOCK, 0, 0) for timer in timers if timer.remaining() <= 0
            ]
            for interest in interests:
                readiness = interest.readiness
                happened = seen.get(readiness.fileno, 0) & (
                    readiness.events | select.POLLHUP | select.POLLERR | select.POLLNVAL
                )
                if readiness.ready or happened:
                    events.append(_event(interest, happened))
            if events or immediately:
                return events


def _event(interest: _Interest, happened: int) -> bytes:
    readiness = interest.readiness
    ended = happened & (select.POLLHUP | select.POLLERR) or (
        interest.kind == Eventtype.FD_READ and not readiness.ready and happened and not readiness.count
    )
    flags = EVENT_HANGUP if ended or readiness.hangup else 0
    return EVENT.pack(interest.userdata, 0, interest.kind, readiness.count, flags)


def _timer(userdata: int, raw: bytes, offset: int) -> _Timer:
    clock, timeout, _precision, flags = SUBSCRIPTION_CLOCK.unpack_from(raw, offset)
    if clock not in (Clock.REALTIME, Clock.MONOTONIC) or flags & ~SUBCLOCK_ABSTIME:
        raise WasiError(Errno.INVAL)
    host = host_clock(clock)
    deadline = timeout if flags & SUBCLOCK_ABSTIME else time.clock_gettime_ns(host) + timeout
    return _Timer(userdata, host, deadline)
