"""The log of decisions: append-only, each entry chained by its hash to the one before.

::

    hash(n) = SHA-256("enarx steward log v1" 00 || n as 8 bytes || hash(n-1) || body)      hash(0) = 32 zero bytes

``body`` is JSON in one line. It says what was decided about which key, certificate, manifest and measurement, by which
policy; it holds no names, no addresses and no secrets. Whoever holds an attestation result holds a position in the log
(``enarx_log``), and can tell when the log was rewritten before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from enarx.errors import AuthenticityError
from enarx.tenant.steward.ca import Issued
from enarx.tenant.steward.decision import Decision
from enarx.tenant.steward.ear import Position
from enarx.tenant.steward.record import Record
from enarx.tenant.workloads import written

GENESIS: Final = bytes(32)
BODY_MAX_BYTES: Final = 16 * 1024
"""Largest body of an entry (bytes); those of decisions have about 1 KiB."""
_LABEL: Final = b"enarx steward log v1\0"


@dataclass(frozen=True, slots=True)
class Revocation:
    """That a certificate is withdrawn: serial in hexadecimal, and since when."""

    serial: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be logged, and what it changes beside the log, in the same transaction."""

    body: str
    issued: Issued | None = None
    revocation: Revocation | None = None
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as it stands in the log; hashes in hexadecimal."""

    sequence: int
    previous: str
    hash: str
    body: str


def entry_hash(sequence: int, previous: bytes, body: str) -> bytes:
    """The hash of entry ``sequence`` (from 1) after one whose hash is ``previous``."""
    return hashlib.sha256(_LABEL + sequence.to_bytes(8, "big") + previous + body.encode()).digest()


def decision_entry(
    decision: Decision, issued: Issued | None, policy: bytes, route: str, now: datetime, *, record: Record | None = None
) -> Entry:
    """The entry for a decision: ``issued`` is the certificate that it led to, if it did.

    ``record`` is kept beside the log for the console; the entry has its digest.
    """
    grant = decision.grant
    body: dict[str, Any] = {
        "time": _time(now),
        "event": "decision",
        "route": route,
        "outcome": "issued" if issued else "refused",
        "code": decision.code,
        "technology": decision.technology,
        "simulated": decision.simulated,
        "policy": written(policy),
        "facts": dict(decision.facts),
    }
    if issued is not None:
        body["serial"] = issued.serial
        body["certificate"] = written(hashlib.sha256(issued.der).digest())
        body["not_after"] = _time(issued.not_after)
        body["secrets"] = len(grant.secrets) if grant else 0
    else:
        body["failed"] = [rule.name for rule in decision.rules if not rule.passed]
    if record is not None:
        body["explanation"] = record.digest
    return Entry(_json(body), issued, record=record)


def revocation_entry(serial: str, reason: str, now: datetime) -> Entry:
    """The entry for a certificate that is withdrawn."""
    body = {"time": _time(now), "event": "revocation", "serial": serial, "reason": reason}
    return Entry(_json(body), None, Revocation(serial, now))


def policy_entry(policy: bytes, now: datetime) -> Entry:
    """The entry for a policy that came into force, at a start or a reload."""
    return Entry(_json({"time": _time(now), "event": "policy", "policy": written(policy)}))


def verify(rows: Iterable[Row], *, after: Position | None = None, expected: Position | None = None) -> Position:
    """Check a log from its first entry on; returns the position of its last one (0 for an empty log).

    ``after`` is where an earlier check of this log ended: ``rows`` are those that follow. ``expected`` is a position
    that somebody noted: the log must have reached it, with that hash. Raises AuthenticityError (``log-broken``,
    ``log-truncated``) that names the first entry that does not fit.
    """
    previous, sequence = (bytes.fromhex(after.hash), after.sequence) if after is not None else (GENESIS, 0)
    if expected is not None and after is not None and after.sequence == expected.sequence != 0:
        _check_noted(after, expected)
    for row in rows:
        sequence += 1
        if row.sequence != sequence:
            raise _broken(sequence, f"it is missing; the next one is {row.sequence}")
        if row.previous != previous.hex():
            raise _broken(sequence, "it does not follow the entry before it")
        previous = entry_hash(sequence, previous, row.body)
        if row.hash != previous.hex():
            raise _broken(sequence, "its hash is not that of its contents")
        if expected is not None and sequence == expected.sequence:
            _check_noted(Position(sequence, row.hash), expected)
    if expected is not None and sequence < expected.sequence:
        raise AuthenticityError(
            f"the log ends at entry {sequence}, and entry {expected.sequence} was noted",
            code="log-truncated",
            hint="entries were removed, or this is another Steward's log, or an old copy of it",
        )
    return Position(sequence, previous.hex())


def _check_noted(found: Position, noted: Position) -> None:
    if found.hash != noted.hash:
        raise _broken(found.sequence, "its hash is not the one that was noted")


def _broken(sequence: int, what: str) -> AuthenticityError:
    return AuthenticityError(
        f"the log is broken at entry {sequence}: {what}",
        code="log-broken",
        hint="somebody changed the database; what the log says from this entry on proves nothing",
    )


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _json(body: dict[str, Any]) -> str:
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=True)
    if len(text) > BODY_MAX_BYTES:
        raise ValueError(f"a log entry of {len(text)} bytes")
    return text
