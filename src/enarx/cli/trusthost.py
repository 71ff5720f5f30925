"""What this machine says of itself, for the trust stack: versions of its layers, all of them the host's own word."""

from __future__ import annotations

import platform
import re
import struct
from typing import TYPE_CHECKING, Final

from enarx.trust.model import Fact, Layer, Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from enarx.host.platform.machine import Machine
    from enarx.trust.model import Stack

HYPERVISOR_LEAF: Final = 0x4000_0000
"""CPUID leaf in which hypervisors name themselves, by convention (Linux ``Documentation/virt/kvm/x86/cpuid.rst``)."""
_DMI: Final = "/sys/class/dmi/id"
_BOOTED: Final = re.compile(r"BOOT_IMAGE=(\S+)")
_CONTAINERS: Final = ("/run/.containerenv", "/.dockerenv", "/run/systemd/container")
_SECURE_BOOT: Final = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_TEXT_BYTES: Final = 512
"""How much is read of a file that holds a name (bytes)."""


def this_machine(machine: Machine) -> Stack:
    """The stack of a program on ``machine``, from what `enarx platform info` reads there and what DMI says."""
    from enarx.host.platform.cpu import read_cpu
    from enarx.trust import classic

    cpu = read_cpu(machine)
    virtual = "hypervisor" in cpu.flags
    kernel = _facts(("fact.kernel", machine.text("/proc/sys/kernel/osrelease", _TEXT_BYTES)))
    numbers = f"{cpu.family:#x} / {cpu.model:#x} / {cpu.stepping}" if cpu.family >= 0 else ""
    claims: Mapping[Layer, Sequence[Fact]] = {
        Layer.MIDDLEWARE: _facts(("fact.python", platform.python_version())),
        Layer.USERLAND: _facts(("fact.distribution", _distribution(machine))),
        (Layer.GUEST_OS if virtual else Layer.HOST_OS): kernel,
        Layer.HYPERVISOR: _facts(("fact.hypervisor", _hypervisor(machine) if virtual else None)),
        Layer.BOOT_LOADER: _facts(
            ("fact.boot", _boot_image(machine)), ("fact.secure-boot", _secure_boot(machine))
        ) if not virtual else (),
        Layer.BIOS: _facts(
            ("fact.bios", _dmi(machine, "bios_vendor", "bios_version", "bios_date")),
            ("fact.board", _dmi(machine, "sys_vendor", "product_name")),
        ),
        Layer.FIRMWARE: _facts(("fact.microcode", cpu.microcode)),
        Layer.CPU: _facts(
            ("fact.processor", cpu.name or cpu.vendor), ("fact.product", cpu.generation), ("fact.cpuid", numbers)
        ),
    }  # fmt: skip
    containers = any(machine.exists(path) for path in _CONTAINERS)
    return classic.host(claims, virtual=virtual, containers=containers)


def _facts(*named: tuple[str, str | None]) -> tuple[Fact, ...]:
    return tuple(Fact(name, value, Source.HOST) for name, value in named if value)


def _distribution(machine: Machine) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)"?$', machine.text("/etc/os-release", 4096) or "", re.MULTILINE)
    return found[1] if found else ""


def _dmi(machine: Machine, *names: str) -> str:
    return " ".join(filter(None, (machine.text(f"{_DMI}/{name}", _TEXT_BYTES) for name in names)))


def _boot_image(machine: Machine) -> str:
    found = _BOOTED.search(machine.text("/proc/cmdline", 4096) or "")
    efi = "EFI" if machine.exists("/sys/firmware/efi") else "BIOS"
    return f"{efi}, {found[1]}" if found else efi


def _secure_boot(machine: Machine) -> str:
    """EFI variables begin with four bytes of attributes."""
    data = machine.head(_SECURE_BOOT, 8)
    return "" if data is None or len(data) != 5 else "on" if data[4] == 1 else "off"


def _hypervisor(machine: Machine) -> str:
    registers = machine.cpuid(HYPERVISOR_LEAF)
    if registers is None:
        return ""
    return struct.pack("<III", *registers[1:]).rstrip(b"\0").decode("ascii", "replace")
