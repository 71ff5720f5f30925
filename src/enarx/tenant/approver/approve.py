"""The two decisions on a launch, each a function of what the host sent, the policy and the time.

Before: is this platform genuine and accepted, and is the manifest one of a workload of the policy? Then it gets a
session that no other platform can open. After: is what the firmware measured an accepted image, under the policy of the
session? Then the launch gets its credential, sealed to that measurement. Every key is of one launch and used once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx.enrolment import ENROLMENT_GUID, KEY_BYTES, Enrolment
from enarx.errors import EvidenceError, PolicyError
from enarx.evidence import sev
from enarx.evidence.appraisal import Rule, judge, refusal
from enarx.evidence.sev.appraise import appraise_platform
from enarx.evidence.sev.approval import Approval, sign_approval
from enarx.evidence.sev.report import FirmwareVersion, LaunchMeasurement
from enarx.evidence.sev.roots import AMD_ROOTS
from enarx.evidence.sev.secret import SecretPacket
from enarx.evidence.signature import PYCA, Verifier
from enarx.manifest import parse as read_manifest
from enarx.tenant.judgement import sev_rules
from enarx.tenant.policy import Policy
from enarx.tenant.signature.signers import Presented
from enarx.tenant.steward.ca import CertificateAuthority
from enarx.tenant.workloads import judge_workload, written

MINIMUM_API: Final = (0, 17)
"""The first firmware whose secrets are tied to the measurement (SEV API 55766, 6.6); older is never approved."""

Technology = Literal["sev", "sev-es"]


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What a host asks before a launch; all of it is hostile. ``certificates`` follow one another."""

    technology: Technology
    certificates: bytes
    manifest: bytes
    signatures: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """What a host says of a launch: ``measurement`` (48 bytes) and ``firmware`` (API major, minor, build). Hostile."""

    measurement: bytes
    firmware: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Report:
    """What was decided: every rule judged, in order, and the error when one did not hold; ``facts`` for people."""

    step: Literal["launch", "measurement"]
    rules: tuple[Rule, ...]
    error: EvidenceError | None
    simulated: bool
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Begun:
    """A launch that may happen: the session for it, and what it is for."""

    started: sev.StartedLaunch
    manifest_digest: bytes
    workload: str


@dataclass(frozen=True, slots=True)
class Released:
    """What an approved launch is given: the packet for the host to pass on, and the approval in it."""

    packet: SecretPacket
    approval: bytes


@dataclass(slots=True)
class _Case:
    stage: str
    rules: list[Rule] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    simulated: bool = False

    def report(self, step: Literal["launch", "measurement"], error: EvidenceError | None) -> Report:
        """The report; an error that no rule stands for becomes one."""
        if error is not None and all(rule.passed for rule in self.rules):
            self.rules.append(Rule(error.code, False, "acceptable", error.message, self.stage, error.hint))
        return Report(step, tuple(self.rules), error, self.simulated, self.facts)

    def require(self) -> None:
        """Raise the refusal that the rules so far come to, if they do."""
        failures = [rule for rule in self.rules if not rule.passed]
        if failures:
            raise refusal(failures)


def begin(
    request: LaunchRequest, policy: Policy, now: datetime, *, verifier: Verifier = PYCA
) -> tuple[Report, Begun | None]:
    """Judge platform and manifest; a session when both are accepted. Never raises for what the request says."""
    case = _Case("certificates", facts={"technology": request.technology})
    try:
        begun = _begin(request, policy, now, verifier, case)
    except EvidenceError as error:
        return case.report("launch", error), None
    return case.report("launch", None), begun


def finish(
    begun: Begun, measured: Measured, policy: Policy, authority: CertificateAuthority, now: datetime
) -> tuple[Report, Released | None]:
    """Judge the measurement of a launch; its credential when it is accepted. Spends the launch's keys either way.

    Never raises for what the host says.
    """
    case = _Case("measurement", simulated=begun.started.pending.platform.proof.simulated)
    case.facts |= {"manifest": written(begun.manifest_digest), "workload": begun.workload}
    try:
        released = _finish(begun, measured, policy, authority, now=now, case=case)
    except EvidenceError as error:
        return case.report("measurement", error), None
    return case.report("measurement", None), released


