"""Expected launch digest of an SEV-SNP guest, from what it is launched with.

Pure functions of bytes; ``enarx.evidence.launchfile`` reads files and streams. The order of pages is that of the VMM:
firmware, then the sections that the firmware's SEV metadata lists (QEMU ``snp_populate_metadata_pages``), then one VMSA
per vCPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from enarx.errors import MalformedError, UsageError
from enarx.evidence.gctx import DIGEST_BYTES, LaunchContext, PageType
from enarx.evidence.hashtable import TABLE_BYTES, KernelHashes
from enarx.evidence.ovmf import (
    FOUR_GIB,
    PAGE_BYTES,
    Firmware,
    Layout,
    Section,
    SectionType,
    bad_metadata,
    check_sections,
    check_size,
    parse_firmware,
)
from enarx.evidence.vmsa import RESET_VECTOR, Vcpus, Vmm, build_svsm_vmsa, build_vmsa

_BLANK: Final[dict[int, PageType]] = {
    SectionType.SNP_SEC_MEM: PageType.ZERO,
    SectionType.SNP_SECRETS: PageType.SECRETS,
    SectionType.CPUID: PageType.CPUID,
    SectionType.SVSM_CAA: PageType.ZERO,
    SectionType.KERNEL_HASHES: PageType.ZERO,
}


class Pages(Protocol):
    """What a launch puts pages into, one after the other: `LaunchContext` computes their digest."""

    def add_data(self, gpa: int, data: bytes) -> None: ...

    def add_blank(self, kind: PageType, gpa: int, size: int) -> None: ...

    def add_vmsa(self, page: bytes, count: int = 1) -> None: ...


@dataclass(frozen=True, slots=True)
class MeasuredFirmware:
    """An image that needs not be hashed again: the launch digest after its pages (48 bytes), and its launch layout."""

    digest: bytes
    layout: Layout

    def __post_init__(self) -> None:
        if len(self.digest) != DIGEST_BYTES:
            raise UsageError(
                f"the digest of the firmware has {len(self.digest)} bytes, expected {DIGEST_BYTES}",
                code="launch-digest-size",
                hint="give the launch digest after the firmware's pages, not a hash of the file",
            )


def measure_firmware(data: bytes) -> MeasuredFirmware:
    """Measure an OVMF image, mapped so that it ends at 4 GiB; keep the result to measure many launches of it.

    Raises MalformedError: ``firmware-size`` and what ``parse_firmware`` raises.
    """
    firmware = parse_firmware(data)
    return MeasuredFirmware(_add_image(LaunchContext(), data, FOUR_GIB - len(data)), _usable_layout(firmware))


def known_firmware(digest: bytes, data: bytes) -> MeasuredFirmware:
    """An image whose digest is known; ``data`` supplies the layout only, so its last pages are enough."""
    return MeasuredFirmware(digest, _usable_layout(parse_firmware(data)))


def launch_digest(firmware: bytes | MeasuredFirmware, vcpus: Vcpus, kernel: KernelHashes | None = None) -> bytes:
    """The launch digest (48 bytes) that the report of such a guest carries.

    ``kernel`` is for a measured direct boot, None when the guest boots from a disk. Raises MalformedError (codes
    ``firmware-*``) for an image that no SNP guest can start from, UsageError (``no-kernel-hashes``) for a kernel with
    an image that would not check it.
    """
    measured = firmware if isinstance(firmware, MeasuredFirmware) else measure_firmware(firmware)
    context = LaunchContext(measured.digest)
    _add_guest(context, measured, vcpus, kernel)
    return context.digest


def add_pages(pages: Pages, firmware: bytes, vcpus: Vcpus, kernel: KernelHashes | None = None) -> None:
    """Put every page of such a guest into ``pages``, in the VMM's order; raises as ``launch_digest`` does."""
    measured = measure_firmware(firmware)
    pages.add_data(FOUR_GIB - len(firmware), firmware)
    _add_guest(pages, measured, vcpus, kernel)


def _add_guest(pages: Pages, measured: MeasuredFirmware, vcpus: Vcpus, kernel: KernelHashes | None) -> None:
    """All but the firmware's own pages."""
    layout = measured.layout
    sections = _sections(layout)
    reset_eip = _reset_eip(layout)
    if kernel is not None:
        check_takes_kernel(measured)
    _add_sections(pages, layout, sections, vcpus.vmm, kernel)
    pages.add_vmsa(build_vmsa(RESET_VECTOR, vcpus, vcpus.features))
    if vcpus.count > 1:
        pages.add_vmsa(build_vmsa(reset_eip, vcpus, vcpus.features), vcpus.count - 1)


def vmsa_pages(layout: Layout, vcpus: Vcpus) -> Iterator[bytes]:
    """The VMSA page of each vCPU in the order they are measured; raises as ``launch_digest`` does."""
    reset_eip = _reset_eip(layout)
    yield build_vmsa(RESET_VECTOR, vcpus, vcpus.features)
    others = build_vmsa(reset_eip, vcpus, vcpus.features) if vcpus.count > 1 else b""
    for _ in range(vcpus.count - 1):
        yield others


