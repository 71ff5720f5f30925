"""The database's tables, for SQLite and for PostgreSQL, as numbered steps that are only ever added to.

``log`` refuses every change but a new row: the chain of hashes would show one, the triggers stop it. ``explanations``,
``keeps`` and ``console_sessions`` are the console's; their rows go when they are no longer needed.
"""

from __future__ import annotations

from typing import Final

_LOG: Final = (
    "CREATE TABLE log (sequence BIGINT PRIMARY KEY, previous TEXT NOT NULL, hash TEXT NOT NULL, body TEXT NOT NULL)",
    "CREATE TABLE certificates (serial TEXT PRIMARY KEY, sequence BIGINT NOT NULL REFERENCES log (sequence), "
    "not_after BIGINT NOT NULL, revoked_at BIGINT)",
    "CREATE INDEX certificates_revoked ON certificates (revoked_at) WHERE revoked_at IS NOT NULL",
)
_CONSOLE: Final = (
    "CREATE INDEX certificates_not_after ON certificates (not_after, serial)",
    "CREATE TABLE explanations (sequence BIGINT PRIMARY KEY REFERENCES log (sequence), body TEXT NOT NULL)",
    "CREATE TABLE keeps (serial TEXT PRIMARY KEY REFERENCES certificates (serial), not_after BIGINT NOT NULL, "
    "body TEXT NOT NULL)",
    "CREATE INDEX keeps_not_after ON keeps (not_after)",
    "CREATE TABLE console_sessions (id TEXT PRIMARY KEY, reader TEXT NOT NULL, ends BIGINT NOT NULL)",
)

SQLITE: Final[tuple[tuple[str, ...], ...]] = (
    (
        *_LOG,
        "CREATE TRIGGER log_no_update BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END",
        "CREATE TRIGGER log_no_delete BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END",
    ),
    _CONSOLE,
)
"""Step n brings a database from version n - 1 to n."""

POSTGRESQL: Final[tuple[tuple[str, ...], ...]] = (
    (
        *_LOG,
        "CREATE FUNCTION log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the log is append-only'; END $$",
        "CREATE TRIGGER log_no_change BEFORE UPDATE OR DELETE ON log "
        "FOR EACH ROW EXECUTE FUNCTION log_is_append_only()",
        "CREATE TRIGGER log_no_truncate BEFORE TRUNCATE ON log EXECUTE FUNCTION log_is_append_only()",
    ),
    _CONSOLE,
)