def _begin(request: LaunchRequest, policy: Policy, now: datetime, verifier: Verifier, case: _Case) -> Begun:
    roots = (*AMD_ROOTS, *(policy.simulated_sev.roots if policy.simulated_sev else ()))
    platform = sev.authenticate(sev.parse(request.certificates), now, roots, verifier)
    case.rules += platform.proof.checks
    case.simulated = platform.proof.simulated
    case.facts |= {"product": platform.value.product, "api": ".".join(map(str, platform.value.api))}
    case.stage = "policy"
    table = sev_rules(policy, simulated=case.simulated)
    case.rules += appraise_platform(platform, table.policy)
    judge(
        case.rules,
        "es",
        request.technology == "sev-es" or not table.policy.require_es,
        "SEV-ES" if table.policy.require_es else "SEV or SEV-ES",
        request.technology.upper(),
        source=f"{table.policy.source}.require_es",
        hint="launch with --backend sev-es; without it the host reads and writes the guest's registers",
        code="es-required",
    )
    case.stage = "manifest"
    manifest = read_manifest(request.manifest)  # which accepts the canonical encoding alone
    digest = hashlib.sha256(request.manifest).digest()
    case.facts["manifest"] = written(digest)
    judge(
        case.rules,
        "steward",
        manifest.steward is not None,
        "a Steward",
        manifest.steward.url if manifest.steward else "none",
        source="built-in",
        hint="a credential is of use before a Steward alone; launch with --steward",
        code="steward-missing",
    )
    presented = Presented(request.signatures, policy.sigstore, verifier)
    found, _ = judge_workload(manifest, policy.workloads, case.rules, presented)
    case.require()
    workload = found.name if found else ""
    case.facts["workload"] = workload
    minimum = max(table.policy.minimum_api, MINIMUM_API)
    guest = sev.GuestPolicy.of(es=request.technology == "sev-es", api_major=minimum[0], api_minor=minimum[1])
    case.facts["guest_policy"] = f"{guest.value:#x}"
    return Begun(sev.start_session(platform, guest), digest, workload)


def _finish(
    begun: Begun, measured: Measured, policy: Policy, authority: CertificateAuthority, *, now: datetime, case: _Case
) -> Released:
    table = sev_rules(policy, simulated=case.simulated)
    measurement = LaunchMeasurement.from_bytes(measured.measurement)
    version = FirmwareVersion(*measured.firmware)
    case.facts["firmware"] = str(version)
    digests: Iterator[bytes] = iter(sorted(table.policy.launch_digests))
    verified = sev.verify_launch(begun.started.pending, measurement, version, digests, now)
    launch = verified.launch
    case.facts["launch_digest"] = launch.value.digest.hex()
    case.rules.append(launch.proof.checks[-1])
    case.stage = "policy"
    case.rules += sev.appraise(launch, table.policy).rules
    case.require()
    if measured.firmware[:2] < MINIMUM_API:
        raise PolicyError(
            f"firmware {version} does not tie secrets to the launch",
            code="firmware-outdated",
            hint="the platform's owner must update the SEV firmware",
        )
    key = ec.generate_private_key(ec.SECP384R1())
    until = now + table.approval
    approval = sign_approval(
        Approval(
            launch=launch.value,
            manifest_digest=begun.manifest_digest,
            key=key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
            approved=now.replace(microsecond=0),
            until=until.replace(microsecond=0),
            simulated=case.simulated,
        ),
        authority.spki,
        authority.sign,
    )
    private = key.private_numbers().private_value.to_bytes(KEY_BYTES, "big")
    credential = Enrolment(begun.manifest_digest, private, approval).encode()
    packet = sev.package_secret(verified, table.policy, {UUID(ENROLMENT_GUID): credential})
    case.facts |= {"approval": hashlib.sha256(approval).hexdigest(), "until": until.isoformat(timespec="seconds")}
    return Released(packet, approval)
