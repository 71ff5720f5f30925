"""The Steward's database: the log and the certificates, in SQLite or PostgreSQL, shared by any number of instances.

Everything that is written goes through ``append``: one transaction for a batch of entries, under a lock that all
instances take, committed durably when it returns. The two drivers are used directly: so few tables and statements
need no layer between them and their reader. What the console asks is in ``enarx.tenant.steward.console.queries``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from enarx.errors import ConfigError, HostError
from enarx.tenant.steward.ear import Position
from enarx.tenant.steward.log import GENESIS, Entry, Row, entry_hash
from enarx.tenant.steward.record import EXPLANATIONS_KEPT

PAGE_ROWS: Final = 1000
"""Rows read at a time (count)."""


class StoreError(HostError):
    """The database cannot be used now: unreachable, locked, full."""

    default_code = "database"


class Backend(Protocol):
    """What differs between databases. Statements have ``?`` for their parameters."""

    steps: tuple[tuple[str, ...], ...]

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows; StoreError."""
        ...

    def execute_many(self, statement: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each of ``parameters``; StoreError."""
        ...

    def transaction(self, *, exclusive: bool) -> AbstractContextManager[None]:
        """A transaction; an exclusive one waits until no other instance is in one. Durable once left; StoreError."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


def connect(database: str) -> Store:
    """Open ``database``: a path, ``sqlite:PATH``, or a ``postgresql://`` URL or ``postgresql:`` connection string.

    Raises ConfigError when it is none of these or its schema is newer than this Steward, StoreError when it cannot be
    reached. Not safe to share between threads.
    """
    if database.startswith(("postgresql:", "postgres:")):
        from enarx.tenant.steward.postgresql import PostgresqlBackend

        return Store(PostgresqlBackend(database))
    if "://" in database and not database.startswith("sqlite:"):
        raise ConfigError(  # without the address: it may have a password in it
            "this is no kind of database that the Steward knows",
            code="database-kind",
            hint="give a path, sqlite:PATH, or postgresql://USER@HOST/NAME",
        )
    from enarx.tenant.steward.sqlite import SqliteBackend

    return Store(SqliteBackend(database.removeprefix("sqlite:")))


class Store:
    """The log and the certificates. Made by `connect`, which brings the schema up to date."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        try:
            self._migrate()
        except BaseException:
            backend.close()
            raise

    @property
    def backend(self) -> Backend:
        """The connection, for statements that are not here."""
        return self._backend

    def append(self, entries: Sequence[Entry]) -> list[Position]:
        """Append entries in one transaction; returns where each stands once all are durable.

        StoreError when nothing was written, or when it is not known whether it was: then nothing may be handed out.
        """
        positions: list[Position] = []
        rows: list[tuple[int, str, str, str]] = []
        certificates: list[tuple[str, int, int]] = []
        revocations: list[tuple[int, str]] = []
        with self._backend.transaction(exclusive=True):
            head = self.head()
            previous, sequence = bytes.fromhex(head.hash), head.sequence
            for entry in entries:
                sequence += 1
                digest = entry_hash(sequence, previous, entry.body)
                rows.append((sequence, previous.hex(), digest.hex(), entry.body))
                positions.append(Position(sequence, digest.hex()))
                previous = digest
                if entry.issued is not None:
                    certificates.append((entry.issued.serial, sequence, int(entry.issued.not_after.timestamp())))
                if entry.revocation is not None:
                    revocations.append((int(entry.revocation.since.timestamp()), entry.revocation.serial))
            self._backend.execute_many("INSERT INTO log (sequence, previous, hash, body) VALUES (?, ?, ?, ?)", rows)
            if certificates:
                statement = "INSERT INTO certificates (serial, sequence, not_after) VALUES (?, ?, ?)"
                self._backend.execute_many(statement, certificates)
            if revocations:
                self._backend.execute_many("UPDATE certificates SET revoked_at = ? WHERE serial = ?", revocations)
            self._keep(entries, positions)
        return positions

    def _keep(self, entries: Sequence[Entry], positions: Sequence[Position]) -> None:
        """What the console shows beside the log, and no more of it than that."""
        explanations: list[tuple[int, str]] = []
        keeps: list[tuple[str, int, str]] = []
        now = 0
        for entry, position in zip(entries, positions, strict=True):
            record = entry.record
            if record is None:
                continue
            explanations.append((position.sequence, record.explanation))
            if entry.issued is not None and record.keep:
                keeps.append((entry.issued.serial, int(entry.issued.not_after.timestamp()), record.keep))
            now = max(now, int(record.at.timestamp()))
        if not explanations:
            return
        self._backend.execute_many("INSERT INTO explanations (sequence, body) VALUES (?, ?)", explanations)
        oldest = explanations[-1][0] - EXPLANATIONS_KEPT
        self._backend.execute("DELETE FROM explanations WHERE sequence <= ?", (oldest,))
        if keeps:
            self._backend.execute_many("INSERT INTO keeps (serial, not_after, body) VALUES (?, ?, ?)", keeps)
            self._backend.execute("DELETE FROM keeps WHERE not_after <= ?", (now,))

    def head(self) -> Position:
        """The last entry's position; sequence 0 for an empty log."""
        found = self._backend.execute("SELECT sequence, hash FROM log ORDER BY sequence DESC LIMIT 1")
        return Position(found[0][0], found[0][1]) if found else Position(0, GENESIS.hex())

    def rows(self, after: int = 0) -> Iterator[Row]:
        """The entries after ``after``, in order."""
        statement = "SELECT sequence, previous, hash, body FROM log WHERE sequence > ? ORDER BY sequence LIMIT ?"
        while page := self._backend.execute(statement, (after, PAGE_ROWS)):
            for row in page:
                yield Row(*row)
            after = page[-1][0]

    def certificate(self, serial: str) -> tuple[datetime, datetime | None] | None:
        """(end of validity, time of revocation) of a certificate that was issued; None for one that was not."""
        found = self._backend.execute("SELECT not_after, revoked_at FROM certificates WHERE serial = ?", (serial,))
        if not found:
            return None
        not_after, revoked = found[0]
        return _moment(not_after), None if revoked is None else _moment(revoked)

    def revoked(self, now: datetime) -> list[tuple[str, datetime]]:
        """Serials that are revoked and have not expired, with the time of revocation."""
        statement = "SELECT serial, revoked_at FROM certificates WHERE revoked_at IS NOT NULL AND not_after > ?"
        return [(serial, _moment(at)) for serial, at in self._backend.execute(statement, (int(now.timestamp()),))]

    def unlogged_certificates(self) -> list[str]:
        """Serials of certificates whose log entry does not name them: none, unless somebody wrote there."""
        found: list[str] = []
        statement = (
            "SELECT serial, body FROM certificates JOIN log ON log.sequence = certificates.sequence "
            "WHERE serial > ? ORDER BY serial LIMIT ?"
        )
        last = ""
        while page := self._backend.execute(statement, (last, PAGE_ROWS)):
            found += [serial for serial, body in page if f'"serial":"{serial}"' not in body]
            last = page[-1][0]
        return found

    def close(self) -> None:
        """Close the connection."""
        self._backend.close()

    def _migrate(self) -> None:
        steps = self._backend.steps
        with self._backend.transaction(exclusive=True):
            self._backend.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
            found = self._backend.execute("SELECT version FROM schema_version")
            version = found[0][0] if found else 0
            if version > len(steps):
                raise ConfigError(
                    f"the database has schema {version}, and this Steward knows {len(steps)}",
                    code="database-schema",
                    hint="a newer Steward has used it; run that one",
                )
            for step in steps[version:]:
                for statement in step:
                    self._backend.execute(statement)
            if version < len(steps):
                self._backend.execute("DELETE FROM schema_version")
                self._backend.execute("INSERT INTO schema_version (version) VALUES (?)", (len(steps),))


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
