"""What the console asks of the database: newest first, a page at a time. Works on SQLite and PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from enarx.tenant.steward.log import Row
from enarx.tenant.steward.store import Store

SCAN_MAX_ROWS: Final = 2000
"""Entries that are looked through for one page (count)."""
COUNTED_MAX: Final = 10_000
"""Certificates that are counted (count); whether there are more is all that is said then."""
SESSIONS_MAX: Final = 256
"""Readers who are signed in at once (count); beyond, the oldest session ends."""
NEWEST: Final = 2**62
"""Before this entry are all of them."""

_SIMULATED: Final = '%"simulated":true%'
"""In the entries of simulated Keeps; quotes in a value are escaped there, so no value can pass for it."""
_ROWS: Final = "SELECT sequence, previous, hash, body FROM log WHERE sequence "
_CERTIFICATES: Final = (
    "SELECT certificates.serial, certificates.not_after, certificates.revoked_at, certificates.sequence, log.body "
    "FROM certificates JOIN log ON log.sequence = certificates.sequence "
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """One that was issued; ``body`` is that of its log entry ``sequence``."""

    serial: str
    not_after: datetime
    revoked: datetime | None
    sequence: int
    body: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Certificates that have not expired, up to ``COUNTED_MAX``; ``more``: whether there are more."""

    live: int
    revoked: int
    simulated: int
    more: bool


def rows_before(store: Store, before: int, wanted: Callable[[Row], bool], most: int) -> tuple[list[Row], int]:
    """Up to ``most`` entries before ``before`` that are ``wanted``, newest first; and where to go on, 0 at the end.

    At most ``SCAN_MAX_ROWS`` are looked at, so there may be fewer although there are more.
    """
    found: list[Row] = []
    fetched = store.backend.execute(_ROWS + "< ? ORDER BY sequence DESC LIMIT ?", (before, SCAN_MAX_ROWS))
    for fields in fetched:
        if len(found) == most:
            return found, found[-1].sequence
        row = Row(*fields)
        if wanted(row):
            found.append(row)
    return found, fetched[-1][0] if len(fetched) == SCAN_MAX_ROWS else 0


def row(store: Store, sequence: int) -> Row | None:
    """An entry of the log."""
    found = store.backend.execute(_ROWS + "= ?", (sequence,))
    return Row(*found[0]) if found else None


def rows_after(store: Store, after: int, most: int) -> Iterator[Row]:
    """Up to ``most`` entries after ``after``, in order."""
    for fields in store.backend.execute(_ROWS + "> ? ORDER BY sequence LIMIT ?", (after, most)):
        yield Row(*fields)


def certificates(store: Store, now: datetime, before: tuple[int, str] | None, most: int) -> list[Certificate]:
    """Certificates that have not expired, the one that lives longest first; ``before`` is where a page ended."""
    at, serial = before or (NEWEST, "")
    found = store.backend.execute(
        _CERTIFICATES + "WHERE certificates.not_after > ? AND (certificates.not_after, certificates.serial) < (?, ?) "
        "ORDER BY certificates.not_after DESC, certificates.serial DESC LIMIT ?",
        (_seconds(now), at, serial, most),
    )
    return [_certificate(*fields) for fields in found]


def certificate(store: Store, serial: str) -> Certificate | None:
    """A certificate, whether it has expired or not."""
    found = store.backend.execute(_CERTIFICATES + "WHERE certificates.serial = ?", (serial,))
    return _certificate(*found[0]) if found else None


def totals(store: Store, now: datetime) -> Totals:
    """How many certificates have not expired."""
    statement = (
        "SELECT count(*), count(revoked_at), coalesce(sum(CASE WHEN body LIKE ? THEN 1 ELSE 0 END), 0) FROM "
        "(SELECT revoked_at, body FROM certificates JOIN log ON log.sequence = certificates.sequence "
        "WHERE not_after > ? LIMIT ?) AS live"
    )
    parameters = (_SIMULATED, _seconds(now), COUNTED_MAX + 1)
    live, revoked, simulated = map(int, store.backend.execute(statement, parameters)[0])
    return Totals(min(live, COUNTED_MAX), revoked, simulated, live > COUNTED_MAX)


def explanation(store: Store, sequence: int) -> str | None:
    """What was kept of a decision, unread; None when nothing was, or no longer is."""
    return _only(store, "SELECT body FROM explanations WHERE sequence = ?", sequence)


def keep(store: Store, serial: str) -> str | None:
    """The evidence of the Keep that has a certificate, unread; None when none was kept, or no longer is."""
    return _only(store, "SELECT body FROM keeps WHERE serial = ?", serial)


def begin_session(store: Store, session: str, reader: str, now: datetime, ends: datetime) -> None:
    """Remember that somebody signed in; sessions that have ended are forgotten, and the oldest of too many."""
    backend = store.backend
    with backend.transaction(exclusive=True):
        backend.execute("DELETE FROM console_sessions WHERE ends <= ?", (_seconds(now),))
        backend.execute(
            "DELETE FROM console_sessions WHERE id NOT IN "
            "(SELECT id FROM console_sessions ORDER BY ends DESC, id LIMIT ?)",
            (SESSIONS_MAX - 1,),
        )
        statement = "INSERT INTO console_sessions (id, reader, ends) VALUES (?, ?, ?)"
        backend.execute(statement, (session, reader, _seconds(ends)))


def session(store: Store, session: str, now: datetime) -> tuple[str, datetime] | None:
    """(reader, end) of a session that has not ended."""
    statement = "SELECT reader, ends FROM console_sessions WHERE id = ? AND ends > ?"
    found = store.backend.execute(statement, (session, _seconds(now)))
    return (found[0][0], _moment(found[0][1])) if found else None


def end_session(store: Store, session: str) -> None:
    """Forget a session."""
    with store.backend.transaction(exclusive=True):
        store.backend.execute("DELETE FROM console_sessions WHERE id = ?", (session,))


def _only(store: Store, statement: str, key: int | str) -> str | None:
    found = store.backend.execute(statement, (key,))
    return found[0][0] if found else None


def _certificate(serial: str, not_after: int, revoked: int | None, sequence: int, body: str) -> Certificate:
    return Certificate(serial, _moment(not_after), None if revoked is None else _moment(revoked), sequence, body)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
