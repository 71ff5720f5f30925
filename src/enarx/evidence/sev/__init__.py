"""AMD SEV and SEV-ES: platform certificates, the tenant's side of a launch, and owned platforms.

``parse`` (bytes to certificates) -> ``authenticate`` (to ``Authentic[Platform]``) -> ``start_session`` (keys for one
guest on that platform) -> ``verify_launch`` (to ``Authentic[Launch]``) -> ``appraise`` (to ``Appraisal``) and
``package_secret``. ``create_oca`` and ``sign_pek`` are for the owner of a platform; ``measure`` computes the launch
digest to expect.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from enarx.evidence.sev.appraise import Policy, appraise, policy_from_table
from enarx.evidence.sev.authenticate import Platform, authenticate, authenticate_report
from enarx.evidence.sev.certs import CaCertificate, Certificate, SevCertificate
from enarx.evidence.sev.certs import parse_chain as parse
from enarx.evidence.sev.guest_policy import GuestPolicy
from enarx.evidence.sev.keys import TransportKeys
from enarx.evidence.sev.launch import VerifiedLaunch, package_secret, verify_launch
from enarx.evidence.sev.owner import create_oca, sign_pek
from enarx.evidence.sev.report import AttestationReport, FirmwareVersion, Launch, LaunchMeasurement, Session
from enarx.evidence.sev.roots import AMD_ROOTS, CaKey, Root
from enarx.evidence.sev.session import PendingLaunch, StartedLaunch, start_session

if TYPE_CHECKING:
    from types import ModuleType

    from enarx.evidence.sev import measure
else:

    def __getattr__(name: str) -> ModuleType:
        """``measure`` when it is first asked for: who verifies needs not measure, and pays for its import."""
        if name == "measure":
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AMD_ROOTS",
    "AttestationReport",
    "CaCertificate",
    "CaKey",
    "Certificate",
    "FirmwareVersion",
    "GuestPolicy",
    "Launch",
    "LaunchMeasurement",
    "PendingLaunch",
    "Platform",
    "Policy",
    "Root",
    "Session",
    "SevCertificate",
    "StartedLaunch",
    "TransportKeys",
    "VerifiedLaunch",
    "appraise",
    "authenticate",
    "authenticate_report",
    "create_oca",
    "measure",
    "package_secret",
    "parse",
    "policy_from_table",
    "sign_pek",
    "start_session",
    "verify_launch",
]
