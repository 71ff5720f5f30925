"""Machines as directory trees: an EPYC host with SEV-SNP, one with SEV alone, a Xeon host with TDX, an ordinary one."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from enarx.host.platform.facts import Facts
from enarx.host.platform.kvm import KVM_CHECK_EXTENSION, KVM_GET_API_VERSION
from enarx.host.platform.machine import Identity, Machine
from enarx.host.platform.qemufacts import QemuFacts
from enarx.host.platform.sevfirmware import SEV_ISSUE_CMD, SEV_PLATFORM_STATUS, SNP_PLATFORM_STATUS
from enarx.host.platform.survey import gather
from tests.evidence.ovmf_images import ovmf_image

USER = Identity(1000, frozenset((1000, 106)))
"""Somebody in the group kvm, as the trees have it."""
STRANGER = Identity(1001, frozenset((1001,)))
AMD_FLAGS = "fpu vme svm sme sev sev_es sev_snp"

QEMU_10 = QemuFacts("/usr/bin/qemu-system-x86_64", "", (10, 0, 2), frozenset(("sev-guest", "sev-snp-guest")))
QEMU_11 = replace(QEMU_10, version=(11, 1, 3), objects=QEMU_10.objects | {"tdx-guest"})


def cpuinfo(vendor: str, family: int, model: int, flags: str, *, name: str = "Some Processor", count: int = 2) -> str:
    """/proc/cpuinfo of ``count`` equal processors."""
    one = (
        f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: {name}\n"
        f"stepping\t: 1\nmicrocode\t: 0xa0011d5\nflags\t\t: {flags}\nbugs\t\t:\npower management:\n\n"
    )
    return one * count


@dataclass
class Tree:
    """A machine to be written down: files by absolute path, devices by path, CPUID, and what its devices answer."""

    files: dict[str, str] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)
    """Permissions of a device, whose group is kvm."""
    leaf: tuple[int, int, int, int] | None = None
    """Leaf 0x8000001F."""
    vm_types: int = 1
    kvm_api: int = 12
    sev_status: bytes = b""
    snp_status: bytes = b""
    sev_error: int = 0

    def ioctl(self, _descriptor: int, request: int, argument: bytearray | int) -> int:
        if request == KVM_GET_API_VERSION:
            return self.kvm_api
        if request == KVM_CHECK_EXTENSION:
            return self.vm_types
        assert request == SEV_ISSUE_CMD
        assert isinstance(argument, bytearray)
        command, address, _ = struct.unpack("<IQI", argument)
        answer = {SEV_PLATFORM_STATUS: self.sev_status, SNP_PLATFORM_STATUS: self.snp_status}[command]
        if not answer:
            argument[-4:] = struct.pack("<I", self.sev_error)
            raise OSError(errno.EIO, "Input/output error")
        ctypes.memmove(address, answer, len(answer))
        return 0

    def write(self, root: Path, identity: Identity = USER) -> Machine:
        """The tree below ``root``, looked at by ``identity``. Groups cannot be given away by everybody: see below."""
        for name, text in {**COMMON, **self.files}.items():
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name, mode in self.devices.items():
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            path.chmod(mode)
        if self.leaf is not None:
            path = root / "dev/cpu/0/cpuid"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:  # sparse: a leaf is at the offset of its own number
                for number, registers in ((0x8000_0000, (0x8000_0028, 0, 0, 0)), (0x8000_001F, self.leaf)):
                    os.pwrite(file.fileno(), struct.pack("<4I", *registers), number)
        # Whoever runs the tests owns the files: the number of their group stands for kvm's, and that user for root.
        group, owner = os.getegid(), os.geteuid()
        (root / "etc/group").write_text(f"root:x:0:\nkvm:x:{group}:\n" if group else "kvm:x:0:\n")
        groups = frozenset((group,)) if 106 in identity.groups else frozenset((group + 1,))
        return Machine(str(root), Identity(owner + 1, groups), self.ioctl)


COMMON: Mapping[str, str] = {
    "/proc/sys/kernel/osrelease": "6.1.0-28-amd64\n",
    "/proc/self/limits": "Limit   Soft Limit  Hard Limit  Units\nMax locked memory  8388608  8388608  bytes\n",
    "/proc/self/status": "Name:\tenarx\nCapEff:\t0000000000000000\n",
    "/etc/group": "",
}


def modules(**parameters: str) -> dict[str, str]:
    """Files of /sys/module: ``kvm_amd__sev="Y"``."""
    return {f"/sys/module/{name.replace('__', '/parameters/')}": value + "\n" for name, value in parameters.items()}


def epyc_snp() -> Tree:
    """An EPYC 9004 with everything enabled. The numbers of CPUID and firmware are those of such machines."""
    return Tree(
        files={
            "/proc/cpuinfo": cpuinfo("AuthenticAMD", 25, 17, AMD_FLAGS, name="AMD EPYC 9354 32-Core Processor"),
            "/proc/sys/kernel/osrelease": "6.12.41+deb13-amd64\n",
            **modules(kvm_amd__sev="Y", kvm_amd__sev_es="Y", kvm_amd__sev_snp="Y"),
        },
        devices={"/dev/kvm": 0o660, "/dev/sev": 0o660},
        leaf=(0x0101_FD3F, 51 | 5 << 6, 0x3EE, 0x64),
        vm_types=0b11101,
        sev_status=struct.pack("<BBBIBI", 1, 55, 1, 0x100, 39, 0),
        snp_status=struct.pack("<BBBBIIIQQ", 1, 55, 1, 1, 39, 0, 0, 0xDB18_0000_0000_000A, 0xDB18_0000_0000_000A),
    )


def rome_sev() -> Tree:
    """An EPYC 7002: SEV and SEV-ES in the processor, SEV alone switched on, no ASID for SEV-ES, on an older kernel."""
    return Tree(
        files={
            "/proc/cpuinfo": cpuinfo("AuthenticAMD", 23, 49, "fpu svm sme sev sev_es", name="AMD EPYC 7302P"),
            "/proc/self/limits": "Max locked memory  unlimited  unlimited  bytes\n",
            **modules(kvm_amd__sev="1", kvm_amd__sev_es="0"),
        },
        devices={"/dev/kvm": 0o660, "/dev/sev": 0o660},
        leaf=(0x0001_000F, 47 | 5 << 6, 0x1FD, 1),
        vm_types=0,
        sev_status=struct.pack("<BBBIBI", 0, 24, 0, 0, 15, 0),
    )


def xeon_tdx() -> Tree:
    """A Xeon of the fifth generation with TDX set up and the quote generation service running."""
    flags = "fpu vmx tme pconfig tdx_host_platform"
    return Tree(
        files={
            "/proc/cpuinfo": cpuinfo("GenuineIntel", 6, 207, flags, name="INTEL(R) XEON(R) PLATINUM 8568Y+"),
            "/proc/sys/kernel/osrelease": "6.17.4-amd64\n",
            "/var/run/tdx-qgs/qgs.socket": "",
            **modules(kvm_intel__tdx="Y"),
        },
        devices={"/dev/kvm": 0o660, "/dev/sgx_enclave": 0o666, "/dev/sgx_provision": 0o660},
        vm_types=0b100001,
    )


def ordinary() -> Tree:
    """A desktop with KVM and nothing else."""
    return Tree(
        files={"/proc/cpuinfo": cpuinfo("AuthenticAMD", 25, 33, "fpu vme svm", name="AMD Ryzen 7 5800X")},
        devices={"/dev/kvm": 0o660},
        leaf=(0, 0, 0, 0),
    )


def kernel() -> bytes:
    """A header that QEMU's loader takes for a bzImage (Linux ``Documentation/arch/x86/boot.rst``), and no kernel."""
    data = bytearray(4096)
    struct.pack_into("<B", data, 0x1F1, 1)  # setup_sects
    struct.pack_into("<H", data, 0x1FE, 0xAA55)  # boot_flag
    struct.pack_into("<4sH", data, 0x202, b"HdrS", 0x020F)  # header, version
    struct.pack_into("<B", data, 0x211, 1)  # loadflags: LOADED_HIGH
    struct.pack_into("<I", data, 0x22C, 0x7FFF_FFFF)  # initrd_addr_max
    return bytes(data)


def image(directory: Path, firmware: bytes | None = None) -> Path:
    """An image with small files, and a firmware like OVMF's build for AMD SEV."""
    from hashlib import sha256

    directory.mkdir(parents=True, exist_ok=True)
    contents = {
        "vmlinuz": kernel(), "initrd": b"initrd", "cmdline": b"console=ttyS0 panic=-1",
        "OVMF.fd": ovmf_image() if firmware is None else firmware,
    }  # fmt: skip
    described = 'format = 1\nkind = "stock"\n'
    for name, data in contents.items():
        (directory / name).write_bytes(data)
        described += f'[files."{name}"]\nsize = {len(data)}\nsha256 = "sha256:{sha256(data).hexdigest()}"\n'
    (directory / "image.toml").write_text(described)
    return directory


def facts_of(
    tree: Tree, root: Path, *, qemu: QemuFacts = QEMU_10, who: Identity = USER, firmware: str | None = None,
    memory_mib: int = 512,
) -> Facts:  # fmt: skip
    """What is known of that machine, with an image."""
    where = image(root / "image")
    machine = tree.write(root / "machine", who)
    return gather(machine, image=str(where), firmware=firmware, qemu=qemu, memory_mib=memory_mib)
