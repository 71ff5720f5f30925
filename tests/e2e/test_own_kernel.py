"""What the kernel of our own does in a machine: run where it has been built, into build/kernel.

ACPI tables are the host's and no launch measures them. They hold programs, which the kernel runs: on any other kernel
such a program can read and write all memory of the guest, private or not. The attack is in the table's module-level
code; it reads the beginning of the initial RAM disk, which is memory of the guest's, and writes it to the serial port.
"""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import pytest

from enarx.host.image.build import Kernel, build, stock_kernel
from enarx.host.image.fetch import Inputs, default_cache
from enarx.host.image.kernel import own_record
from enarx.host.image.layout import file_digest
from enarx.host.image.lock import read_lock
from enarx.host.image.newc import Directory, pack
from enarx.host.qemu.machine import CPU_MODEL
from tests import programs
from tests.e2e.command import module
from tests.e2e.vms import run_vm
from tests.support import ROOT, require_tool

pytestmark = pytest.mark.timeout(900)

BUILT = ROOT / "build" / "kernel" / "vmlinuz"
BOOT_SECONDS = 240
MAGIC = b"070701"
CMDLINE = "console=ttyS0 panic=-1 lockdown=confidentiality"


@pytest.fixture(scope="module")
def own() -> Path:
    if not BUILT.exists() or file_digest(BUILT) != own_record().vmlinuz:
        pytest.skip("the kernel on record is not built here (enarx image kernel -o build/kernel)")
    return BUILT


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stock") / "vmlinuz"
    path.write_bytes(stock_kernel(read_lock(None), Inputs(default_cache())).vmlinuz)
    return path


def test_a_keep_runs_in_256_mib_with_its_whole_sandbox(own: Path, tmp_path: Path) -> None:
    lock, image = read_lock(None).for_kernel("own"), tmp_path / "image"
    kernel = Kernel(own.read_bytes(), {}, own_record().made_with)
    assert build(lock, Inputs(default_cache()), image, kernel, "own").kind == "own"
    options = ("--memory", "256M", "--cpus", "2", "--verbose", "--require-sandbox", "--timings")
    done = run_vm(module(tmp_path, programs.HELLO), home=tmp_path, image=image, options=options)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (0, b"ready\n"), said
    assert "not applied" not in said
    # Times are finer than ticks of 10 ms: the guest has found a clock.
    times = [float(found) for found in re.findall(r"^enarx:   keep: .* (\d+\.\d)$", said, re.MULTILINE)]
    assert any(round(time * 10) % 100 for time in times)


def sized(body: bytes) -> bytes:
    """ACPI 6.5, 20.2.4: a package length of one or two bytes, which counts itself."""
    size = len(body) + 1
    return bytes([size]) + body if size < 64 else bytes([0x40 | (size + 1) & 15, (size + 1) >> 4]) + body


def name(text: str) -> bytes:
    return text.ljust(4, "_").encode()


def attack(address: int) -> bytes:
    """An SSDT that reads ``len(MAGIC)`` bytes of memory at ``address`` and writes them to the serial port.

    Source: ACPI 6.5, 20.2 (grammar of AML), 5.2.6 (header of a table), 19.6.100 (OperationRegion).
    """
    count = len(MAGIC)
    memory = b"\x5b\x80" + name("MEMR") + b"\x00\x0e" + struct.pack("<Q", address) + b"\x0a" + bytes([count])
    cells = b"".join(name(f"M{number}") + b"\x08" for number in range(count))
    fields = b"\x5b\x81" + sized(name("MEMR") + b"\x01" + cells)
    port = b"\x5b\x80" + name("UART") + b"\x01\x0b\xf8\x03\x0a\x01"
    port += b"\x5b\x81" + sized(name("UART") + b"\x01" + name("THR") + b"\x08")
    code = b"".join(b"\x70\x0a" + bytes([byte]) + name("THR") for byte in b"\nread:")
    code += b"".join(b"\x70" + name(f"M{number}") + name("THR") for number in range(count))
    body = memory + fields + port + code + b"\x70\x0a\x0a" + name("THR")
    table = bytearray(
        b"SSDT" + struct.pack("<IBB6s8sI4sI", 36 + len(body), 2, 0, b"HOST", b"ATTACK", 1, b"HOST", 1) + body
    )
    table[9] = -sum(table) & 0xFF
    return bytes(table)


def boot(kernel: Path, initrd: Path, *options: str) -> bytes:
    """The console of a machine whose kernel finds no first process, and so ends."""
    program = require_tool("qemu-system-x86_64", "qemu-system-x86")
    done = subprocess.run(
        [
            str(program), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-accel", "tcg",
            "-machine", "q35,usb=off,vmport=off,smm=off,hpet=off", "-cpu", CPU_MODEL, "-m", "256M",
            "-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initrd), "-append", CMDLINE, *options,
        ],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=BOOT_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"Kernel panic" in done.stdout, done.stdout[-3000:]
    return done.stdout


def with_attack(kernel: Path, directory: Path) -> bytes:
    """The console of a machine whose host attacks, after it has seen where the initial RAM disk goes."""
    initrd, table = directory / "initrd", directory / "table"
    initrd.write_bytes(b"".join(pack({"empty": Directory()})))
    place = re.compile(rb"RAMDISK: \[mem 0x([0-9a-f]+)-")
    found = place.search(boot(kernel, initrd))
    assert found is not None
    table.write_bytes(attack(int(found[1], 16)))
    console = boot(kernel, initrd, "-acpitable", f"file={table}")
    again = place.search(console)
    assert again is not None
    assert again[1] == found[1]
    assert b"ATTACK" in console  # the kernel has the table
    return console


def test_code_of_the_hosts_in_acpi_tables_does_not_read_memory(own: Path, tmp_path: Path) -> None:
    console = with_attack(own, tmp_path)
    assert b"read:" in console  # the code has run
    assert MAGIC not in console


def test_such_code_reads_memory_on_the_stock_kernel(own: Path, stock: Path, tmp_path: Path) -> None:
    assert own  # beside it: this one shows that the attack is one
    assert b"read:" + MAGIC in with_attack(stock, tmp_path)
