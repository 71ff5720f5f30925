"""What the Steward and a client judge alike of an authentic report: which guest, whose key, which launch."""

from __future__ import annotations

from enarx.errors import PolicyError
from enarx.evidence import snp
from enarx.evidence.appraisal import Rule, judge
from enarx.evidence.authentic import Authentic
from enarx.evidence.binding import report_data
from enarx.evidence.signature import Curve
from enarx.tenant.policy import Policy


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


def judge_key(spki: bytes, curve: Curve | None, report: snp.Report, rules: list[Rule], *, whose: str) -> None:
    """The evidence is over this very key, and it is on the curve that SEV-SNP Keeps have their keys on.

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


def judge_launch(digest: bytes, report: snp.Report, rules: list[Rule], *, source: str) -> None:
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
