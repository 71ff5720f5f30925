"""Does an authentic report describe a guest and a platform that a policy accepts?

Every rule is judged, also after a failure, and says what it expected, what it saw, where the expectation came from and
what to do. The order is fixed: who signed, what was launched, how, where, on which firmware.
"""

from __future__ import annotations

from enarx.evidence.appraisal import Appraisal, Rule, judge
from enarx.evidence.authentic import Authentic, Proof
from enarx.evidence.snp.abi import SIGNERS
from enarx.evidence.snp.guestrules import judge_data, judge_guest_policy, judge_identity
from enarx.evidence.snp.platformrules import judge_firmware, judge_platform
from enarx.evidence.snp.policy import Policy
from enarx.evidence.snp.report import Report


def appraise(authentic: Authentic[Report], policy: Policy) -> Appraisal:
    """Judge an authentic report by ``policy``. Never raises for what the report says: read the appraisal."""
    report, proof = authentic.value, authentic.proof
    rules: list[Rule] = []
    _signer(report, proof, policy, rules)
    judge_identity(report, policy, rules)
    judge_data(report, policy, rules)
    judge_guest_policy(report, policy, rules)
    judge_platform(report, proof, policy, rules)
    judge_firmware(report, proof, policy, rules)
    return Appraisal("snp", tuple(rules), proof.simulated)


def _signer(report: Report, proof: Proof, policy: Policy, rules: list[Rule]) -> None:
    where = policy.source
    judge(
        rules,
        "root",
        policy.simulated or not proof.simulated,
        "any accepted root" if policy.simulated else "a silicon vendor's root",
        f"{proof.root} (SIMULATED)" if proof.simulated else proof.root,
        source=policy.origin("simulated"),
        hint="this evidence comes from a simulator and proves nothing about hardware; run on hardware, or state "
        "simulated = true in a policy for tests",
        code="simulated-root",
    )
    if policy.require_crl:
        judge(
            rules,
            "revocation-checked",
            proof.revocation_checked,
            "a current revocation list",
            "checked" if proof.revocation_checked else "none was given",
            source=f"{where} require_crl",
            hint="give the vendor's current revocation list along",
            code="crl-missing",
        )
    if policy.signing_key:
        seen = SIGNERS.get(report.signing_key, str(report.signing_key))
        judge(
            rules,
            "signing-key",
            seen in policy.signing_key,
            " or ".join(policy.signing_key),
            seen,
            source=f"{where} signing_key",
            hint="the platform signs with the other kind of key",
        )
    if policy.minimum_report_version:
        judge(
            rules,
            "report-version",
            report.version >= policy.minimum_report_version,
            f">= {policy.minimum_report_version}",
            str(report.version),
            source=f"{where} minimum_report_version",
            hint="the platform needs newer firmware",
        )
    odd = report.reserved()
    judge(
        rules,
        "reserved",
        policy.reserved or not odd,
        "reserved fields as specified",
        ", ".join(odd) or "as specified",
        source=f"{where} reserved" if policy.reserved else "56860 table 23",
        hint="the firmware states something that this verifier does not know; update it, or state reserved = true",
        code="reserved-not-zero",
    )
