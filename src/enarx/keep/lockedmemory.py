"""Memory that does not go to swap or into core dumps, as far as the machine lets us.

Best is to lock the whole process, which the limit RLIMIT_MEMLOCK rarely permits on a development machine and always
does in a guest where the Keep is alone. Otherwise what this module holds itself is locked, and copies that OpenSSL
makes are not: the report says which it is. Core dumps are ruled out elsewhere (RLIMIT_CORE 0, PR_SET_DUMPABLE 0).

Source: Linux mlock(2), mlockall(2), madvise(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import resource
from collections.abc import Callable
from types import TracebackType
from typing import Final

APPLIED: Final = "applied"
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_MCL_ONFAULT: Final = 4


class LockedBytes:
    """A copy of ``data`` on pages of its own: locked and left out of dumps where possible, zeroed when closed."""

    def __init__(self, data: bytes | bytearray) -> None:
        if not data:
            raise ValueError("nothing to hold")
        self._size = len(data)
        self._pages = mmap.mmap(-1, len(data), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.locked = self._lock()
        with contextlib.suppress(OSError):  # an old kernel: dumps are ruled out elsewhere as well
            self._pages.madvise(mmap.MADV_DONTDUMP)
        self._pages[: self._size] = bytes(data)

    def _lock(self) -> bool:
        libc = ctypes.CDLL(None, use_errno=True)
        anchor = ctypes.c_char.from_buffer(self._pages)
        address = ctypes.c_void_p(ctypes.addressof(anchor))
        del anchor
        return int(libc.mlock(address, ctypes.c_size_t(self._size))) == 0

    def __len__(self) -> int:
        return self._size

    def reveal(self) -> bytes:
        """A copy, on the ordinary heap. For what can be done with `write_to`, that is better."""
        return self._pages[: self._size]

    def write_to(self, descriptor: int) -> None:
        """Write all of it to a descriptor without a copy on the heap."""
        with memoryview(self._pages) as view, view[: self._size] as rest:
            done = 0
            while done < self._size:
                done += os.write(descriptor, rest[done:])

    def close(self) -> None:
        """Zero it and give the pages back; harmless when done twice."""
        if not self._pages.closed:
            self._pages[: self._size] = bytes(self._size)
            self._pages.close()

    def __enter__(self) -> LockedBytes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LockedBytes({self._size} bytes)"


def lock_process(
    *,
    limit: Callable[[], int] = lambda: resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
    lock_all: Callable[[int], int] | None = None,
) -> str:
    """Lock all memory of the process as it comes to be used, when no limit is in the way.

    Returns what a sandbox report says: ``applied``, or ``not applied`` with the cause. Under a limit nothing is locked:
    with MCL_FUTURE every later mapping beyond it would fail, a workload's linear memory first of all.
    """
    if limit() != resource.RLIM_INFINITY:
        return f"not applied: RLIMIT_MEMLOCK is {limit()} bytes; what the Keep holds of keys itself is locked"
    if lock_all is None:
        libc = ctypes.CDLL(None, use_errno=True)

        def lock_all(flags: int) -> int:
            return int(libc.mlockall(ctypes.c_int(flags)))

    ctypes.set_errno(0)
    if lock_all(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        return f"not applied: mlockall: {os.strerror(ctypes.get_errno())}"
    return APPLIED
