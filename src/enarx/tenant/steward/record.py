"""What the Steward keeps of a decision for its console, beside the log: why it was made, and the Keep's evidence.

The log has the digest of an explanation, so one that was exchanged is told. Rows read from the database are not
believed to be what was written: both readers check form and bounds.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from enarx.errors import EvidenceError, MalformedError
from enarx.evidence.appraisal import Rule
from enarx.evidence.binding import SNP_EVIDENCE_OID
from enarx.evidence.snp.enarx import parse_evidence
from enarx.tenant.steward.ca import Issued
from enarx.tenant.steward.decision import Decision, Grant, Request
from enarx.tenant.workloads import written

EXPLANATIONS_KEPT: Final = 20_000
"""Decisions whose explanation is kept, the newest (count); the log itself is kept whole."""
RULES_MAX: Final = 128
"""Rules of one explanation (count)."""
TEXT_MAX: Final = 400
"""Longest text of a rule that is kept (characters)."""
EXPLANATION_MAX_BYTES: Final = 64 * 1024
"""Largest explanation (bytes); rules that do not fit are left out, and counted."""
KEEP_MAX_BYTES: Final = 64 * 1024
"""Largest record of a Keep's evidence (bytes); without its revocation lists where they do not fit."""

_TEXTS: Final = ("expected", "seen", "source", "hint", "code")


@dataclass(frozen=True, slots=True)
class Record:
    """What goes into the database with a log entry, ``at`` a time; ``keep`` is empty for a refusal."""

    explanation: str
    keep: str
    at: datetime

    @property
    def digest(self) -> str:
        return written(hashlib.sha256(self.explanation.encode()).digest())


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every rule of a decision, the message of a refusal, and the name that the policy has for the workload.

    ``left_out`` counts rules that were too many to keep.
    """

    rules: tuple[Rule, ...]
    workload: str
    message: str
    hint: str
    left_out: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A Keep's certificate, chain and revocation lists of the processor's vendor (DER).

    ``incomplete``: lists were left out, for want of room.
    """

    certificate: bytes
    chain: tuple[bytes, ...]
    crls: tuple[bytes, ...]
    incomplete: bool


def make_record(request: Request, decision: Decision, issued: Issued | None, at: datetime) -> Record:
    """What to keep of a decision; ``issued`` is the certificate that it led to, if it did."""
    grant = decision.grant
    keep = _keep(request, grant, issued) if grant is not None and issued is not None else ""
    return Record(_explanation(decision, grant.workload if grant else ""), keep, at)


def read_explanation(body: str) -> Explanation:
    """Read an explanation; MalformedError."""
    found = _object(body, EXPLANATION_MAX_BYTES)
    rules = found.get("rules")
    if not isinstance(rules, list) or len(rules) > RULES_MAX:
        raise _malformed()
    left_out = found.get("left_out", 0)
    if type(left_out) is not int or left_out < 0:
        raise _malformed()
    texts = {key: _text(found.get(key, "")) for key in ("workload", "message", "hint")}
    return Explanation(tuple(map(_rule, rules)), left_out=left_out, **texts)


def read_keep(body: str) -> Kept:
    """Read a Keep's evidence; MalformedError."""
    found = _object(body, KEEP_MAX_BYTES)
    return Kept(
        _bytes(found.get("certificate")),
        tuple(map(_bytes, _list(found.get("chain")))),
        tuple(map(_bytes, _list(found.get("crls")))),
        found.get("incomplete") is not False,
    )


def _explanation(decision: Decision, workload: str) -> str:
    error = decision.error
    body: dict[str, Any] = {"workload": workload}
    if error is not None:
        body |= {"message": error.message[:TEXT_MAX], "hint": error.hint[:TEXT_MAX]}
    room = EXPLANATION_MAX_BYTES - len(_json(body)) - 64
    rules: list[dict[str, object]] = []
    for rule in decision.rules[:RULES_MAX]:
        plain = _plain_rule(rule)
        room -= len(_json(plain)) + 1
        if room < 0:
            break
        rules.append(plain)
    return _json(body | {"rules": rules, "left_out": len(decision.rules) - len(rules)})


def _plain_rule(rule: Rule) -> dict[str, object]:
    plain: dict[str, object] = {"name": rule.name[:TEXT_MAX], "passed": rule.passed}
    return plain | {key: value[:TEXT_MAX] for key in _TEXTS if (value := getattr(rule, key))}


def _rule(plain: object) -> Rule:
    if not isinstance(plain, dict):
        raise _malformed()
    texts = {key: _text(plain.get(key, "")) for key in ("name", *_TEXTS)}
    return Rule(passed=plain.get("passed") is True, **texts)


def _keep(request: Request, grant: Grant, issued: Issued) -> str:
    """Evidence is in the certificate, but for lists that did not fit there."""
    lists = dict.fromkeys(request.crls)
    oid, value = grant.evidence
    if oid == SNP_EVIDENCE_OID:
        lists = dict.fromkeys((*_lists_in(value), *lists))
    body: dict[str, Any] = {
        "certificate": _base64(issued.der),
        "chain": [_base64(one) for one in request.chain],
        "crls": [_base64(one) for one in lists],
        "incomplete": False,
    }
    for left_out in ({}, {"crls": [], "incomplete": True}, {"crls": [], "chain": [], "incomplete": True}):
        text = _json(body | left_out)
        if len(text) <= KEEP_MAX_BYTES:
            return text
    return ""


def _lists_in(evidence: bytes) -> tuple[bytes, ...]:
    try:
        return tuple(one.crl for one in parse_evidence(evidence).crls)
    except EvidenceError:
        return ()


def _object(body: str, limit: int) -> dict[str, Any]:
    try:
        found = json.loads(body) if len(body) <= limit else None
    except (ValueError, RecursionError) as error:
        raise _malformed() from error
    if not isinstance(found, dict):
        raise _malformed()
    return found


def _list(value: object) -> Sequence[object]:
    if not isinstance(value, list):
        raise _malformed()
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _malformed()
    return value


def _bytes(value: object) -> bytes:
    try:
        return b64decode(_text(value), validate=True)
    except ValueError as error:
        raise _malformed() from error


def _malformed() -> MalformedError:
    return MalformedError(
        "what was kept of this decision cannot be read",
        code="record-malformed",
        hint="somebody changed the database: see `enarx steward log --verify`",
    )


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _json(body: object) -> str:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=True)
