"""The initial VM save area (VMSA) of a vCPU: the register state that SEV-ES and SEV-SNP measure.

Offsets: AMD APM volume 2 (24593), table B-4. Values: the state after reset (same volume, table 14-1) as each VMM leaves
it when it hands the vCPU to the firmware; they are facts about these VMMs, established by the published calculators
against reports of real guests; two changed over time, see ``docs/decisions/``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from enarx.errors import UsageError
from enarx.evidence.ovmf import PAGE_BYTES
from enarx.evidence.vcpu import MAX_SIGNATURE

MAX_VCPUS: Final = 4096
"""Most vCPUs of one guest: ``KVM_MAX_VCPUS`` of Linux on x86 is at most this."""
SEV_FEATURE_SNP_ACTIVE: Final = 1 << 0
RESET_VECTOR: Final = 0xFFFF_FFF0
"""Where the boot processor starts (APM volume 2, 14.1.5)."""

# Byte offsets into the VMSA page.
_ES, _CS, _SS, _DS, _FS, _GS, _GDTR, _LDTR, _IDTR, _TR = range(0x00, 0xA0, 0x10)
_EFER: Final = 0x0D0
_CR4: Final = 0x148
_CR0: Final = 0x158
_DR7: Final = 0x160
_DR6: Final = 0x168
_RFLAGS: Final = 0x170
_RIP: Final = 0x178
_G_PAT: Final = 0x268
_RDX: Final = 0x310
_SEV_FEATURES: Final = 0x3B0
_XCR0: Final = 0x3E8
_MXCSR: Final = 0x408
_X87_FCW: Final = 0x410

_SEGMENT = struct.Struct("<HHIQ")  # selector, attributes, limit, base
_U64 = struct.Struct("<Q")
_U32 = struct.Struct("<I")
_U16 = struct.Struct("<H")

_PAT_RESET: Final = 0x0007_0406_0007_0406
_KVM_EDX_WITHOUT_CPUID: Final = 0x600
"""What KVM puts into EDX when a vCPU is reset before its CPUID is set (Linux 5.15 and later, ``kvm_vcpu_reset``)."""


class Vmm(StrEnum):
    """Virtual machine monitors whose initial vCPU state is known."""

    QEMU = "QEMU"
    """QEMU on a KVM that puts the FPU's reset state into the VMSA: Linux 6.10 and later with KVM_SEV_INIT2, all SNP."""
    QEMU_NO_FPU = "QEMU-no-fpu"
    """QEMU on an older KVM, or with KVM_SEV_ES_INIT, which leave the FPU state zero."""
    EC2 = "ec2"
    EC2_2023 = "ec2-2023"
    """EC2 as launched in April 2023, before its hypervisor changed EDX."""
    GCE = "gce"
    """Google Compute Engine."""

    @property
    def measures_signature(self) -> bool:
        """Whether the vCPU model's CPUID signature is part of the state, as it is under QEMU only."""
        return _STATES[self].edx is None


@dataclass(frozen=True, slots=True)
class _ResetState:
    """Where VMMs differ: segment attributes, PAT, EDX (None: the CPUID signature), SSE and x87 control."""

    cs: int
    cs_at_reset_vector: int
    ss: int
    tr: int
    pat: int
    edx: int | None
    mxcsr: int
    fcw: int


_STATES: Final = {
    Vmm.QEMU: _ResetState(0x9B, 0x9B, 0x93, 0x8B, _PAT_RESET, None, 0x1F80, 0x37F),
    Vmm.QEMU_NO_FPU: _ResetState(0x9B, 0x9B, 0x93, 0x8B, _PAT_RESET, None, 0, 0),
    Vmm.EC2: _ResetState(0x9B, 0x9A, 0x92, 0x83, _PAT_RESET, _KVM_EDX_WITHOUT_CPUID, 0, 0),
    Vmm.EC2_2023: _ResetState(0x9B, 0x9A, 0x92, 0x83, _PAT_RESET, 0, 0, 0),
    Vmm.GCE: _ResetState(0x9B, 0x9B, 0x93, 0x8B, 0x0007_0106, _KVM_EDX_WITHOUT_CPUID, 0, 0),
}


def vmm_by_name(name: str) -> Vmm:
    """A VMM by its name in any case; raises UsageError (``vmm-type``) for an unknown one."""
    for vmm in Vmm:
        if vmm.lower() == name.lower():
            return vmm
    raise UsageError(f"the VMM type {name!r} is not known", code="vmm-type", hint=f"known are {', '.join(Vmm)}")


