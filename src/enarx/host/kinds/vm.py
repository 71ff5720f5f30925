"""A Keep in a plain virtual machine: the image of the confidential ones, on a SIMULATED secure processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enarx.host.image.layout import Image, default_directory, open_image
from enarx.host.kinds import Plan, Processor, Started, refuse_hardware_options
from enarx.host.qemu.accelerator import choose
from enarx.host.qemu.command import Descriptors, vm_arguments
from enarx.host.qemu.guest import Guest
from enarx.host.qemu.machine import CPU_MODEL, Machine
from enarx.host.qemu.program import find_qemu

if TYPE_CHECKING:
    from collections.abc import Callable

    from enarx.evidence.hashtable import KernelHashes
    from enarx.evidence.vmsa import Vcpus
    from enarx.host.sev.simulated import Contents
    from enarx.simulator.processor import Launch


def start(plan: Plan) -> Started:
    """Start one. Raises HostError or UsageError."""
    refuse_hardware_options("vm", plan.hardware)
    image = open_image(plan.image or default_directory())
    machine = machine_of(plan)
    program = find_qemu()
    accelerator = choose(program, image, plan.say)
    plan.detail(f"virtual machine: {machine}, on {accelerator}")

    def arguments(descriptors: Descriptors) -> list[str]:
        return vm_arguments(image, machine, accelerator.name, descriptors)

    guest = Guest(program, arguments, simulated=plan.host_data is not None, detail=plan.detail)
    processor: Processor | None = None
    try:
        if guest.channel is not None and plan.approval is not None:
            from enarx.host.sev.simulated import SimulatedSevLaunch

            contents = sev_contents(image, machine)
            processor = SimulatedSevLaunch(guest.channel, plan.approval.approver, contents, plan.approval.launched)
        elif guest.channel is not None:
            from enarx.host.attested import SimulatedLaunch

            processor = SimulatedLaunch(guest.channel, plan.now(), plan.lies, plan.say, measurer(image, machine))
    except BaseException:
        guest.kill()
        guest.wait()
        raise
    return Started(guest.carry(), guest.pid, processor, str(machine), str(accelerator))


def machine_of(plan: Plan) -> Machine:
    """The machine that is asked for. Raises UsageError."""
    default = Machine()
    return Machine(
        default.memory if plan.memory is None else plan.memory, default.cpus if plan.cpus is None else plan.cpus
    )


def expected_digest(image: Image, machine: Machine) -> bytes:
    """The launch digest (48 bytes) of this guest. Raises UsageError or MalformedError."""
    from enarx.evidence.launchfile import read_firmware
    from enarx.evidence.snp.measure import launch_digest

    vcpus, hashes = _measured(image, machine)
    return launch_digest(read_firmware(image.firmware), vcpus, hashes)


def _measured(image: Image, machine: Machine) -> tuple[Vcpus, KernelHashes]:
    from enarx.evidence.launchfile import kernel_hashes
    from enarx.evidence.vcpu import vcpu_signature
    from enarx.evidence.vmsa import Vcpus

    vcpus = Vcpus(machine.cpus, vcpu_signature(CPU_MODEL))
    return vcpus, kernel_hashes(image.kernel, image.initrd, image.cmdline)


def measurer(image: Image, machine: Machine) -> Callable[[Launch], None]:
    """Has what this guest is launched from measured, as SNP_LAUNCH_UPDATE would be called for it by QEMU.

    The files are those that QEMU is given. Raises UsageError or MalformedError.
    """

    def measure(launch: Launch) -> None:
        from enarx.evidence.launchfile import read_firmware
        from enarx.simulator.vm_keep import measure_vm_keep

        vcpus, hashes = _measured(image, machine)
        measure_vm_keep(launch, read_firmware(image.firmware), vcpus, hashes)

    return measure


def sev_contents(image: Image, machine: Machine) -> Callable[[], Contents]:
    """Gives what QEMU would have measured of this guest as one of SEV-ES, from the files that QEMU is given.

    Raises UsageError or MalformedError.
    """

    def contents() -> Contents:
        from enarx.evidence.launchfile import read_firmware
        from enarx.host.sev.simulated import direct_boot

        vcpus, hashes = _measured(image, machine)
        return direct_boot(read_firmware(image.firmware), hashes, vcpus)

    return contents
