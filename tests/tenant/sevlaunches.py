"""SEV launches on SIMULATED platforms: images, policies that name them, hosts, and an approver without a network."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from enarx.errors import HostError
from enarx.evidence.hashtable import KernelHashes, cmdline_digest
from enarx.evidence.sev.measure import es_launch_digest, launch_digest
from enarx.evidence.vcpu import vcpu_signature
from enarx.evidence.vmsa import Vcpus
from enarx.host.sev.launch import Packet, Session, Technology
from enarx.host.sev.simulated import Contents, direct_boot
from enarx.manifest import Manifest, StewardPin, Workload
from enarx.simulator.sev_firmware import SevFirmware, Version
from enarx.simulator.sev_platform import Identity, make_identity
from enarx.simulator.sev_qemu import SECRET_GUID, SimulatedQemu
from enarx.tenant.approver.approve import Begun, LaunchRequest, Measured, Report, begin, finish
from enarx.tenant.approver.pending import PendingLaunches
from enarx.tenant.policy import Policy, parse_policy
from enarx.tenant.steward.ca import CertificateAuthority, load_authority, make_authority
from tests.evidence.ovmf_images import HASH_TABLE, RESET_EIP, table_entry, with_table

NOW = datetime.fromisoformat("2026-06-01T12:00:00+00:00")
WEB = "sha256:" + "ab" * 32
"""Digest of the module that the policies here call ``web``."""
AREA = (0x810000, 0xC00)


def platform(name: str = "one") -> Identity:
    """A simulated platform, one for each name."""
    return _platform(name)


@functools.cache
def _platform(name: str) -> Identity:
    del name
    return make_identity()


@functools.cache
def authority(name: str = "Test Steward") -> CertificateAuthority:
    key, certificate = make_authority(name, NOW - timedelta(days=1))
    return load_authority(certificate, key)


@dataclass(frozen=True)
class Files:
    """What a guest is launched from. The firmware is a small image with a real table, secret area included."""

    kernel: bytes = b"kernel"
    initrd: bytes = b"initial RAM disk"
    cmdline: str = "console=ttyS0"
    body: bytes = b"firmware"

    @property
    def firmware(self) -> bytes:
        from enarx.evidence.ovmf import SEV_ES_RESET_BLOCK, SEV_HASH_TABLE

        entries = [
            table_entry(SECRET_GUID, b"".join(one.to_bytes(4, "little") for one in AREA)),
            table_entry(SEV_HASH_TABLE, b"".join(one.to_bytes(4, "little") for one in HASH_TABLE)),
            table_entry(SEV_ES_RESET_BLOCK, RESET_EIP.to_bytes(4, "little")),
        ]
        return with_table(entries, body=self.body)

    @property
    def hashes(self) -> KernelHashes:
        kernel, initrd = (hashlib.sha256(one).digest() for one in (self.kernel, self.initrd))
        return KernelHashes(kernel, initrd, cmdline_digest(self.cmdline))

    def contents(self, *, es: bool = True, cpus: int = 1) -> Contents:
        return direct_boot(self.firmware, self.hashes, vcpus(cpus) if es else None)

    def digest(self, *, es: bool = True, cpus: int = 1) -> str:
        """The launch digest, as `enarx measure` computes it."""
        if es:
            return es_launch_digest(self.firmware, vcpus(cpus), self.hashes).hex()
        return launch_digest(self.firmware, self.hashes).hex()


def vcpus(count: int) -> Vcpus:
    return Vcpus(count, vcpu_signature("EPYC-v4"))


def manifest(digest: str = WEB, ca: CertificateAuthority | None = None) -> Manifest:
    pin = f"sha256:{(ca or authority()).spki_digest.hex()}"
    return Manifest(Workload(digest), None, (), (), (), StewardPin("https://steward.example.com", pin))


def policy_text(*digests: str, more: str = "", rest: str = "") -> str:
    """A policy for simulated launches of these digests (default: `Files` on SEV-ES) and the workload ``web``."""
    listed = ", ".join(f'"{one}"' for one in digests or (Files().digest(),))
    table = f'[simulated_sev]\nroot = "sev.root"\nlaunch_digests = [{listed}]\n{more}\n'
    return f'{table}[workload.web]\ndigest = ["{WEB}"]\n{rest}'


def policy(*digests: str, more: str = "", rest: str = "", root: bytes | None = None) -> Policy:
    def read(name: str, limit: int, private: bool) -> bytes:
        assert name == "sev.root"
        assert not private
        return (root or platform().root)[:limit]

    return parse_policy(policy_text(*digests, more=more, rest=rest).encode(), "policy.toml", read)


@dataclass
class DirectApprover:
    """The approver's decisions without HTTP. ``meddle`` is a host's way to change what it passes on."""

    policy: Policy = field(default_factory=policy)
    now: datetime = NOW
    reports: list[Report] = field(default_factory=list)
    meddle: Callable[[Measured], Measured] = lambda measured: measured
    approvals: list[bytes] = field(default_factory=list)
    pending: PendingLaunches = field(default_factory=PendingLaunches)

    def begin(
        self, technology: Technology, certificates: bytes, manifest: bytes, signatures: Sequence[bytes]
    ) -> Session:
        request = LaunchRequest(technology, certificates, manifest, tuple(signatures))
        report, begun = begin(request, self.policy, self.now)
        self.reports.append(report)
        if begun is None:
            raise refused(report)
        started = begun.started
        name = self.pending.add(begun, 0.0)
        return Session(name, started.pending.policy.value, started.godh.to_bytes(), started.session.to_bytes())

    def finish(self, launch: str, firmware: tuple[int, int, int], measurement: bytes) -> Packet:
        begun: Begun = self.pending.take(launch, 0.0)
        measured = self.meddle(Measured(measurement, firmware))
        report, released = finish(begun, measured, self.policy, authority(), self.now)
        self.reports.append(report)
        if released is None:
            raise refused(report)
        self.approvals.append(released.approval)
        return Packet(released.packet.header.to_bytes(), released.packet.payload)


def refused(report: Report) -> HostError:
    assert report.error is not None
    failed = [rule for rule in report.rules if not rule.passed]
    assert failed, "a refusal without a failed rule explains nothing"
    assert all(rule.hint for rule in failed)
    return HostError(report.error.message, code=report.error.code, hint=report.error.hint)


def qemu(identity: Identity | None = None, version: Version | None = None) -> SimulatedQemu:
    return SimulatedQemu(SevFirmware(identity or platform(), version))


def changed(files: Files, part: str) -> Files:
    """The same files with one byte of one of them changed."""
    value = getattr(files, part)
    other: Any = value[:-1] + (chr(ord(value[-1]) ^ 1) if isinstance(value, str) else bytes((value[-1] ^ 1,)))
    return replace(files, **{part: other})


def only_secret(area: dict[UUID, bytes]) -> bytes:
    ((_, data),) = area.items()
    return data
