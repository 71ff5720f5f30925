"""Expected launch digest of SEV and SEV-ES guests: SHA-256 over what the VMM gives to LAUNCH_UPDATE_*.

Source: AMD SEV API (55766), 6.2 (LAUNCH_UPDATE_DATA) and 6.3 (LAUNCH_UPDATE_VMSA): the digest covers the plaintext in
the order given, which is the firmware, the table of kernel hashes where the guest boots a kernel directly, and for
SEV-ES one VMSA per vCPU (QEMU ``target/i386/sev.c``). The secure processor reports an HMAC over it (``session``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from enarx.errors import MalformedError, UsageError
from enarx.evidence.hashtable import TABLE_BYTES, KernelHashes
from enarx.evidence.ovmf import Layout, check_size, parse_firmware
from enarx.evidence.vmsa import RESET_VECTOR, Vcpus, build_vmsa

_UPDATE_BYTES: Final = 16
"""LAUNCH_UPDATE_DATA takes whole blocks of this many bytes (55766, 6.2)."""


def launch_digest(firmware: bytes, kernel: KernelHashes | None = None) -> bytes:
    """The launch digest (32 bytes) of an SEV guest.

    ``kernel`` is for a measured direct boot, None when the guest boots from a disk; without one the firmware need not
    have a GUIDed table. Raises MalformedError (``firmware-*``) and UsageError (``no-kernel-hashes``).
    """
    _layout(firmware, kernel)
    return _digest(firmware, kernel, ())


def es_launch_digest(firmware: bytes, vcpus: Vcpus, kernel: KernelHashes | None = None) -> bytes:
    """The launch digest (32 bytes) of an SEV-ES guest; ``vcpus.features`` are not measured. Raises as the above."""
    layout = _layout(firmware, kernel)
    return _digest(firmware, kernel, vmsa_pages(layout, vcpus))


def vmsa_pages(layout: Layout, vcpus: Vcpus) -> Iterator[bytes]:
    """The VMSA page (4096 bytes) of each vCPU of an SEV-ES guest, in the order they are measured.

    Raises MalformedError (``firmware-no-reset-block``).
    """
    if not layout.reset_eip:
        raise MalformedError(
            "the firmware does not say where application processors start",
            code="firmware-no-reset-block",
            hint="the image has no SEV-ES reset block; build OVMF with SEV-ES support",
        )
    yield build_vmsa(RESET_VECTOR, vcpus, 0)
    others = build_vmsa(layout.reset_eip, vcpus, 0) if vcpus.count > 1 else b""
    for _ in range(vcpus.count - 1):
        yield others


def _layout(firmware: bytes, kernel: KernelHashes | None) -> Layout:
    check_size(firmware)
    if len(firmware) % _UPDATE_BYTES:
        raise MalformedError(
            f"the firmware image has {len(firmware)} bytes, which is not a whole number of {_UPDATE_BYTES}-byte blocks",
            code="firmware-size",
            hint="the image is truncated, or not an image",
        )
    layout = parse_firmware(firmware).layout
    if kernel is not None and layout.hash_table is None:
        raise UsageError(
            "a kernel is given, but the firmware has no place for kernel hashes and would not check it",
            code="no-kernel-hashes",
            hint="use the AmdSev build of OVMF, or leave out kernel, initrd and command line",
        )
    if kernel is not None and layout.hash_table is not None and layout.hash_table[1] < TABLE_BYTES:
        raise MalformedError(
            f"the firmware's area for kernel hashes has {layout.hash_table[1]} bytes, expected {TABLE_BYTES} or more",
            code="firmware-bad-table",
            hint="QEMU refuses to start such an image; use another build",
        )
    return layout


def _digest(firmware: bytes, kernel: KernelHashes | None, vmsas: Iterator[bytes] | tuple[()]) -> bytes:
    digest = hashlib.sha256(firmware)
    if kernel is not None:
        digest.update(kernel.table())
    for page in vmsas:
        digest.update(page)
    return digest.digest()
