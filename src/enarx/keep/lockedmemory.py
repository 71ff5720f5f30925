"""Memory that does not go to swap, as far as the machine lets us.

Keys and secrets are in OpenSSL's heap and in Python's, wherever those put them: so the whole process is locked, or
nothing is. The limit RLIMIT_MEMLOCK rarely permits that on a development machine, and always does in a guest where the
Keep is alone. Core dumps are ruled out elsewhere (RLIMIT_CORE 0, PR_SET_DUMPABLE 0).

Source: Linux mlockall(2).
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable
from typing import Final

APPLIED: Final = "applied"
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_MCL_ONFAULT: Final = 4


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
        return f"not applied: RLIMIT_MEMLOCK is {limit()} bytes; keys and secrets may be swapped"
    if lock_all is None:
        libc = ctypes.CDLL(None, use_errno=True)

        def lock_all(flags: int) -> int:
            return int(libc.mlockall(ctypes.c_int(flags)))

    ctypes.set_errno(0)
    if lock_all(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        return f"not applied: mlockall: {os.strerror(ctypes.get_errno())}; keys and secrets may be swapped"
    return APPLIED
