"""The log's chain of hashes, checked a bounded piece at a time, so that no page waits for a log of millions.

What was checked is remembered for a while, in this process; then the check begins anew, because an old entry may have
been changed since. `enarx steward log --verify` checks everything at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from enarx.errors import AuthenticityError
from enarx.tenant.steward.console import queries
from enarx.tenant.steward.ear import Position
from enarx.tenant.steward.log import GENESIS, verify
from enarx.tenant.steward.store import Store

STEP_ROWS: Final = 20_000
"""Entries that one request checks at most (count): some tenths of a second."""
REMEMBERED: Final = timedelta(minutes=15)
"""How long a check counts before it begins anew from the first entry."""

_BEGIN: Final = Position(0, GENESIS.hex())


@dataclass(frozen=True, slots=True)
class LogState:
    """The log's ``head``, and how far it was checked, since when; ``broken`` says what does not fit, if anything."""

    head: Position
    checked: Position
    since: datetime
    broken: AuthenticityError | None

    @property
    def complete(self) -> bool:
        return self.broken is None and self.checked.sequence >= self.head.sequence


class LogCheck:
    """Used from one thread: the reader's."""

    def __init__(self) -> None:
        self._checked = _BEGIN
        self._since: datetime | None = None
        self._broken: AuthenticityError | None = None

    def step(self, store: Store, now: datetime) -> LogState:
        """Check some more of the log; StoreError."""
        if self._since is None or not self._since <= now < self._since + REMEMBERED:
            self._checked, self._since, self._broken = _BEGIN, now, None
        head = store.head()
        if self._broken is None:
            try:
                rows = queries.rows_after(store, self._checked.sequence, STEP_ROWS)
                self._checked = verify(rows, after=self._checked)
                if head.sequence < self._checked.sequence:
                    head = store.head()  # it has grown in between, or was cut
                if head.sequence <= self._checked.sequence:
                    verify((), after=head, expected=self._checked)
            except AuthenticityError as error:
                self._broken = error
        return LogState(head, self._checked, self._since, self._broken)
