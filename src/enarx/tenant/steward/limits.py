"""What one client may cost: bytes of a head and a body, seconds to send them, requests a second."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

ADDRESSES_MAX: Final = 10_000
"""Addresses whose rate is remembered (count); the one not seen for longest is forgotten first."""
HEAD_MAX_BYTES: Final = 16 * 1024
"""Largest request line and headers together (bytes)."""
HANDSHAKE_SECONDS: Final = 10.0
"""How long a client may take to shake hands (seconds)."""
HEAD_SECONDS: Final = 10.0
"""How long a client may take to send the head of a request, the first after connecting included (seconds)."""
BODY_SECONDS: Final = 10.0
"""How long a client may take to send a body (seconds)."""
KEEP_ALIVE_SECONDS: Final = 30
"""How long a connection may be idle between requests (seconds)."""
FAREWELL_SECONDS: Final = 2.0
"""How long a client may take to close its end of a connection when the Steward stops (seconds)."""
CONNECTIONS_MAX: Final = 1024
"""Connections and requests at once, for each worker (count)."""
GRACE_SECONDS: Final = 10
"""How long requests on their way may take once the Steward is told to stop (seconds)."""


class RateLimit:
    """A token bucket for each address: ``rate`` requests a second on average, ``burst`` at once. Rate 0: no limit."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = max(burst, 1)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admits(self, address: str, at: float) -> bool:
        """Whether one more request from ``address`` may be served at ``at`` (seconds of a clock that only goes on)."""
        if self._rate == 0:
            return True
        tokens, since = self._buckets.pop(address, (float(self._burst), at))
        tokens = min(float(self._burst), tokens + max(0.0, at - since) * self._rate)
        admitted = tokens >= 1
        self._buckets[address] = (tokens - 1 if admitted else tokens, at)
        while len(self._buckets) > ADDRESSES_MAX:
            self._buckets.popitem(last=False)
        return admitted
