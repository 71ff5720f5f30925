"""``args_*``, ``environ_*``, ``clock_*``, ``random_get``, ``sched_yield``, ``proc_*``."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final

from enarx.keep.wasi.abi import Clock, Errno, WasiError
from enarx.keep.wasi.context import Context, WorkloadExited

_CLOCKS: Final = {
    Clock.REALTIME: time.CLOCK_REALTIME,
    Clock.MONOTONIC: time.CLOCK_MONOTONIC,
    Clock.PROCESS_CPUTIME: time.CLOCK_PROCESS_CPUTIME_ID,
    Clock.THREAD_CPUTIME: time.CLOCK_THREAD_CPUTIME_ID,
}
SIGNALLED: Final = 128
"""Exit status of ``proc_raise(n)`` is this plus ``n``, as a shell reports a signal."""
LAST_SIGNAL: Final = 30
"""Largest ``$signal``: SYS."""
RANDOM_CHUNK: Final = 1 << 20
"""Bytes of randomness made at a time."""


def host_clock(clock: int) -> int:
    """The system's number for a WASI clock. Raises WasiError(INVAL)."""
    try:
        return _CLOCKS[Clock(clock)]
    except ValueError:
        raise WasiError(Errno.INVAL) from None


class ProcessCalls:
    """See the module."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._memory = context.memory

    def _strings_get(self, strings: Sequence[bytes], pointers: int, buffer: int) -> int:
        for string in strings:
            self._memory.set_u32(pointers, buffer)
            self._memory.write(buffer, string + b"\0")
            pointers += 4
            buffer += len(string) + 1
        return 0

    def _strings_sizes(self, strings: Sequence[bytes], count: int, size: int) -> int:
        self._memory.set_u32(count, len(strings))
        self._memory.set_u32(size, sum(len(string) + 1 for string in strings))
        return 0

    def args_get(self, argv: int, buffer: int) -> int:
        return self._strings_get(self._context.args, argv, buffer)

    def args_sizes_get(self, count: int, size: int) -> int:
        return self._strings_sizes(self._context.args, count, size)

    def environ_get(self, environ: int, buffer: int) -> int:
        return self._strings_get(self._context.environment, environ, buffer)

    def environ_sizes_get(self, count: int, size: int) -> int:
        return self._strings_sizes(self._context.environment, count, size)

    def clock_res_get(self, clock: int, out: int) -> int:
        self._memory.set_u64(out, max(1, round(time.clock_getres(host_clock(clock)) * 1e9)))
        return 0

    def clock_time_get(self, clock: int, _precision: int, out: int) -> int:
        self._memory.set_u64(out, time.clock_gettime_ns(host_clock(clock)))
        return 0

    def random_get(self, buffer: int, length: int) -> int:
        target = self._memory.slice(buffer, length)
        for start in range(0, length, RANDOM_CHUNK):
            part = target[start : start + RANDOM_CHUNK]
            part[:] = os.urandom(len(part))
        return 0

    def sched_yield(self) -> int:
        os.sched_yield()
        return 0

    def proc_exit(self, code: int) -> int:
        raise WorkloadExited(code)

    def proc_raise(self, signal: int) -> int:
        """Signal 0 (NONE) does nothing; every other one ends the workload, as nothing can catch it."""
        if signal > LAST_SIGNAL:
            raise WasiError(Errno.INVAL)
        if signal:
            raise WorkloadExited(SIGNALLED + signal)
        return 0
