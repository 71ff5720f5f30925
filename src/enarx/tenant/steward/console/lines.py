"""Entries of the log as the console shows them. What a row says is checked for form only, and cleaned.

Somebody who can write to the database may have put anything there: a row that cannot be read is shown as such.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from enarx.tenant.steward.log import BODY_MAX_BYTES, Row
from enarx.trust.clean import clean

FACTS_MAX: Final = 64
"""Facts of one entry that are shown (count)."""
FAILED_MAX: Final = 32
"""Failed rules that are named in a line (count)."""

_SERIAL: Final = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Line:
    """One entry. ``event`` is ``decision``, ``revocation``, ``policy``, another word, or empty for an unreadable one.

    ``certificate`` and ``explanation`` are digests of what was issued, and of what was kept beside the log.
    """

    sequence: int
    hash: str
    time: datetime | None
    event: str
    issued: bool = False
    code: str = ""
    technology: str = ""
    simulated: bool = False
    policy: str = ""
    serial: str = ""
    certificate: str = ""
    not_after: datetime | None = None
    secrets: int = 0
    reason: str = ""
    route: str = ""
    explanation: str = ""
    failed: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def has_serial(self) -> bool:
        """Whether its serial can be looked up."""
        return is_serial(self.serial)

    @property
    def measurement(self) -> str:
        return dict(self.facts).get("measurement", "")

    @property
    def workload(self) -> str:
        """Digest of the module or package."""
        return dict(self.facts).get("workload", "")


def is_serial(text: str) -> bool:
    """Whether ``text`` can be the serial number of a certificate, as the log writes it."""
    return _SERIAL.fullmatch(text) is not None


def read_line(row: Row) -> Line:
    """What an entry says, as far as it can be read."""
    body = _body(row.body)
    failed = body.get("failed")
    facts = body.get("facts")
    secrets = body.get("secrets")
    return Line(
        sequence=row.sequence,
        hash=clean(row.hash),
        time=_time(body.get("time")),
        event=_text(body, "event"),
        issued=body.get("outcome") == "issued",
        code=_text(body, "code"),
        technology=_text(body, "technology"),
        simulated=body.get("simulated") is True,
        policy=_text(body, "policy"),
        serial=_text(body, "serial"),
        certificate=_text(body, "certificate"),
        not_after=_time(body.get("not_after")),
        secrets=secrets if type(secrets) is int else 0,
        reason=_text(body, "reason"),
        route=_text(body, "route"),
        explanation=_text(body, "explanation"),
        failed=tuple(_shown(one) for one in failed[:FAILED_MAX]) if isinstance(failed, list) else (),
        facts=_facts(facts) if isinstance(facts, dict) else (),
    )


def _body(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text) if len(text) <= BODY_MAX_BYTES else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    return clean(value) if isinstance(value, str) else ""


def _shown(value: object) -> str:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return clean(", ".join(str(one)[:200] for one in value[:FAILED_MAX]))
    return clean(str(value)[:200])


def _facts(found: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    return tuple((clean(name), _shown(value)) for name, value in list(found.items())[:FACTS_MAX])


def _time(value: object) -> datetime | None:
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        found = datetime.fromisoformat(value)
        return found.astimezone(UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None
