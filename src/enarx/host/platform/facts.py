"""Everything that kinds of Keep are judged by, gathered once; and the rows that several of them share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from enarx.host.platform.cpu import Cpu
from enarx.host.platform.firmware import FirmwareFacts
from enarx.host.platform.kvm import API_VERSION, KVM_DEVICE, VM_TYPES, KvmFacts
from enarx.host.platform.machine import Machine
from enarx.host.platform.qemufacts import QemuFacts
from enarx.host.platform.rows import Row, group
from enarx.host.qemu.machine import DEFAULT_MEMORY_MIB

_RELEASE: Final = re.compile(r"(\d{1,4})\.(\d{1,4})")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a launch is to have. ``firmware_named``: whether somebody chose it, or it is the image's."""

    memory_mib: int = DEFAULT_MEMORY_MIB
    firmware_named: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """``image_failure`` says why there is no image, or nothing."""

    machine: Machine
    cpu: Cpu
    kvm: KvmFacts
    qemu: QemuFacts
    image_failure: str
    firmware: FirmwareFacts
    needs: Needs


def kernel_row(facts: Facts, at_least: tuple[int, int]) -> Row:
    """Whether Linux is new enough."""
    release = facts.machine.text("/proc/sys/kernel/osrelease", 256) or ""
    found = _RELEASE.match(release)
    wanted = ".".join(map(str, at_least))
    good = found is not None and (int(found[1]), int(found[2])) >= at_least
    return Row("Linux", good, release or "unknown", "" if good else f"install Linux {wanted} or newer on this machine")


def module_row(facts: Facts, module: str, parameter: str, how: str) -> Row:
    """Whether a module is loaded, or built in, with a parameter on; ``how`` says how to get there."""
    where = f"/sys/module/{module}"
    switch = facts.machine.switch(f"{where}/parameters/{parameter}")
    name = f"{module}.{parameter}"
    if switch:
        return Row(name, True, "on")
    if not facts.machine.exists(where):
        return Row(name, False, f"the module {module} is not loaded", f"load it: `modprobe {module}`; {how}")
    return Row(name, False, "off" if switch is False else "this kernel does not have it", how)


def device_row(facts: Facts, path: str, absent: str, *, required: bool = True) -> Row:
    """Whether a device is there and may be read and written; what to do about its group and permissions."""
    node = facts.machine.node(path)
    if node is None:
        return Row(path, False, "does not exist", absent, required)
    if node.usable:
        return Row(path, True, node.permissions(), required=required)
    if node.group_may and node.group not in ("root", "0"):
        advice = f"join its group: `sudo usermod -a -G {node.group} $USER`, then log in again"
    else:
        name = path.rpartition("/")[2]
        advice = (
            f"only root may use it: give it a group, with a udev rule such as "
            f'`KERNEL=="{name}", GROUP="kvm", MODE="0660"`, and join that group'
        )
    return Row(path, False, f"{node.permissions()}: you may not read and write it", advice, required)


def kvm_row(facts: Facts, kind: str) -> Row:
    """The device, its API, and whether it makes guests of this kind."""
    device = device_row(
        facts, KVM_DEVICE, "enable virtualization in the BIOS (SVM Mode, or VT-x), and load kvm_amd or kvm_intel"
    )
    rows = [device]
    if device.passed:
        good = facts.kvm.api == API_VERSION
        info = facts.kvm.failure or f"version {facts.kvm.api}"
        rows.append(Row("API", good, info, "" if good else f"KVM has had API version {API_VERSION} since Linux 2.6.22"))
        if kind in VM_TYPES:
            rows.append(_type_row(facts, kind))
    return group("KVM", *rows)


def _type_row(facts: Facts, kind: str) -> Row:
    name = f"guests of type {kind}"
    if facts.kvm.makes(kind):
        return Row(name, True, "KVM makes them")
    said = facts.kvm.vm_types or not facts.kvm.failure
    # SEV is older than KVM's saying so: there its absence proves nothing, and the module's parameter counts.
    needed = kind in ("snp", "tdx")
    info = "KVM does not offer them" if said else "KVM does not say"
    advice = "see the rows about the kernel and the processor, and the kernel's log" if needed else ""
    return Row(name, False, info, advice, required=needed)


def qemu_row(facts: Facts, at_least: tuple[int, int], object_type: str = "") -> Row:
    """Whether there is a QEMU that is new enough and has an object type."""
    qemu, wanted = facts.qemu, ".".join(map(str, at_least))
    install = f"install QEMU {wanted} or newer (Debian: `qemu-system-x86`, where need be from backports)"
    if qemu.failure:
        return group("QEMU", Row("program", False, qemu.failure, install))
    good = qemu.version[:2] >= at_least
    rows = [
        Row("program", True, qemu.path),
        Row("version", good, qemu.version_text(), "" if good else install),
    ]
    if object_type:
        has = object_type in qemu.objects
        rows.append(Row(f"object {object_type}", has, "known" if has else "not known", "" if has else install))
    return group("QEMU", *rows)


def image_row(facts: Facts) -> Row:
    """Whether there is an image to launch."""
    failure = facts.image_failure
    advice = "build one with `enarx image build`, or name another with --image" if failure else ""
    return Row("Image", not failure, failure or "found", advice)


def firmware_row(facts: Facts, *wanted: tuple[str, bool]) -> Row:
    """Whether the firmware can be read and has each of ``wanted``: name, and whether it is there."""
    firmware = facts.firmware
    advice = "use an image with OVMF's build for AMD SEV (`OVMF.amdsev.fd`, Debian: `ovmf-amdsev`)"
    if not firmware.path:
        return group("Firmware", Row("file", False, "the image's own, and there is no image"))
    if firmware.failure:
        return group("Firmware", Row("file", False, f"{firmware.path}: {firmware.failure}", advice))
    rows = [Row(name, has, "present" if has else "absent", "" if has else advice) for name, has in wanted]
    return group("Firmware", Row("file", True, firmware.path), *rows)


def memlock_row(facts: Facts, wanted_mib: int, *, required: bool) -> Row:
    """Whether a process may lock as much memory as a guest has."""
    limit = facts.machine.locked_memory()
    if limit is None:
        return Row("Locked memory", True, "no limit", required=required)
    good = limit >= wanted_mib << 20
    advice = (
        f"a guest of {wanted_mib} MiB is locked in memory: raise the limit to at least that for the user, in "
        "/etc/security/limits.conf (`memlock`) or with LimitMEMLOCK= in its systemd unit"
    )
    return Row("Locked memory", good, f"at most {limit >> 10} KiB", "" if good else advice, required)
