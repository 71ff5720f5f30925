"""AMD SEV-SNP: attestation reports, the chain that endorses them, and what a policy makes of them.

``parse`` (bytes to ``Report``) -> ``authenticate`` (to ``Authentic[Report]``) -> ``appraise`` (to ``Appraisal``).
"""

from __future__ import annotations

from enarx.evidence.snp.appraise import appraise
from enarx.evidence.snp.authenticate import authenticate
from enarx.evidence.snp.policy import GuestPolicyRules, Policy
from enarx.evidence.snp.policyfile import parse_policy
from enarx.evidence.snp.report import Report, parse
from enarx.evidence.snp.roots import AMD_ROOTS, Root, root_from_certificates
from enarx.evidence.snp.trust import AMD, Collateral, Trust

__all__ = [
    "AMD",
    "AMD_ROOTS",
    "Collateral",
    "GuestPolicyRules",
    "Policy",
    "Report",
    "Root",
    "Trust",
    "appraise",
    "authenticate",
    "parse",
    "parse_policy",
    "root_from_certificates",
]
