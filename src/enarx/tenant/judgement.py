"""What the Steward and a client judge alike of an authentic report: which guest, whose key, which launch."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from enarx.errors import PolicyError
from enarx.evidence import sev, snp
from enarx.evidence.appraisal import Rule, judge
from enarx.evidence.authentic import Authentic
from enarx.evidence.binding import report_data
from enarx.evidence.sev.approval import parse_approval
from enarx.evidence.sev.enrolled import EnrolledKeep, authenticate_keep, launch_of, parse_sev_evidence
from enarx.evidence.signature import Curve, Verifier
from enarx.tenant.policy import Policy
from enarx.tenant.sevpolicy import SevRules


class Launched(Protocol):
    """What evidence of any technology says of a Keep: the caller's 64 bytes, and the digest of its manifest."""

    @property
    def report_data(self) -> bytes: ...

    @property
    def host_data(self) -> bytes: ...


def appraise_guest(authentic: Authentic[snp.Report], policy: Policy, rules: list[Rule]) -> None:
    """Judge by the table for its kind of root; PolicyError (``policy-no-table``) where the policy has none."""
    name = "simulated" if authentic.proof.simulated else "snp"
    table = policy.simulated if authentic.proof.simulated else policy.snp
    if table is None:
        raise PolicyError(
            f"the policy has no [{name}] table, so none of its guests is accepted",
            code="policy-no-table",
            hint=f"add [{name}] with at least a measurement",
        )
    rules.extend(snp.appraise(authentic, table).rules)


def sev_rules(policy: Policy, *, simulated: bool) -> SevRules:
    """The table for platforms of this kind; PolicyError (``policy-no-table``) where the policy has none."""
    table = policy.simulated_sev if simulated else policy.sev
    if table is None:
        name = "simulated_sev" if simulated else "sev"
        raise PolicyError(
            f"the policy has no [{name}] table, so none of its launches is accepted",
            code="policy-no-table",
            hint=f"add [{name}] with launch_digests, or include an image's",
        )
    return table


def authenticate_enrolled(
    value: bytes,
    data: bytes,
    policy: Policy,
    authority: bytes | None,
    now: datetime,
    *,
    verifier: Verifier,
    trail: list[Rule],
) -> Authentic[EnrolledKeep]:
    """The SEV evidence extension ``value`` over ``data`` (64 bytes), verified by the approvers that the policy accepts.

    ``authority`` is the CA whose approvals are believed where the policy names none. Raises EvidenceError.
    """
    evidence = parse_sev_evidence(value)
    table = sev_rules(policy, simulated=parse_approval(evidence.approval).approval.simulated)
    return authenticate_keep(evidence, data, table.accepts(authority), now, verifier=verifier, trail=trail)


def appraise_enrolled(keep: Authentic[EnrolledKeep], policy: Policy, rules: list[Rule]) -> None:
    """Judge the launch that was approved, by today's policy. PolicyError as `sev_rules`."""
    table = sev_rules(policy, simulated=keep.proof.simulated)
    rules.extend(sev.appraise(launch_of(keep), table.policy).rules)


def judge_key(spki: bytes, curve: Curve | None, report: Launched, rules: list[Rule], *, whose: str) -> None:
    """The evidence is over this very key, and it is on the curve that Keeps have their keys on.

    ``spki`` is its DER SubjectPublicKeyInfo and ``curve`` None for a key on none; ``whose`` says where it came from.
    """
    expected = report_data(spki)
    judge(
        rules,
        "key-binding",
        curve is Curve.P384 and report.report_data == expected,
        expected.hex(),
        report.report_data.hex(),
        source=f"SHA-384 of the {whose}'s public key",
        hint=f"the evidence was made for another key: it was replayed, or the {whose} was altered",
        code="binding-mismatch",
    )


def judge_launch(digest: bytes, report: Launched, rules: list[Rule], *, source: str) -> None:
    """The guest was launched with the manifest of this SHA-256."""
    judge(
        rules,
        "manifest-binding",
        report.host_data == digest,
        digest.hex(),
        report.host_data.hex(),
        source=source,
        hint="the Keep was launched with another manifest: it was exchanged after the launch",
        code="manifest-mismatch",
    )
