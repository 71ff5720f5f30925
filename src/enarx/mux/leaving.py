"""EXIT goes last: it is the one frame that waits for streams, at the end that sends it and at the end that gets it."""

from __future__ import annotations

import time
from typing import Final

from enarx.mux.stream import Stream
from enarx.mux.table import Table

DRAIN_SECONDS: Final = 10.0
"""How long streams whose readers read nothing hold EXIT up, in seconds, at each end."""


class Leaving:
    """When EXIT may go on. A workload's output is never cut off once it has closed it; the rest has `DRAIN_SECONDS`.

    A workload that was ended has closed nothing: what it has written goes as far as the other end has room.
    """

    def __init__(self, table: Table) -> None:
        self.since: float | None = None
        """When EXIT was met, and had to wait (time.monotonic)."""
        self._table = table

    def begin(self) -> None:
        """EXIT has been met."""
        self.since = time.monotonic()

    def may_be_sent(self) -> bool:
        """Whether everything that was written before EXIT has been sent. The first time is too early to say."""
        if self.since is None:
            self.begin()
            self._table.look_again()
            return False
        late = self.late()
        return not any(_has_more(stream, late=late) for stream in self._table.by_number.values())

    def may_be_passed_on(self) -> bool:
        """Whether everything that came before EXIT has been passed on."""
        late = self.late()
        return not any(stream.patient or not late for stream in self._table.by_socket.values())

    def late(self) -> bool:
        """Whether streams have had their time."""
        return self.since is not None and time.monotonic() >= self.since + DRAIN_SECONDS

    def due(self) -> float | None:
        """When there is something to decide again (time.monotonic), if ever."""
        return None if self.since is None or self.late() else self.since + DRAIN_SECONDS


def _has_more(stream: Stream, *, late: bool) -> bool:
    """Whether what the socket has is worth waiting for."""
    if stream.sent_end or not stream.readable:
        return stream.finish_due
    if not stream.hung_up:
        return stream.credit > 0
    return stream.standard or not late
