"""QEMU's command lines for guests whose memory the processor encrypts, as pure functions. Never run on hardware.

What a guest has is what a plain virtual machine has (``command``), without the SIMULATED secure processor, and with

- the firmware that is measured with it, in memory rather than in a flash device (``-bios``);
- an object for the technology, written as JSON: no value can end its field and begin another;
- KVM alone: where it is missing QEMU must fail and not emulate.

The processor measures firmware, the hashes of kernel, initial RAM disk and command line (``kernel-hashes``), and for
SEV-ES and SEV-SNP the state in which each vCPU starts, hence the fixed model and never ``host``. Virtio devices reach
memory of a guest only as far as it shares it, which QEMU arranges by itself for confidential guests.

Sources: QEMU ``docs/system/i386/amd-memory-encryption.rst``, ``docs/system/i386/tdx.rst`` and ``qapi/qom.json``; the
policies are those of 55766 table 2 (SEV) and 56860 table 9 (SEV-SNP).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from enarx.errors import UsageError
from enarx.evidence.snp.idblock import DEFAULT_POLICY as SNP_POLICY
from enarx.evidence.snp.idblock import IdAuth, IdBlock, verify
from enarx.host.qemu.command import Descriptors, base_arguments, boot_arguments, machine_arguments, port_arguments

if TYPE_CHECKING:
    from pathlib import Path

    from enarx.host.image.layout import Image
    from enarx.host.qemu.machine import Machine

REDUCED_PHYS_BITS: Final = 1
"""Bits of physical address that a guest loses: the C-bit itself. Not what CPUID says of the host, which loses more."""
HOST_DATA_BYTES: Final = 32
CONFIG_ID_BYTES: Final = 48
C_BITS: Final = range(32, 64)
"""Where a C-bit can be; EPYC has it at 47 or 51."""
QUOTE_SOCKET: Final = "/var/run/tdx-qgs/qgs.socket"
"""Where Intel's quote generation service listens by default."""

_TEE: Final = "tee"  # the ids of the objects
_MEMORY: Final = "memory"
_MACHINE: Final = "q35,usb=off,vmport=off,smm=off,hpet=off,dump-guest-core=off"


@dataclass(frozen=True, slots=True)
class Snp:
    """An SEV-SNP launch. ``host_data``: the manifest's digest, 32 bytes; zeros when nothing is to be proved.

    ``id_block`` and ``id_auth`` belong together; the firmware checks them at launch, and they are checked here before.
    Raises UsageError (``host-data``, ``c-bit``, ``id-block-policy``) and what `idblock.verify` raises.
    """

    c_bit: int
    host_data: bytes = bytes(HOST_DATA_BYTES)
    policy: int = SNP_POLICY
    id_block: IdBlock | None = None
    id_auth: IdAuth | None = None

    def __post_init__(self) -> None:
        _check_c_bit(self.c_bit)
        _check_size("host-data", "HOST_DATA", self.host_data, HOST_DATA_BYTES)
        if (self.id_block is None) != (self.id_auth is None):
            raise UsageError(
                "an ID block and its authentication information belong together",
                code="id-block",
                hint="give both; `enarx sign` writes them",
            )
        if self.id_block is not None and self.id_auth is not None:
            verify(self.id_block, self.id_auth)
            if self.id_block.policy != self.policy:
                raise UsageError(
                    f"the ID block is for the guest policy {self.id_block.policy:#x}, the launch has {self.policy:#x}",
                    code="id-block-policy",
                    hint=f"sign with --policy {self.policy:#x}",
                )


@dataclass(frozen=True, slots=True)
class Sev:
    """A SEV or SEV-ES launch in the session that the guest's owner has made, under the owner's ``policy``.

    0x1 is SEV without debugging, 0x5 SEV-ES without debugging: a host cannot start it as a SEV guest. ``owner_key`` and
    ``session`` are files with the owner's Diffie-Hellman certificate and session parameters in base64. Raises
    UsageError (``c-bit``).
    """

    c_bit: int
    owner_key: Path
    session: Path
    policy: int

    def __post_init__(self) -> None:
        _check_c_bit(self.c_bit)


@dataclass(frozen=True, slots=True)
class Tdx:
    """A TDX launch. ``config_id``: SHA-384 of the manifest, 48 bytes (`Manifest.digest384`); zeros for none.

    The register is as long as that hash. Nothing is padded: 32 bytes of SHA-256 and 16 of something else would leave
    each reader to agree on that something. ``firmware`` is built for TDX. Raises UsageError (``mr-config-id``).
    """

    firmware: Path
    config_id: bytes = bytes(CONFIG_ID_BYTES)
    quote_socket: str = QUOTE_SOCKET

    def __post_init__(self) -> None:
        _check_size("mr-config-id", "MRCONFIGID", self.config_id, CONFIG_ID_BYTES)


