"""AMD SEV-SNP: attestation reports, the chain that endorses them, and what a policy makes of them.

``parse`` (bytes to ``Report``) -> ``authenticate`` (to ``Authentic[Report]``) -> ``appraise`` (to ``Appraisal``).
``measure`` computes the launch digest to expect.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from enarx.evidence.snp.appraise import appraise
from enarx.evidence.snp.authenticate import authenticate
from enarx.evidence.snp.policy import GuestPolicyRules, Policy
from enarx.evidence.snp.policyfile import parse_policy
from enarx.evidence.snp.report import Report, parse
from enarx.evidence.snp.roots import AMD_ROOTS, Root, root_from_certificates
from enarx.evidence.snp.trust import AMD, Collateral, Trust

if TYPE_CHECKING:
    from types import ModuleType

    from enarx.evidence.snp import measure
else:

    def __getattr__(name: str) -> ModuleType:
        """``measure`` when it is first asked for: who verifies needs not measure, and pays for its import."""
        if name == "measure":
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
    "measure",
    "parse",
    "parse_policy",
    "root_from_certificates",
]
