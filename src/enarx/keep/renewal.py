"""When a certificate is renewed: a pure function, so that the schedule can be read and tested without waiting."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

FRACTION: Final = 2 / 3
"""Part of a certificate's lifetime after which the first attempt is made."""
SPREAD: Final = 1 / 12
"""Part of the lifetime over which the first attempts of many Keeps are spread."""
RETRY_SECONDS: Final = 10.0
"""Wait after the first failed attempt (seconds); doubled with each further one."""
RETRY_FRACTION: Final = 1 / 24
"""Longest wait between attempts, as part of the lifetime."""
RETRY_MAX_SECONDS: Final = 3600.0
"""Longest wait between attempts all the same (seconds)."""
SHORTEST_SECONDS: Final = 1.0
"""No attempt follows another sooner than this (seconds), whatever the certificate says."""


def seconds_to_renewal(
    not_before: datetime, not_after: datetime, now: datetime, *, failures: int, spread: float
) -> float:
    """How long to wait from ``now`` until the next attempt (seconds).

    ``failures`` counts attempts since the certificate in use came; ``spread`` is a random number from 0 to 1, drawn
    once for each certificate. All times are timezone-aware. The first attempt is made between 2/3 and 3/4 of the
    lifetime, so that a quarter of it is left for further ones: 10 s, 20 s, 40 s and so on apart (times 1/2 to 1, by
    ``spread``), but no further than 1/24 of the lifetime or an hour. They go on after the certificate has expired:
    connections that stand do not fall, and clients refuse new ones until an attempt succeeds.
    """
    lifetime = max((not_after - not_before).total_seconds(), 0.0)
    if failures > 0:
        longest = min(lifetime * RETRY_FRACTION, RETRY_MAX_SECONDS)
        wait = min(RETRY_SECONDS * float(1 << min(failures - 1, 30)), max(longest, SHORTEST_SECONDS))
        return max(wait * (0.5 + min(max(spread, 0.0), 1.0) / 2), SHORTEST_SECONDS)
    part = FRACTION + SPREAD * min(max(spread, 0.0), 1.0)
    due = not_before + timedelta(seconds=lifetime * part)
    return max((due - now).total_seconds(), SHORTEST_SECONDS)
