"""Command lines of plain virtual machines, as functions, and as QEMU itself reads them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

from enarx.host.image.layout import Image
from enarx.host.qemu.command import CONFINED, Descriptors, vm_arguments
from enarx.host.qemu.machine import Machine

IMAGE = Image(
    Path("/i"), Path("/i/vmlinuz"), Path("/i/initrd"), "console=ttyS0 a,b=c", Path("/i/OVMF.fd"), "stock",
    MappingProxyType({}),
)  # fmt: skip


def pairs(arguments: list[str]) -> list[tuple[str, str]]:
    """Each option with what follows it."""
    return list(pairwise(arguments))


def test_a_guest_has_what_is_named_and_nothing_else() -> None:
    arguments = vm_arguments(IMAGE, Machine(256, 2), "tcg", Descriptors(3, 4, 5))
    assert {"-nodefaults", "-no-user-config", "-no-reboot"} <= set(arguments)
    assert CONFINED in pairs(arguments)
    assert {value.partition(",")[0] for name, value in pairs(arguments) if name == "-device"} == {
        "virtio-serial-pci", "virtserialport",
    }  # fmt: skip
    assert not {"-netdev", "-nic", "-net", "-drive", "-hda", "-fsdev", "-virtfs", "-monitor", "-vnc"} & set(arguments)


def test_a_guest_is_booted_from_the_image_with_the_machine_that_is_asked_for() -> None:
    found = pairs(vm_arguments(IMAGE, Machine(256, 2), "kvm", Descriptors(3, 4, 5)))
    for pair in (
        ("-kernel", "/i/vmlinuz"), ("-initrd", "/i/initrd"), ("-append", "console=ttyS0 a,b=c"), ("-m", "256M"),
        ("-smp", "2"), ("-cpu", "EPYC-v4"), ("-accel", "kvm"),
    ):  # fmt: skip
        assert pair in found


def test_the_port_for_a_simulated_processor_is_there_only_when_there_is_one() -> None:
    without = vm_arguments(IMAGE, Machine(), "tcg", Descriptors(3, 4, 5))
    having = vm_arguments(IMAGE, Machine(), "tcg", Descriptors(3, 4, 5, 6))
    assert "enarx.tsm" not in " ".join(without)
    assert having[: len(without)] == without
    assert having[len(without) :] == [
        "-chardev", "socket,id=processor,fd=6",
        "-device", "virtserialport,bus=ports.0,nr=2,chardev=processor,name=enarx.tsm",
    ]  # fmt: skip
    assert Descriptors(3, 4, 5).all() == (3, 4, 5)
    assert Descriptors(3, 4, 5, 6).all() == (3, 4, 5, 6)
