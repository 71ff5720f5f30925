"""What SEV, SEV-ES and SEV-SNP need of a host.

Sources: AMD64 Architecture Programmer's Manual volume 2 (24593), 15.34 to 15.36; Linux
``Documentation/arch/x86/amd-memory-encryption.rst`` and ``Documentation/virt/kvm/x86/amd-memory-encryption.rst``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from enarx.host.platform.cpu import AMD, EncryptedMemory
from enarx.host.platform.facts import (
    Facts,
    device_row,
    firmware_row,
    image_row,
    kernel_row,
    kvm_row,
    memlock_row,
    module_row,
    qemu_row,
)
from enarx.host.platform.rows import Row, group
from enarx.host.platform.sevfirmware import SEV_DEVICE, SevFirmware, read_sev, read_snp

VCEK_API: Final = (1, 51)
"""The oldest SEV-SNP firmware ABI that Linux's host support accepts (56860; ``drivers/crypto/ccp/sev-dev.c``)."""
BESIDE_MIB: Final = 16
"""What KVM pins beside a guest's memory (MiB): its firmware, which QEMU registers too."""


@dataclass(frozen=True, slots=True)
class _Technology:
    """What differs between the three. ``flag`` is of /proc/cpuinfo."""

    kind: str
    title: str
    flag: str
    parameter: str
    linux: tuple[int, int]
    qemu: tuple[int, int]
    qemu_object: str
    boot: str
    bios: str


SEV: Final = _Technology(
    kind="sev", title="SEV", flag="sev", parameter="sev", linux=(4, 16), qemu=(7, 2), qemu_object="sev-guest",
    boot="mem_encrypt=on kvm_amd.sev=1", bios="in the BIOS, enable SMEE (memory encryption)",
)  # fmt: skip
SEV_ES: Final = _Technology(
    kind="sev-es", title="SEV-ES", flag="sev_es", parameter="sev_es", linux=(5, 11), qemu=(7, 2),
    qemu_object="sev-guest", boot="mem_encrypt=on kvm_amd.sev=1 kvm_amd.sev_es=1",
    bios="in the BIOS, enable SMEE (memory encryption) and set `SEV-ES ASID Space Limit` above 1",
)  # fmt: skip
SNP: Final = _Technology(
    kind="snp", title="SEV-SNP", flag="sev_snp", parameter="sev_snp", linux=(6, 11), qemu=(9, 1),
    qemu_object="sev-snp-guest", boot="kvm_amd.sev=1 kvm_amd.sev_es=1 kvm_amd.sev_snp=1",
    bios="in the BIOS, enable SMEE, IOMMU, SEV-SNP Support and SNP Memory (RMP Table) Coverage",
)  # fmt: skip


def sev(facts: Facts) -> tuple[Row, ...]:
    """SEV: encrypted memory, measured and given its secret before it starts."""
    firmware = firmware_row(facts, ("hash table", facts.firmware.hash_table))
    return _rows(facts, SEV, firmware, pinned=True)


def sev_es(facts: Facts) -> tuple[Row, ...]:
    """SEV-ES: the same with encrypted registers."""
    reset, table = ("SEV-ES reset block", facts.firmware.sev_es), ("hash table", facts.firmware.hash_table)
    return _rows(facts, SEV_ES, firmware_row(facts, reset, table), pinned=True)


def snp(facts: Facts) -> tuple[Row, ...]:
    """SEV-SNP: the same with integrity, and reports that the guest asks for itself."""
    wanted = (("SEV metadata", facts.firmware.snp), ("kernel hashes", facts.firmware.snp_hashes))
    return _rows(facts, SNP, firmware_row(facts, *wanted), pinned=False)


def _rows(facts: Facts, wanted: _Technology, firmware: Row, *, pinned: bool) -> tuple[Row, ...]:
    how = f"boot with `{wanted.boot}`; {wanted.bios}"
    return (
        _cpu(facts, wanted),
        group("Kernel", kernel_row(facts, wanted.linux), module_row(facts, "kvm_amd", wanted.parameter, how)),
        kvm_row(facts, wanted.kind),
        _secure_processor(facts, wanted),
        qemu_row(facts, wanted.qemu, wanted.qemu_object),
        image_row(facts),
        firmware,
        # Of SEV and SEV-ES, KVM pins all memory of the guest and counts it (sev_pin_memory); an SNP guest's private
        # memory is a guest_memfd, which is not counted.
        memlock_row(facts, facts.needs.memory_mib + BESIDE_MIB, required=pinned),
    )


def _cpu(facts: Facts, wanted: _Technology) -> Row:
    cpu, memory = facts.cpu, facts.cpu.memory
    if cpu.vendor != AMD:
        return group(
            "CPU", Row("vendor", False, cpu.vendor or "unknown", f"{wanted.title} needs an AMD EPYC processor")
        )
    rows = [Row("vendor", True, cpu.vendor), _feature(facts, wanted)]
    if memory is None:
        rows.append(
            Row("C-bit", False, "CPUID leaf 0x8000001F cannot be read", "load the module: `modprobe cpuid`, and let "
            "the user read /dev/cpu/0/cpuid")
        )  # fmt: skip
    elif memory.sev:
        rows += [Row("C-bit", memory.c_bit > 0, f"bit {memory.c_bit}"), _asids(memory, wanted)]
    return group("CPU", *rows)


def _feature(facts: Facts, wanted: _Technology) -> Row:
    cpu, memory = facts.cpu, facts.cpu.memory
    has = wanted.flag in cpu.flags
    if memory is not None:
        has = {"sev": memory.sev, "sev-es": memory.sev_es, "snp": memory.sev_snp}[wanted.kind]
    virtual = "hypervisor" in cpu.flags
    advice = (
        "this machine is a guest, and its host does not pass the feature on: use the host itself"
        if virtual
        else f"use an EPYC {'7003 or newer' if wanted is SNP else '7002 or newer'}; {wanted.bios}"
    )
    where = "CPUID leaf 0x8000001F" if memory is not None else "/proc/cpuinfo"
    return Row(wanted.title, has, f"{'present' if has else 'absent'} ({where})", "" if has else advice)


def _asids(memory: EncryptedMemory, wanted: _Technology) -> Row:
    """Numbers for guests: those of SEV-ES and SNP are set apart from those of SEV by the BIOS."""
    number = memory.sev_guests if wanted is SEV else memory.sev_es_guests
    other = "lower" if wanted is SEV else "raise"
    advice = f"in the BIOS, {other} `SEV-ES ASID Space Limit`"
    return Row("ASIDs", number > 0, f"{number} guests at once", "" if number else advice)


def _secure_processor(facts: Facts, wanted: _Technology) -> Row:
    device = device_row(
        facts, SEV_DEVICE, f"load the module: `modprobe ccp`; {wanted.bios}; the kernel's log says why, after `ccp`"
    )
    if not device.passed:
        return group("Secure processor", device)
    found = read_snp(facts.machine) if wanted is SNP else read_sev(facts.machine)
    if isinstance(found, str):
        return group("Secure processor", device, Row("firmware", False, found, "update the BIOS and the SEV firmware"))
    return group("Secure processor", device, _firmware(found, wanted))


def _firmware(found: SevFirmware, wanted: _Technology) -> Row:
    good = wanted is not SNP or (found.major, found.minor) >= VCEK_API
    tcb = f", reported TCB {found.reported_tcb.hex()}" if found.reported_tcb is not None else ""
    info = f"{found.version}, {found.state}, {found.guests} guests{tcb}"
    return Row("firmware", good, info, "" if good else f"update it to {'.'.join(map(str, VCEK_API))} or newer")
