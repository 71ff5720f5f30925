"""The Steward's database in PostgreSQL (15 and later), through psycopg."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from enarx.errors import ConfigError
from enarx.tenant.steward import schema
from enarx.tenant.steward.store import StoreError

CONNECT_SECONDS: Final = 10
STATEMENT_MILLISECONDS: Final = 10_000
"""How long a statement, the wait for other instances included, may take."""
_LOCK: Final = 0x656E6172785374
"""The advisory lock that all instances on one database share ("enarxSt")."""


class PostgresqlBackend:
    """See ``store.Backend``. Instances take turns by an advisory lock, which ends with its transaction."""

    steps = schema.POSTGRESQL

    def __init__(self, database: str) -> None:
        conninfo = database if "://" in database else database.partition(":")[2]
        _check_address(conninfo)
        try:
            self._connection = psycopg.connect(
                conninfo,
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                # Whatever the server's default: an answer must not leave before its row is on disk.
                options=f"-c synchronous_commit=on -c statement_timeout={STATEMENT_MILLISECONDS}",
                application_name="enarx steward",
                client_encoding="utf8",  # else psycopg gives bytes for text where the database has no encoding
            )
        except psycopg.Error as error:
            raise _failed("cannot reach the database", error) from error
        fsync = self.execute("SHOW fsync")
        if fsync != [("on",)]:
            self.close()
            hint = "set fsync = on: a crash would lose decisions whose certificates were handed out"
            raise ConfigError("the database server does not write durably (fsync)", code="database-fsync", hint=hint)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            cursor = self._connection.execute(statement.replace("?", "%s").encode(), parameters)
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise _failed("the database refuses", error) from error

    def execute_many(self, statement: str, parameters: Sequence[Sequence[Any]]) -> None:
        try:
            with self._connection.cursor() as cursor:
                cursor.executemany(statement.replace("?", "%s").encode(), parameters)
        except psycopg.Error as error:
            raise _failed("the database refuses", error) from error

    @contextmanager
    def transaction(self, *, exclusive: bool) -> Iterator[None]:
        try:
            with self._connection.transaction():
                if exclusive:
                    self.execute("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
                yield
        except psycopg.Error as error:
            raise _failed("the transaction failed", error) from error

    def close(self) -> None:
        self._connection.close()


def _check_address(conninfo: str) -> None:
    """Raise ConfigError for an address that libpq cannot read, without its words: they quote it, password and all."""
    try:
        conninfo_to_dict(conninfo)
    except psycopg.Error:
        raise ConfigError(
            "the address of the PostgreSQL database cannot be read",
            code="database-address",
            hint="postgresql://USER@HOST:PORT/NAME with reserved characters percent-encoded, and the password in "
            "PGPASSFILE or PGPASSWORD",
        ) from None


def _failed(what: str, error: Exception) -> StoreError:
    return StoreError(f"{what}: {str(error).strip()}", hint="check that the server runs and who may connect")
