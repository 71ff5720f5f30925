"""What authentic evidence says, as facts of the rows that it bears on.

Fields have the names of their specifications: 56860 for SEV-SNP, 55766 for SEV and SEV-ES.
"""

from __future__ import annotations

from enarx.evidence.authentic import Authentic, Proof
from enarx.evidence.sev.enrolled import EnrolledKeep
from enarx.evidence.snp.abi import PLATFORM_BITS, POLICY_BITS
from enarx.evidence.snp.report import Report
from enarx.trust.model import Fact, Kind, Source

NO_MIGRATION_AGENT = b"\xff" * 32
"""REPORT_ID_MA of a guest without one (56860 table 23)."""


class Facts:
    """What evidence of any technology says; ``source`` is that of all facts. Nothing, where it does not say."""

    kind: Kind

    def __init__(self, proof: Proof) -> None:
        self.proof = proof
        self.source = Source.SIMULATED if proof.simulated else Source.EVIDENCE

    @property
    def exposed(self) -> str:
        """Why the host can reach the guest's memory all the same: ``debug``, ``migration``, ``sharing``, or nothing."""
        return ""

    def launch(self) -> tuple[Fact, ...]:
        return ()

    def signed_launch(self) -> tuple[Fact, ...]:
        """Who signed for the launch, where somebody did."""
        return ()

    def guest(self) -> tuple[Fact, ...]:
        return ()

    def manifest(self) -> tuple[Fact, ...]:
        return ()

    def key(self) -> tuple[Fact, ...]:
        return ()

    def firmware(self) -> tuple[Fact, ...]:
        """Evidence: what was signed about it."""
        return ()

    def firmware_versions(self) -> tuple[Fact, ...]:
        return ()

    def cpu(self) -> tuple[Fact, ...]:
        """Evidence: whose key vouches for it."""
        return (self._fact("fact.root", self.proof.root),)

    def cpu_versions(self) -> tuple[Fact, ...]:
        return (self._fact("fact.product", self.proof.product),)

    def memory(self) -> tuple[Fact, ...]:
        """What bears on attacks on the memory bus."""
        return ()

    def sharing(self) -> tuple[Fact, ...]:
        """What bears on side channels."""
        return ()

    def _fact(self, name: str, value: str) -> Fact:
        return Fact(name, value, self.source)


def facts_of(authentic: Authentic[Report | EnrolledKeep]) -> Facts:
    """The facts of authentic evidence of a Keep."""
    value = authentic.value
    if isinstance(value, Report):
        return SnpFacts(value, authentic.proof)
    return SevFacts(value, authentic.proof)


class SevFacts(Facts):
    """Of a launch of SEV or SEV-ES that an approver vouches for."""

    def __init__(self, keep: EnrolledKeep, proof: Proof) -> None:
        super().__init__(proof)
        self.keep = keep
        self.kind = Kind.SEV_ES if keep.launch.policy.es_required else Kind.SEV

    @property
    def exposed(self) -> str:
        policy = self.keep.launch.policy
        if policy.debug_allowed:
            return "debug"
        return "sharing" if policy.key_sharing_allowed else "migration" if policy.send_allowed else ""

    def launch(self) -> tuple[Fact, ...]:
        return (self._fact("fact.launch-digest", self.keep.launch.digest.hex()),)

    def guest(self) -> tuple[Fact, ...]:
        return (self._fact("POLICY", f"{self.keep.launch.policy.value:#x}"),)

    def manifest(self) -> tuple[Fact, ...]:
        return (self._fact("fact.approved-manifest", f"sha256:{self.keep.host_data.hex()}"),)

    def key(self) -> tuple[Fact, ...]:
        return (self._fact("fact.approval", f"sha256:{self.keep.approval.hex()}"),)

    def firmware(self) -> tuple[Fact, ...]:
        return (self._fact("MEASURE", self.keep.launch.measurement.to_bytes().hex()),)

    def firmware_versions(self) -> tuple[Fact, ...]:
        return (self._fact("fact.api", str(self.keep.launch.firmware)),)

    def cpu_versions(self) -> tuple[Fact, ...]:
        owner = self._fact("fact.platform-owner", f"sha256:{self.keep.launch.owner_sha256.hex()}")
        return (*super().cpu_versions(), owner)


class SnpFacts(Facts):
    """Of a report of SEV-SNP."""

    kind = Kind.SNP

    def __init__(self, report: Report, proof: Proof) -> None:
        super().__init__(proof)
        self.report = report

    @property
    def exposed(self) -> str:
        if self.report.debug:
            return "debug"
        agent = self.report.report_id_ma != NO_MIGRATION_AGENT
        return "migration" if agent or self.report.policy & POLICY_BITS["migration"] else ""

    def launch(self) -> tuple[Fact, ...]:
        return (self._fact("MEASUREMENT", self.report.measurement.hex()),)

    def signed_launch(self) -> tuple[Fact, ...]:
        found = []
        if any(self.report.id_key_digest):
            found.append(self._fact("ID_KEY_DIGEST", self.report.id_key_digest.hex()))
        if self.report.author_key_enabled:
            found.append(self._fact("AUTHOR_KEY_DIGEST", self.report.author_key_digest.hex()))
        return tuple(found)

    def guest(self) -> tuple[Fact, ...]:
        bits = self.report.policy
        named = ", ".join(name for name, bit in POLICY_BITS.items() if bits & bit) or "-"
        return (
            self._fact("POLICY", f"{bits:#x} ({named})"),
            self._fact("VMPL", str(self.report.vmpl)),
            self._fact("GUEST_SVN", str(self.report.guest_svn)),
        )

    def manifest(self) -> tuple[Fact, ...]:
        return (self._fact("HOST_DATA", self.report.host_data.hex()),)

    def key(self) -> tuple[Fact, ...]:
        return (self._fact("REPORT_DATA", self.report.report_data.hex()),)

    def firmware(self) -> tuple[Fact, ...]:
        report = self.report
        return (
            self._fact("REPORTED_TCB", report.reported_tcb_raw.hex()),
            self._fact("COMMITTED_TCB", report.committed_tcb_raw.hex()),
            self._fact("fact.signer", self.proof.signer),
        )

    def firmware_versions(self) -> tuple[Fact, ...]:
        """The parts of the reported TCB in words, and the firmware's own version."""
        report = self.report
        parts = [self._fact("fact.snp-firmware", ".".join(map(str, report.current_version)))]
        parts += [self._fact(f"tcb.{name}", str(value)) for name, value in report.reported_tcb.named().items()]
        return tuple(parts)

    def cpu(self) -> tuple[Fact, ...]:
        chip = self.report.chip_id.hex() if any(self.report.chip_id) else "-"
        return (*super().cpu(), self._fact("CHIP_ID", chip))

    def cpu_versions(self) -> tuple[Fact, ...]:
        report = self.report
        found = [*super().cpu_versions()]
        if report.has_cpuid:
            numbers = f"{report.cpuid_family:#x} / {report.cpuid_model:#x} / {report.cpuid_stepping}"
            found.append(self._fact("fact.cpuid", numbers))
        return tuple(found)

    def memory(self) -> tuple[Fact, ...]:
        return self._platform("alias_check_complete", "ecc", "tsme")

    def sharing(self) -> tuple[Fact, ...]:
        return self._platform("smt", "ciphertext_hiding", "rapl_disabled")

    def _platform(self, *names: str) -> tuple[Fact, ...]:
        info = self.report.platform_info
        return tuple(self._fact(f"platform.{name}", "yes" if info & PLATFORM_BITS[name] else "no") for name in names)