@dataclass(frozen=True, slots=True)
class Vcpus:
    """The vCPUs of a guest as far as they are measured.

    ``signature`` is CPUID Fn0000_0001_EAX of the vCPU model (``enarx.evidence.vcpu``), read for QEMU only.
    ``features`` is SEV_FEATURES of the VMSA (APM volume 2, table B-4); SEV-ES has none of them. Raises UsageError:
    ``vcpu-count``, ``vcpu-signature``, ``guest-features``.
    """

    count: int
    signature: int | None = None
    features: int = SEV_FEATURE_SNP_ACTIVE
    vmm: Vmm = Vmm.QEMU

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_VCPUS:
            raise UsageError(
                f"{self.count} vCPUs cannot be measured",
                code="vcpu-count",
                hint=f"a guest has 1 to {MAX_VCPUS}",
            )
        if self.signature is None and self.vmm.measures_signature:
            raise UsageError(
                "the vCPU model is not given, and QEMU's vCPUs are measured with its signature",
                code="vcpu-signature",
                hint="name the vCPU type that QEMU runs with, or its signature; never -cpu host",
            )
        if self.signature is not None and not 0 <= self.signature <= MAX_SIGNATURE:
            raise UsageError(
                f"the vCPU signature {self.signature:#x} is not a 32-bit number",
                code="vcpu-signature",
                hint="give CPUID Fn0000_0001_EAX of the vCPU model",
            )
        if not 0 <= self.features < 1 << 64:
            raise UsageError(
                f"the guest features {self.features:#x} are not a 64-bit number",
                code="guest-features",
                hint="0x1 is SNP alone, 0x21 adds debug swap",
            )


def build_vmsa(eip: int, vcpus: Vcpus, features: int) -> bytes:
    """The VMSA page (4096 bytes) of a vCPU that starts in real mode at ``eip``."""
    state = _STATES[vcpus.vmm]
    page = bytearray(PAGE_BYTES)
    cs = state.cs_at_reset_vector if eip == RESET_VECTOR else state.cs
    for offset, attributes in ((_ES, 0x93), (_SS, state.ss), (_DS, 0x93), (_FS, 0x93), (_GS, 0x93)):
        _SEGMENT.pack_into(page, offset, 0, attributes, 0xFFFF, 0)
    _SEGMENT.pack_into(page, _CS, 0xF000, cs, 0xFFFF, eip & 0xFFFF_0000)
    edx = (vcpus.signature or 0) if state.edx is None else state.edx
    _fill_common(page, tr=state.tr, cr0=0x10, rip=eip & 0xFFFF, pat=state.pat, edx=edx, features=features)
    _U32.pack_into(page, _MXCSR, state.mxcsr)
    _U16.pack_into(page, _X87_FCW, state.fcw)
    return bytes(page)


def build_svsm_vmsa(eip: int, vcpus: Vcpus) -> bytes:
    """The VMSA page (4096 bytes) of a vCPU that starts COCONUT-SVSM in flat protected mode at ``eip`` under QEMU.

    The x87 control word is 0 and not its reset value: that is what the QEMU and KVM of COCONUT-SVSM were measured with.
    """
    page = bytearray(PAGE_BYTES)
    for offset in (_ES, _SS, _DS, _FS):
        _SEGMENT.pack_into(page, offset, 0x10, 0xC93, 0xFFFF_FFFF, 0)
    _SEGMENT.pack_into(page, _GS, 0, 0x93, 0xFFFF, 0)
    _SEGMENT.pack_into(page, _CS, 0x08, 0xC9B, 0xFFFF_FFFF, 0)
    edx = vcpus.signature or 0
    _fill_common(page, tr=0x8B, cr0=0x11, rip=eip, pat=_PAT_RESET, edx=edx, features=SEV_FEATURE_SNP_ACTIVE)
    _U32.pack_into(page, _MXCSR, 0x1F80)
    return bytes(page)


def _fill_common(page: bytearray, *, tr: int, cr0: int, rip: int, pat: int, edx: int, features: int) -> None:
    for offset, attributes in ((_GDTR, 0), (_IDTR, 0), (_LDTR, 0x82), (_TR, tr)):
        _SEGMENT.pack_into(page, offset, 0, attributes, 0xFFFF, 0)
    for offset, value in (
        (_EFER, 0x1000),  # SVME, which KVM sets
        (_CR4, 0x40),  # MCE, which KVM sets
        (_CR0, cr0),
        (_DR7, 0x400),
        (_DR6, 0xFFFF_0FF0),
        (_RFLAGS, 0x2),
        (_RIP, rip),
        (_G_PAT, pat),
        (_RDX, edx),
        (_SEV_FEATURES, features),
        (_XCR0, 0x1),
    ):
        _U64.pack_into(page, offset, value)
