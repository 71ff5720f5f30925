"""What the kinds of Keep need that any machine can have, and what sort of machine this is."""

from __future__ import annotations

import sys
from typing import Final

from enarx.host.platform.facts import Facts, device_row, image_row, qemu_row
from enarx.host.platform.kvm import KVM_DEVICE
from enarx.host.platform.rows import Row, group

PYTHON: Final = (3, 11)
VM_QEMU: Final = (7, 2)
"""The oldest QEMU that a plain VM Keep is tested with."""
LSM: Final = "/sys/kernel/security/lsm"
SECCOMP_ACTIONS: Final = "/proc/sys/kernel/seccomp/actions_avail"
GUEST_DEVICES: Final = (
    ("/dev/sev-guest", "inside an SEV-SNP guest"),
    ("/dev/tdx_guest", "inside a TDX guest"),
    ("/sys/kernel/config/tsm/report", "configfs-tsm: evidence can be asked for here"),
)


def machine(facts: Facts) -> tuple[Row, ...]:
    """What this machine is, whatever it is to launch: nothing here is required."""
    cpu = facts.cpu
    known = bool(cpu.vendor)
    about = f"{cpu.vendor} family {cpu.family} model {cpu.model} stepping {cpu.stepping}"
    generation = f", {cpu.generation}" if cpu.generation else ""
    microcode = f", microcode {cpu.microcode}" if cpu.microcode else ""
    virtual = "hypervisor" in cpu.flags
    guests = [
        Row(path, facts.machine.exists(path), what if facts.machine.exists(path) else "not there", required=False)
        for path, what in GUEST_DEVICES
    ]
    return (
        Row("CPU", known, f"{about}{generation}{microcode}" if known else "unknown", required=False),
        Row(
            "Bare metal", not virtual,
            "this machine is itself a guest: its host decides what it can launch" if virtual else "no hypervisor below",
            required=False,
        ),
        Row("Guest evidence", any(row.passed for row in guests), required=False, rows=tuple(guests)),
    )  # fmt: skip


def process(facts: Facts) -> tuple[Row, ...]:
    """A process Keep needs Python; its sandbox takes what the kernel offers, and says what it got."""
    version = ".".join(map(str, sys.version_info[:3]))
    lsm = (facts.machine.text(LSM, 4096) or "").split(",")
    actions = (facts.machine.text(SECCOMP_ACTIONS, 4096) or "").split()
    return (
        Row("Python", sys.version_info[:2] >= PYTHON, version),
        group(
            "Sandbox",
            _layer(
                "Landlock", "landlock" in lsm, f"{LSM} lists it", "boot with `lsm=landlock,...` (Linux 5.13 or newer)"
            ),
            _layer(
                "seccomp", "errno" in actions, "filters are offered", "this kernel is built without seccomp filters"
            ),
            required=False,
        ),
    )


def vm(facts: Facts) -> tuple[Row, ...]:
    """A VM without a TEE needs QEMU and an image; KVM makes it fast."""
    kvm = device_row(facts, KVM_DEVICE, "without KVM the VM is emulated, which is slow", required=False)
    return (qemu_row(facts, VM_QEMU), image_row(facts), kvm)


def _layer(name: str, has: bool, info: str, advice: str) -> Row:
    return Row(name, has, info if has else "not found", "" if has else advice, required=False)
