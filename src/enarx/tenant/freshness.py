"""Fresh evidence over one TLS session: was it made for this session, and by the Keep whose certificate was shown?

Evidence in a certificate is over the certificate's key: it says in which guest that key was made. Fresh evidence is
over the session's exporter (RFC 9266) and the client's nonce: it says that this session ends in that guest, now. A
relay between client and Keep has two sessions with two exporters, and no evidence for the client's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from enarx.errors import EvidenceError
from enarx.evidence import snp
from enarx.evidence.appraisal import Rule, judge, refusal
from enarx.evidence.binding import session_digest, session_report_data
from enarx.evidence.sev.enrolled import EnrolledKeep
from enarx.evidence.signature import PYCA, Verifier
from enarx.evidence.snp.enarx import parse_evidence
from enarx.tenant.client import Expectation, Verdict, trust_of, trusted
from enarx.tenant.judgement import Launched, appraise_enrolled, appraise_guest, authenticate_enrolled

PREFIX = "session-"
"""What names of rules about fresh evidence begin with."""

Known = snp.Report | EnrolledKeep


@dataclass(frozen=True, slots=True)
class SessionEvidence:
    """What a client has of one session: its own nonce and exporter (32 bytes each), and what the Keep answered.

    ``digests`` are of the sessions that the report is over, ``evidence`` is the value of the evidence extension.
    """

    nonce: bytes
    exporter: bytes
    digests: tuple[bytes, ...]
    evidence: bytes


def verify_session(
    verdict: Verdict,
    session: SessionEvidence,
    expected: Expectation,
    now: datetime,
    *,
    verifier: Verifier = PYCA,
    trust: snp.Trust | None = None,
) -> Verdict:
    """Judge fresh evidence beside an accepted ``verdict`` on the certificate of the same session, as of ``now``.

    Never raises for what the peer sent: read the verdict that comes back, which has the rules of both.
    """
    guest = verdict.guest
    if not verdict.accepted or guest is None:
        return verdict
    rules: list[Rule] = []
    facts: dict[str, str] = {}
    try:
        report: Known
        if isinstance(guest.report, EnrolledKeep):
            report = _enrolled(session, expected, now, verifier, rules)
        else:
            report = _reported(session, expected, now, trust or trust_of(expected.policy, verifier), rules)
        own = session_digest(guest.spki, session.nonce, session.exporter)
        _judge_binding(own, session.digests, report, rules)
        _judge_guest(guest.report, report, rules)
        failures = [rule for rule in rules if not rule.passed]
        error: EvidenceError | None = refusal(failures) if failures else None
        facts["session"] = own.hex()
    except EvidenceError as raised:
        error = raised
        if all(rule.passed for rule in rules):
            rules.append(Rule(raised.code, False, "acceptable", raised.message, "fresh evidence", raised.hint))
    named = (_renamed(rule) for rule in rules)
    return replace(verdict, rules=(*verdict.rules, *named), error=error, facts={**verdict.facts, **facts})


def _renamed(rule: Rule) -> Rule:
    """``rule`` under a name that says what it is about; a failure keeps its reason."""
    name = rule.name if rule.name.startswith(PREFIX) else PREFIX + rule.name
    return Rule(name, rule.passed, rule.expected, rule.seen, rule.source, rule.hint, "" if rule.passed else rule.reason)


def _reported(
    session: SessionEvidence, expected: Expectation, now: datetime, trust: snp.Trust, rules: list[Rule]
) -> snp.Report:
    """The report that was answered: authentic, and judged by the policy."""
    evidence = parse_evidence(session.evidence)
    report = snp.parse(evidence.report)
    lists = dict.fromkeys((*(one.crl for one in evidence.crls), *expected.crls))
    authentic = snp.authenticate(
        report,
        snp.Collateral(evidence.vcek, expected.chain, tuple(lists)),
        now,
        trust=trust,
        trail=rules,
    )
    appraise_guest(authentic, expected.policy, rules)
    return report


def _enrolled(
    session: SessionEvidence, expected: Expectation, now: datetime, verifier: Verifier, rules: list[Rule]
) -> EnrolledKeep:
    """The same of a SEV launch, whose processor makes no reports: the credential of the launch signed."""
    over, policy = session_report_data(session.digests), expected.policy
    keep = authenticate_enrolled(
        session.evidence, over, policy, trusted(expected), now, verifier=verifier, trail=rules
    )  # fmt: skip
    appraise_enrolled(keep, policy, rules)
    return keep.value


def _judge_binding(own: bytes, digests: Sequence[bytes], report: Launched, rules: list[Rule]) -> None:
    bound = session_report_data(digests)
    judge(
        rules,
        "session-binding",
        own in digests and report.report_data == bound,
        f"{bound.hex()}, with the session {own.hex()}",
        f"{report.report_data.hex()}, {'with' if own in digests else 'without'} this session",
        source="key, nonce and tls-exporter of this session",
        hint="this evidence was asked for in another TLS session, or for another nonce: somebody relays it. Trust this "
        "connection with nothing",
        code="session-mismatch",
    )


def _judge_guest(certified: Known, fresh: Known, rules: list[Rule]) -> None:
    judge(
        rules,
        "session-guest",
        _identity(certified) == _identity(fresh),
        _identity(certified),
        _identity(fresh),
        source="evidence in the certificate",
        hint="another Keep answered than the one whose certificate was shown",
        code="session-guest",
    )


def _identity(keep: Known) -> str:
    """REPORT_ID is the same in all reports of one guest, and in no other's (56860 table 23); so is an approval."""
    if isinstance(keep, EnrolledKeep):
        return f"approval {keep.approval.hex()}"
    return f"report id {keep.report_id.hex()}, measurement {keep.measurement.hex()}, {keep.host_data.hex()}"
