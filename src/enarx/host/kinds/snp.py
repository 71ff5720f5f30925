"""A Keep in an SEV-SNP guest: the processor measures the image, and signs what the guest asks of it.

Never run on hardware. HOST_DATA is the manifest's digest; an ID block, where there is one, is checked by the firmware
before the guest starts, and here before that, as the firmware says less of what is wrong.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from enarx.errors import MalformedError, UsageError
from enarx.evidence.launchfile import kernel_hashes, read_bounded, read_firmware
from enarx.evidence.snp import certtable
from enarx.evidence.snp.idblock import ID_AUTH_BYTES, ID_BLOCK_BYTES, IdAuth, IdBlock
from enarx.evidence.snp.measure import launch_digest
from enarx.evidence.vcpu import vcpu_signature
from enarx.evidence.vmsa import Vcpus
from enarx.host.image.layout import Image, default_directory, open_image
from enarx.host.kinds import Hardware, Plan, Started, refuse_approver, refuse_hardware_options, refuse_simulator
from enarx.host.kinds.platform import checked
from enarx.host.kinds.vm import machine_of
from enarx.host.qemu.command import Descriptors
from enarx.host.qemu.guest import Guest
from enarx.host.qemu.hardware import HOST_DATA_BYTES, Snp, snp_arguments
from enarx.host.qemu.machine import CPU_MODEL, Machine

SIGNATURE_FILE_MAX_BYTES: Final = 64 * 1024
"""Largest signature file of `enarx sign` (bytes): it has 4192 numbers of at most three digits."""
TABLE_MAX_BYTES: Final = 64 * 1024
"""Largest certificate table (bytes)."""


def start(plan: Plan) -> Started:
    """Start one. Raises HostError (``platform-unsuitable``) and starts nothing on a machine that cannot."""
    refuse_simulator("snp", plan)
    refuse_approver("snp", plan)
    refuse_hardware_options("snp", plan.hardware, "--id-block", "--id-auth", "--certificates")
    machine = machine_of(plan)
    facts = checked("snp", plan, machine.memory)
    image = open_image(plan.image or default_directory())
    block, auth = read_id_block(plan.hardware)
    if block is not None:
        _check_digest(block, expected_digest(image, machine))
    memory = facts.cpu.memory
    host_data = bytes(HOST_DATA_BYTES) if plan.host_data is None else plan.host_data()
    launch = Snp(0 if memory is None else memory.c_bit, host_data, id_block=block, id_auth=auth)

    def arguments(descriptors: Descriptors) -> list[str]:
        return snp_arguments(image, machine, descriptors, launch)

    plan.detail(f"SEV-SNP guest: {machine}, policy {launch.policy:#x}, HOST_DATA {launch.host_data.hex()}")
    guest = Guest(facts.qemu.path, arguments, detail=plan.detail)
    return Started(guest.carry(), guest.pid, None, str(machine), "KVM with SEV-SNP")


def expected_digest(image: Image, machine: Machine) -> bytes:
    """The launch digest (48 bytes) that the firmware will compute. Raises UsageError or MalformedError."""
    hashes = kernel_hashes(image.kernel, image.initrd, image.cmdline)
    vcpus = Vcpus(machine.cpus, vcpu_signature(CPU_MODEL))
    return launch_digest(read_firmware(image.firmware), vcpus, hashes)


def read_id_block(hardware: Hardware) -> tuple[IdBlock | None, IdAuth | None]:
    """The ID block and its authentication information: a signature file of `enarx sign`, or the bytes of each.

    Raises UsageError (``id-block``, ``launch-file``...) or MalformedError.
    """
    if hardware.id_block is None:
        if hardware.id_auth is not None:
            raise UsageError("--id-auth goes with --id-block", code="id-block", hint="name both files")
        return None, None
    block = read_bounded(hardware.id_block, SIGNATURE_FILE_MAX_BYTES, "ID block")
    if hardware.id_auth is not None:
        auth = read_bounded(hardware.id_auth, ID_AUTH_BYTES, "ID authentication information")
    elif len(block) == ID_BLOCK_BYTES:
        raise UsageError(
            f"{hardware.id_block} is an ID block alone",
            code="id-block",
            hint="name its ID authentication information by --id-auth, or give the file that `enarx sign` writes",
        )
    else:
        block, auth = _signature_file(hardware.id_block, block)
    return IdBlock.from_bytes(block), IdAuth.from_bytes(auth)


def read_certificates(path: Path) -> bytes:
    """A certificate table as the GHCB specification has it (56421, 4.1.8.1). Raises UsageError or MalformedError."""
    table = read_bounded(path, TABLE_MAX_BYTES, "certificate table")
    certtable.parse(table)
    return table


def _signature_file(path: Path, text: bytes) -> tuple[bytes, bytes]:
    try:
        sev = json.loads(text)["sev"]
        return bytes(sev["id_block"]), bytes(sev["id_auth"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise MalformedError(
            f"{path} is neither an ID block of {ID_BLOCK_BYTES} bytes nor a signature file",
            code="id-block",
            hint="write one by `enarx sign`, of the very files that are launched",
        ) from error


def _check_digest(block: IdBlock, expected: bytes) -> None:
    if block.launch_digest != expected:
        raise UsageError(
            f"the ID block is for another launch: it has the digest {block.launch_digest.hex()}, and this one will "
            f"have {expected.hex()}",
            code="id-block-digest",
            hint="the image, the number of vCPUs or their model differ from what was signed",
        )
