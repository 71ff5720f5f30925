"""The database's tables, for SQLite and for PostgreSQL, as numbered steps that are only ever added to.

``log`` refuses every change but a new row: the chain of hashes would show one, the triggers stop it.
"""

from __future__ import annotations

from typing import Final

_TABLES: Final = (
    "CREATE TABLE log (sequence BIGINT PRIMARY KEY, previous TEXT NOT NULL, hash TEXT NOT NULL, body TEXT NOT NULL)",
    "CREATE TABLE certificates (serial TEXT PRIMARY KEY, sequence BIGINT NOT NULL REFERENCES log (sequence), "
    "not_after BIGINT NOT NULL, revoked_at BIGINT)",
    "CREATE INDEX certificates_revoked ON certificates (revoked_at) WHERE revoked_at IS NOT NULL",
)

SQLITE: Final[tuple[tuple[str, ...], ...]] = (
    (
        *_TABLES,
        "CREATE TRIGGER log_no_update BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END",
        "CREATE TRIGGER log_no_delete BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END",
    ),
)
"""Step n brings a database from version n - 1 to n."""

POSTGRESQL: Final[tuple[tuple[str, ...], ...]] = (
    (
        *_TABLES,
        "CREATE FUNCTION log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the log is append-only'; END $$",
        "CREATE TRIGGER log_no_change BEFORE UPDATE OR DELETE ON log "
        "FOR EACH ROW EXECUTE FUNCTION log_is_append_only()",
        "CREATE TRIGGER log_no_truncate BEFORE TRUNCATE ON log EXECUTE FUNCTION log_is_append_only()",
    ),
)
