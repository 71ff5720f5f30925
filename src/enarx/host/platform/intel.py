"""What TDX needs of a host.

Sources: Linux ``Documentation/arch/x86/tdx.rst`` and ``Documentation/virt/kvm/x86/intel-tdx.rst``; QEMU
``docs/system/i386/tdx.rst``.
"""

from __future__ import annotations

from typing import Final

from enarx.host.platform.cpu import INTEL
from enarx.host.platform.facts import (
    Facts,
    device_row,
    image_row,
    kernel_row,
    kvm_row,
    memlock_row,
    module_row,
    qemu_row,
)
from enarx.host.platform.rows import Row, group

LINUX: Final = (6, 16)
QEMU: Final = (10, 1)
FLAG: Final = "tdx_host_platform"
"""Of /proc/cpuinfo, since Linux 6.8: the BIOS has set TDX up."""
QUOTE_SOCKET: Final = "/var/run/tdx-qgs/qgs.socket"
"""Where Intel's quote generation service listens."""
SGX_DEVICES: Final = ("/dev/sgx_enclave", "/dev/sgx_provision")
TDVF: Final = "name a firmware that is built for TDX with --firmware: OVMF.inteltdx.fd, or OVMF.fd of OvmfPkgX64"


def tdx(facts: Facts) -> tuple[Row, ...]:
    """TDX: a trust domain, whose quotes a service on the host makes."""
    how = "boot with `kvm_intel.tdx=1 nohibernate`; in the BIOS, enable TME-MT, TDX and SGX"
    return (
        _cpu(facts),
        group("Kernel", kernel_row(facts, LINUX), module_row(facts, "kvm_intel", "tdx", how)),
        kvm_row(facts, "tdx"),
        _quotes(facts),
        qemu_row(facts, QEMU, "tdx-guest"),
        image_row(facts),
        _firmware(facts),
        memlock_row(facts, facts.needs.memory_mib, required=False),
    )


def _cpu(facts: Facts) -> Row:
    cpu = facts.cpu
    if cpu.vendor != INTEL:
        advice = "TDX needs an Intel Xeon of the fifth generation or newer"
        return group("CPU", Row("vendor", False, cpu.vendor or "unknown", advice))
    has = FLAG in cpu.flags
    advice = "in the BIOS, enable TME-MT, TDX and the SEAM loader; the kernel's log says more, after `virt/tdx`"
    return group(
        "CPU",
        Row("vendor", True, cpu.vendor),
        Row("TDX", has, f"{FLAG} is {'present' if has else 'absent'} in /proc/cpuinfo", "" if has else advice),
    )


def _quotes(facts: Facts) -> Row:
    """Without the service a guest starts, and can prove nothing; vsock instead of the socket is not looked for."""
    socket = facts.machine.exists(QUOTE_SOCKET)
    advice = "install and start Intel's quote generation service (tdx-qgs) with a Unix socket"
    rows = [Row(QUOTE_SOCKET, socket, "present" if socket else "does not exist", "" if socket else advice)]
    rows += [device_row(facts, path, "in the BIOS, enable SGX", required=False) for path in SGX_DEVICES]
    return group("Quotes", *rows)


def _firmware(facts: Facts) -> Row:
    firmware = facts.firmware
    if not facts.needs.firmware_named:
        return group("Firmware", Row("file", False, "the image's own is AMD's build, which starts no TDX guest", TDVF))
    if firmware.failure:
        return group("Firmware", Row("file", False, f"{firmware.path}: {firmware.failure}", TDVF))
    metadata = Row("TDX metadata", firmware.tdx, "present" if firmware.tdx else "absent", "" if firmware.tdx else TDVF)
    return group("Firmware", Row("file", True, firmware.path), metadata)