def snp_arguments(image: Image, machine: Machine, descriptors: Descriptors, launch: Snp) -> list[str]:
    """Arguments for an SEV-SNP guest. Its memory is shared until it accepts it as private, from a memory file."""
    tee: dict[str, Any] = {
        "cbitpos": launch.c_bit,
        "reduced-phys-bits": REDUCED_PHYS_BITS,
        "policy": launch.policy,
        "kernel-hashes": True,
        "host-data": _base64(launch.host_data),
    }
    if launch.id_block is not None and launch.id_auth is not None:
        tee |= {
            "id-block": _base64(launch.id_block.to_bytes()),
            "id-auth": _base64(launch.id_auth.to_bytes()),
            "author-key-enabled": launch.id_auth.endorsement is not None,
        }
    return [
        *_begin(f"{_MACHINE},confidential-guest-support={_TEE},memory-backend={_MEMORY}"),
        *machine_arguments(machine),
        "-m", f"{machine.memory}M",
        *_object("memory-backend-memfd", _MEMORY, {"size": machine.memory << 20, "share": True, "prealloc": False}),
        *_object("sev-snp-guest", _TEE, tee),
        "-bios", str(image.firmware),
        *boot_arguments(image),
        *port_arguments(descriptors),
    ]  # fmt: skip


def sev_arguments(image: Image, machine: Machine, descriptors: Descriptors, launch: Sev) -> list[str]:
    """Arguments for a SEV or SEV-ES guest, which does not run before its owner has seen its measurement (``-S``)."""
    tee = {
        "cbitpos": launch.c_bit,
        "reduced-phys-bits": REDUCED_PHYS_BITS,
        "policy": launch.policy,
        "kernel-hashes": True,
        "dh-cert-file": str(launch.owner_key),
        "session-file": str(launch.session),
    }
    return [
        *_begin(f"{_MACHINE},confidential-guest-support={_TEE}"),
        "-S",
        *machine_arguments(machine),
        "-m", f"{machine.memory}M",
        *_object("sev-guest", _TEE, tee),
        "-bios", str(image.firmware),
        *boot_arguments(image),
        *port_arguments(descriptors),
    ]  # fmt: skip


def capabilities_arguments(monitor: int) -> list[str]:
    """Arguments for a QEMU without a guest, with a monitor at a descriptor, that can say what SEV the platform has."""
    return [
        *_begin("none"),
        "-chardev", f"socket,id=monitor,fd={monitor}",
        "-mon", "chardev=monitor,mode=control",
    ]  # fmt: skip


def tdx_arguments(image: Image, machine: Machine, descriptors: Descriptors, launch: Tdx) -> list[str]:
    """Arguments for a TDX guest. Its vCPUs are the host's: what of CPUID a trust domain sees, the TDX module decides.

    Firmware is measured in MRTD; kernel, initial RAM disk and command line by the firmware in RTMR 1 and 2.
    """
    tee = {
        "mrconfigid": _base64(launch.config_id),
        "quote-generation-socket": {"type": "unix", "path": launch.quote_socket},
    }
    return [
        *_begin(f"{_MACHINE},kernel-irqchip=split,confidential-guest-support={_TEE}"),
        "-cpu", "host",
        "-smp", str(machine.cpus),
        "-m", f"{machine.memory}M",
        *_object("tdx-guest", _TEE, tee),
        "-bios", str(launch.firmware),
        *boot_arguments(image),
        *port_arguments(descriptors),
    ]  # fmt: skip


def _begin(machine: str) -> list[str]:
    return [*base_arguments(), "-machine", machine, "-accel", "kvm"]


def _object(kind: str, name: str, properties: Mapping[str, Any]) -> list[str]:
    return ["-object", json.dumps({"qom-type": kind, "id": name, **properties}, separators=(",", ":"))]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _check_c_bit(position: int) -> None:
    if position not in C_BITS:
        raise UsageError(
            f"the C-bit cannot be bit {position}",
            code="c-bit",
            hint="`enarx platform info` shows where this processor has it",
        )


def _check_size(code: str, name: str, data: bytes, size: int) -> None:
    if len(data) != size:
        raise UsageError(f"{name} has {size} bytes, not {len(data)}", code=code, hint="it is a digest of the manifest")
