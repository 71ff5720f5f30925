"""The Steward's database in one SQLite file: write-ahead log, synchronised at every commit."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from enarx.tenant.steward import schema
from enarx.tenant.steward.store import StoreError

BUSY_SECONDS: Final = 10.0
"""How long to wait for somebody who reads or writes the file without our lock (seconds)."""


class SqliteBackend:
    """See ``store.Backend``. Instances take turns by a lock on a file beside the database.

    SQLite itself waits by sleeping for ever longer, which starves one of two busy writers; a file lock is granted in
    order as soon as it is free.
    """

    steps = schema.SQLITE

    def __init__(self, path: str) -> None:
        try:
            # The log tells who runs what: for the owner alone, also in the files that SQLite puts beside it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _failed(f"cannot open the database {path}", error) from error
        try:
            self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        except sqlite3.Error as error:
            os.close(self._lock)
            raise _failed(f"cannot open the database {path}", error) from error
        try:
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                self.execute(f"PRAGMA {pragma}")
        except StoreError:
            self.close()
            raise

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            raise _failed("the database refuses", error) from error

    def execute_many(self, statement: str, parameters: Sequence[Sequence[Any]]) -> None:
        try:
            self._connection.executemany(statement, parameters)
        except sqlite3.Error as error:
            raise _failed("the database refuses", error) from error

    @contextmanager
    def transaction(self, *, exclusive: bool) -> Iterator[None]:
        if exclusive:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self.execute("BEGIN IMMEDIATE" if exclusive else "BEGIN")
            try:
                yield
                self.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.rollback()
                raise
        finally:
            if exclusive:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        self._connection.close()
        os.close(self._lock)


def _failed(what: str, error: Exception) -> StoreError:
    return StoreError(f"{what}: {error}", hint="check its directory, its permissions and the space on its disk")
