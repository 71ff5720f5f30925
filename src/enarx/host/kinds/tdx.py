"""A Keep in a TDX guest. Never run on hardware, and no Steward accepts its evidence yet: it cannot verify a quote.

MRCONFIGID is SHA-384 of the manifest, which the Keep compares with its own quote.
"""

from __future__ import annotations

from enarx.host.image.layout import default_directory, open_image
from enarx.host.kinds import Plan, Started, refuse_approver, refuse_hardware_options, refuse_simulator
from enarx.host.kinds.platform import checked
from enarx.host.kinds.vm import machine_of
from enarx.host.qemu.command import Descriptors
from enarx.host.qemu.guest import Guest
from enarx.host.qemu.hardware import CONFIG_ID_BYTES, Tdx, tdx_arguments


def start(plan: Plan) -> Started:
    """Start one. Raises HostError (``platform-unsuitable``) and starts nothing on a machine that cannot."""
    refuse_simulator("tdx", plan)
    refuse_approver("tdx", plan)
    refuse_hardware_options("tdx", plan.hardware, "--firmware")
    machine = machine_of(plan)
    facts = checked("tdx", plan, machine.memory)
    image = open_image(plan.image or default_directory())
    config_id = bytes(CONFIG_ID_BYTES) if plan.config_id is None else plan.config_id()
    launch = Tdx(plan.hardware.firmware or image.firmware, config_id)

    def arguments(descriptors: Descriptors) -> list[str]:
        return tdx_arguments(image, machine, descriptors, launch)

    plan.detail(f"TDX guest: {machine.memory} MiB, {machine.cpus} vCPUs, MRCONFIGID {launch.config_id.hex()}")
    guest = Guest(facts.qemu.path, arguments, detail=plan.detail)
    return Started(guest.carry(), guest.pid, None, f"{machine.memory} MiB, {machine.cpus} vCPUs", "KVM with TDX")
