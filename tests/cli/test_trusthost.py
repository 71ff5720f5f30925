"""What machines say of themselves, for the trust stack."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from enarx.cli.trusthost import HYPERVISOR_LEAF, this_machine
from enarx.host.platform.machine import Machine
from enarx.trust.model import Layer, Source, Stack, Status
from tests.host.platform.machines import AMD_FLAGS, Tree, cpuinfo, epyc_snp

DMI = {"bios_vendor": "Maker", "bios_version": "2.1", "bios_date": "01/02/2026", "sys_vendor": "Maker",
       "product_name": "Server 7"}  # fmt: skip


def versions(stack: Stack, layer: Layer) -> dict[str, str]:
    row = stack.rows[list(Layer).index(layer)]
    assert {fact.source for fact in row.versions} <= {Source.HOST}
    return {fact.name: fact.value for fact in row.versions}


def status(stack: Stack, layer: Layer) -> Status:
    return stack.rows[list(Layer).index(layer)].status


def test_a_server_names_its_bios_boot_loader_kernel_and_microcode(tmp_path: Path) -> None:
    tree = epyc_snp()
    tree.files |= {f"/sys/class/dmi/id/{name}": f"{text}\n" for name, text in DMI.items()}
    tree.files |= {
        "/etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        "/proc/cmdline": "BOOT_IMAGE=/vmlinuz-6.11 root=/dev/sda1",
        "/sys/firmware/efi/fw_platform_size": "64",
        "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": "\6\0\0\0\1",
    }
    stack = this_machine(tree.write(tmp_path))
    assert versions(stack, Layer.BIOS) == {"fact.bios": "Maker 2.1 01/02/2026", "fact.board": "Maker Server 7"}
    assert versions(stack, Layer.BOOT_LOADER) == {"fact.boot": "EFI, /vmlinuz-6.11", "fact.secure-boot": "on"}
    assert versions(stack, Layer.HOST_OS) == {"fact.kernel": tree.files["/proc/sys/kernel/osrelease"].strip()}
    assert versions(stack, Layer.FIRMWARE) == {"fact.microcode": "0xa0011d5"}
    assert versions(stack, Layer.USERLAND) == {"fact.distribution": "Debian GNU/Linux 12 (bookworm)"}
    assert versions(stack, Layer.CPU)["fact.processor"] == "AMD EPYC 9354 32-Core Processor"
    for layer in (Layer.GUEST_OS, Layer.HYPERVISOR, Layer.CONTAINER_ENGINE):
        assert status(stack, layer) is Status.ABSENT


def test_a_guest_says_who_runs_it(tmp_path: Path) -> None:
    tree = Tree(files={"/proc/cpuinfo": cpuinfo("AuthenticAMD", 25, 17, f"{AMD_FLAGS} hypervisor"), "/.dockerenv": ""})
    machine = tree.write(tmp_path)
    path = tmp_path / "dev/cpu/0/cpuid"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        named = struct.pack("<I12s", HYPERVISOR_LEAF, b"KVMKVMKVM\0\0\0")
        os.pwrite(file.fileno(), named, HYPERVISOR_LEAF)
    stack = this_machine(machine)
    assert versions(stack, Layer.HYPERVISOR) == {"fact.hypervisor": "KVMKVMKVM"}
    assert versions(stack, Layer.GUEST_OS) == {"fact.kernel": "6.1.0-28-amd64"}
    assert versions(stack, Layer.HOST_OS) == versions(stack, Layer.BOOT_LOADER) == {}
    assert status(stack, Layer.CONTAINER_ENGINE) is Status.ASSUMED


def test_a_machine_that_says_nothing_is_shown_all_the_same(tmp_path: Path) -> None:
    stack = this_machine(Machine(str(tmp_path)))
    assert versions(stack, Layer.CPU) == versions(stack, Layer.BIOS) == versions(stack, Layer.HOST_OS) == {}
    assert versions(stack, Layer.BOOT_LOADER) == {"fact.boot": "BIOS"}
    assert status(stack, Layer.CPU) is Status.ASSUMED


def test_what_a_machine_says_is_text_and_nothing_more(tmp_path: Path) -> None:
    tree = Tree(files={"/sys/class/dmi/id/bios_vendor": "\x1b[2J<script>\u202e" + "x" * 5000})
    text = versions(this_machine(tree.write(tmp_path)), Layer.BIOS)["fact.bios"]
    assert text.isprintable()
    assert len(text) <= 200
