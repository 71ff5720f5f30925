"""The rule of an appraisal that says whether those who have to sign a workload's package did."""

from __future__ import annotations

from typing import Final

from enarx.evidence.appraisal import Rule, judge
from enarx.tenant.signature.signers import Presented, Signers, Verdict

HINT: Final = (
    "sign this package with `enarx package sign` and deploy it with the signature; a signature is over one digest and "
    "one media type"
)


def judge_signers(workload: str, signers: Signers, presented: Presented, verdict: Verdict, rules: list[Rule]) -> None:
    """Append the rule ``workload-signature`` for the workload of that name."""
    judge(
        rules,
        "workload-signature",
        verdict.satisfies(signers),
        str(signers),
        seen(presented, verdict),
        source=f"policy workload.{workload}.signed_by",
        hint=HINT,
        code=reason(presented, verdict),
    )


def seen(presented: Presented, verdict: Verdict) -> str:
    """What the signatures of a request come to, in words."""
    return str(verdict) if presented.objects else "no signature in the request"


def reason(presented: Presented, verdict: Verdict) -> str:
    """Why they are not enough: none was sent, none of them counts, or too few do."""
    if not presented.objects:
        return "signature-missing"
    return "signature-threshold" if verdict.signed else "signature-mismatch"