def svsm_launch_digest(firmware: bytes, svsm: bytes, vars_size: int, vcpus: Vcpus) -> bytes:
    """The launch digest (48 bytes) of a guest under COCONUT-SVSM on QEMU.

    The SVSM image lies below the variable store (``vars_size`` bytes), which lies below the firmware. Raises
    MalformedError (``firmware-*``) and UsageError (``svsm-vmm``, ``svsm-vars-size``).
    """
    image, base = _place_svsm(firmware, svsm, vars_size, vcpus)
    context = LaunchContext(_add_image(LaunchContext(), firmware, FOUR_GIB - len(firmware)))
    context = LaunchContext(_add_image(context, svsm, base))
    sections = _sections(image.layout)
    check_sections(sections, (base, FOUR_GIB))
    _add_sections(context, image.layout, sections, vcpus.vmm, None)
    context.add_vmsa(svsm_vmsa(firmware, svsm, vars_size, vcpus), vcpus.count)
    return context.digest


def svsm_vmsa(firmware: bytes, svsm: bytes, vars_size: int, vcpus: Vcpus) -> bytes:
    """The VMSA page that every vCPU of a guest under COCONUT-SVSM starts from; raises as the above does."""
    image, base = _place_svsm(firmware, svsm, vars_size, vcpus)
    if image.layout.svsm_entry is None:
        raise MalformedError(
            "the SVSM image does not say where it starts",
            code="firmware-no-svsm-info",
            hint="give a COCONUT-SVSM image built for direct loading by QEMU, not an IGVM file",
        )
    return build_svsm_vmsa(base + image.layout.svsm_entry, vcpus)


def _place_svsm(firmware: bytes, svsm: bytes, vars_size: int, vcpus: Vcpus) -> tuple[Firmware, int]:
    if vcpus.vmm is not Vmm.QEMU:
        raise UsageError(
            f"the launch of an SVSM by {vcpus.vmm} is not known", code="svsm-vmm", hint="it is known for QEMU"
        )
    check_size(firmware)
    image = parse_firmware(svsm)
    base = FOUR_GIB - len(firmware) - vars_size - len(svsm)
    if vars_size < 0 or base < 0 or vars_size % PAGE_BYTES:
        raise UsageError(
            f"a variable store of {vars_size} bytes does not fit under the firmware",
            code="svsm-vars-size",
            hint="give the size of the OVMF_VARS file, a whole number of 4096-byte pages",
        )
    return image, base


def _add_image(context: LaunchContext, data: bytes, gpa: int) -> bytes:
    if len(data) % PAGE_BYTES:
        raise MalformedError(
            f"the firmware image has {len(data)} bytes, which is not a whole number of {PAGE_BYTES}-byte pages",
            code="firmware-size",
            hint="the image is truncated, or not an image",
        )
    context.add_data(gpa, data)
    return context.digest


def _usable_layout(firmware: Firmware) -> Layout:
    if firmware.layout.sections is not None:
        check_sections(firmware.layout.sections, (FOUR_GIB - len(firmware.data), FOUR_GIB))
    return firmware.layout


def _sections(layout: Layout) -> tuple[Section, ...]:
    if layout.sections is None:
        raise MalformedError(
            "the firmware has no SEV metadata, so it cannot start an SNP guest",
            code="firmware-no-metadata",
            hint="build OVMF from OvmfPkg/AmdSev or OvmfPkgX64 of edk2-stable202202 or later",
        )
    return layout.sections


def _reset_eip(layout: Layout) -> int:
    if not layout.reset_eip:
        raise MalformedError(
            "the firmware does not say where application processors start",
            code="firmware-no-reset-block",
            hint="the image has no SEV-ES reset block; build OVMF with SEV-ES support",
        )
    return layout.reset_eip


def check_takes_kernel(firmware: MeasuredFirmware) -> None:
    """Whether a kernel can be measured with this image; raises what ``launch_digest`` raises when it cannot."""
    layout = firmware.layout
    tables = [section for section in _sections(layout) if section.kind == SectionType.KERNEL_HASHES]
    if not tables or layout.hash_table is None:
        raise UsageError(
            "a kernel is given, but the firmware has no place for kernel hashes and would not check it",
            code="no-kernel-hashes",
            hint="use the AmdSev build of OVMF, or leave out kernel, initrd and command line",
        )
    base, size = layout.hash_table
    table = tables[0]
    if size < TABLE_BYTES or not (table.gpa <= base and base + TABLE_BYTES <= table.gpa + table.size):
        raise bad_metadata(f"the area for kernel hashes at {base:#x} of {size:#x} bytes is not in its section")


def _add_sections(
    context: Pages, layout: Layout, sections: tuple[Section, ...], vmm: Vmm, kernel: KernelHashes | None
) -> None:
    last: list[Section] = []
    for section in sections:
        if section.kind == SectionType.KERNEL_HASHES and kernel is not None and layout.hash_table is not None:
            page = bytearray(section.size)
            offset = layout.hash_table[0] - section.gpa
            page[offset : offset + TABLE_BYTES] = kernel.table()
            context.add_data(section.gpa, bytes(page))
        elif section.kind == SectionType.CPUID and vmm in (Vmm.EC2, Vmm.EC2_2023):
            last.append(section)  # EC2 adds the CPUID page after all others
        elif section.kind == SectionType.SNP_SEC_MEM and vmm is Vmm.GCE:
            context.add_blank(PageType.UNMEASURED, section.gpa, section.size)
        else:
            context.add_blank(_BLANK[section.kind], section.gpa, section.size)
    for section in last:
        context.add_blank(PageType.CPUID, section.gpa, section.size)
