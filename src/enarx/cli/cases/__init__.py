"""Runners for the cases of a vector index: one module per technology, each with the same function.

A module ``enarx.cli.cases.<tee>`` offers::

    def run(case: Case, load: Load, index: Index) -> CaseResult

It judges one case from its ``inputs``, ``verify_at``, ``name`` and, where the technology needs values that only the
index has (session and measurement values of SEV, parameters of a measurement), ``fields``. It never sees ``expect``:
the dispatcher removes it, with ``reason``, ``checked``, ``note`` and fields that begin with ``expected_``, before it
calls. It raises EnarxError for a refusal; the dispatcher turns ``error.code`` into the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from enarx.errors import UsageError

Case: TypeAlias = Mapping[str, Any]
"""One ``[[case]]`` of the index as tomllib reads it, without the answer."""

Load: TypeAlias = Callable[[str], bytes]
"""Reads an input by the path the index gives it, relative to the index's folder."""

Index: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The ``[[file]]`` tables of the index by path."""

OK = "ok"
FAIL = "fail"
UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """Verdict on one case: ``ok``, ``fail``, ``tcb:STATUS`` or ``unsupported``, the reason, and the values read.

    ``fields`` carries parsed values under the index's names; byte strings as lower-case hex in stored order.
    """

    verdict: str
    reason: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)


def verify_time(case: Case, otherwise: datetime) -> datetime:
    """The UTC time a case is to be judged at; ``otherwise`` for a case that does not depend on time."""
    stated = case.get("verify_at")
    if stated is None:
        return otherwise
    try:
        moment = stated if isinstance(stated, datetime) else datetime.fromisoformat(str(stated))
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:  # UTC of the first and last hours may lie outside of the calendar
        raise UsageError(
            f"verify_at {stated!r} is not an ISO 8601 time", code="case-time", hint="write 2025-01-09T22:14:21Z"
        ) from error


def inputs(case: Case) -> list[str]:
    """The input paths of a case, in the order the index gives them."""
    named = case.get("inputs", [])
    if not isinstance(named, list) or not all(isinstance(path, str) for path in named):
        raise UsageError("a case's inputs must be a list of paths", code="case-inputs", hint="mend the index")
    return list(named)
