"""QEMU's command lines, as pure functions.

Nothing that a user of the machine has configured for QEMU is read (``-nodefaults``, ``-no-user-config``), and a guest
has what is named here and nothing else: no network, no disk, no display, no USB, no input. What connects it to the host
are two ports of one virtio-serial device, a serial console of which only output means anything, and the memory that
kernel, initial RAM disk and command line are put into.

Descriptors are inherited: no socket of a Keep has a name that another user or process could connect to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enarx.host.qemu.machine import CPU_MODEL, Machine

if TYPE_CHECKING:
    from enarx.host.image.layout import Image

LINK_PORT: Final = "enarx.link"
"""Name of the port that carries the link, under which the guest finds it."""
PROCESSOR_PORT: Final = "enarx.tsm"
"""Name of the port behind which a SIMULATED secure processor answers. No other kind of Keep than `vm` has it."""

CONFINED: Final = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
"""A guest that breaks into QEMU finds a process that can start no other."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What QEMU inherits. ``link`` is a listening socket, the others are connected ones; ``processor`` may be none."""

    monitor: int
    console: int
    link: int
    processor: int | None = None

    def all(self) -> tuple[int, ...]:
        """Each of them."""
        found = (self.monitor, self.console, self.link, self.processor)
        return tuple(fd for fd in found if fd is not None)


def vm_arguments(image: Image, machine: Machine, accelerator: str, descriptors: Descriptors) -> list[str]:
    """Arguments for a plain virtual machine, whose memory is in the clear.

    SeaBIOS boots it: the image's own firmware starts no kernel that is not named in a table of hashes, which only a
    processor with SEV puts into memory. ``accelerator`` is ``kvm`` or ``tcg``.
    """
    return [
        *base_arguments(),
        "-machine", "q35,usb=off,vmport=off,smm=off,hpet=off,dump-guest-core=off",
        "-accel", accelerator,
        *machine_arguments(machine),
        "-m", f"{machine.memory}M",
        *boot_arguments(image),
        *port_arguments(descriptors),
    ]  # fmt: skip


def base_arguments() -> list[str]:
    """What every guest has, or has not. One that resets has ended: the kernel does so when it panics."""
    return ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", *CONFINED]


def machine_arguments(machine: Machine) -> list[str]:
    """The vCPUs."""
    return ["-cpu", CPU_MODEL, "-smp", str(machine.cpus)]


def boot_arguments(image: Image) -> list[str]:
    """Direct boot of an image."""
    return ["-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", image.cmdline]


def port_arguments(descriptors: Descriptors, device_options: Sequence[str] = ()) -> list[str]:
    """The monitor, the console and the ports. ``device_options`` are more properties of the virtio device."""
    device = ",".join(["virtio-serial-pci", "id=ports", "max_ports=3", *device_options])
    arguments = [
        "-chardev", f"socket,id=monitor,fd={descriptors.monitor}",
        "-mon", "chardev=monitor,mode=control",
        "-chardev", f"socket,id=console,fd={descriptors.console}",
        "-serial", "chardev:console",
        "-device", device,
        "-chardev", f"socket,id=link,fd={descriptors.link},server=on,wait=off",
        "-device", f"virtserialport,bus=ports.0,nr=1,chardev=link,name={LINK_PORT}",
    ]  # fmt: skip
    if descriptors.processor is not None:
        arguments += [
            "-chardev", f"socket,id=processor,fd={descriptors.processor}",
            "-device", f"virtserialport,bus=ports.0,nr=2,chardev=processor,name={PROCESSOR_PORT}",
        ]  # fmt: skip
    return arguments
