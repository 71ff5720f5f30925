"""The kernel of our own against Debian's cloud kernel: bytes, and the time to the first process.

Both start under TCG, in turns, with the same machine, command line and initial RAM disk, which has one program of a few
instructions. Time counts from the start of QEMU until that program has written to the console: the firmware's part is
in both.
"""

from __future__ import annotations

import select
import shutil
import statistics
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Final

from bench.figure import Better, Figure
from bench.measure import quartiles, take_turns
from bench.workspace import BUILD, GUESTS, BenchError, output_of
from enarx.host.image.build import COMMON, stock_kernel
from enarx.host.image.fetch import Inputs, default_cache
from enarx.host.image.kernel import Builder
from enarx.host.image.lock import read_lock
from enarx.host.image.newc import File, Node, pack
from enarx.host.qemu.machine import CPU_MODEL

ROUNDS: Final = 7
BYTES_BAR: Final = 0.45
BOOT_BAR: Final = 0.7
BOOT_SECONDS: Final = 120.0
"""How long a kernel may take, in seconds."""
MEMORY: Final = "256M"
LINE: Final = b"the first process runs"
CMDLINE: Final = " ".join(word for word in COMMON if not word.startswith("rdinit="))
_PEER: Final = "Debian's cloud kernel"


def run() -> list[Figure]:
    """Bytes and boot time of the own kernel as parts of the stock kernel's."""
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        raise BenchError("qemu-system-x86_64 is not installed; requirements/apt.txt has its package")
    BUILD.mkdir(parents=True, exist_ok=True)
    lock, inputs = read_lock(None), Inputs(default_cache(), print)
    paths = {"own": BUILD / "vmlinuz-own", "stock": BUILD / "vmlinuz-stock"}
    paths["own"].write_bytes(Builder(lock, inputs, tell=print).kernel(default_cache() / "kernels").product.vmlinuz)
    paths["stock"].write_bytes(stock_kernel(lock, inputs).vmlinuz)
    initrd = BUILD / "init.cpio"
    initrd.write_bytes(b"".join(pack({"init": File(_init(), executable=True), "dev/console": Node(5, 1)})))
    times = take_turns(ROUNDS, {name: partial(_boot, program, path, initrd) for name, path in paths.items()})
    return [_bytes(paths), _time(times)]


def _bytes(paths: dict[str, Path]) -> Figure:
    sizes = {name: path.stat().st_size for name, path in paths.items()}
    details = {"own_bytes": float(sizes["own"]), "stock_bytes": float(sizes["stock"])}
    return Figure("own kernel: bytes", sizes["own"] / sizes["stock"], "x", Better.LOWER, _PEER, BYTES_BAR, details)


def _time(times: dict[str, list[float]]) -> Figure:
    medians = {name: statistics.median(values) for name, values in times.items()}
    lower, upper = quartiles([own / stock for own, stock in zip(times["own"], times["stock"], strict=True)])
    details = {
        "own_ms": medians["own"], "stock_ms": medians["stock"], "own_least_ms": min(times["own"]),
        "stock_least_ms": min(times["stock"]), "lower_quartile_x": lower, "upper_quartile_x": upper,
    }  # fmt: skip
    ratio = medians["own"] / medians["stock"]
    return Figure("own kernel: boot to the first process", ratio, "x", Better.LOWER, _PEER, BOOT_BAR, details)


def _init() -> bytes:
    clang = shutil.which("clang")
    if clang is None:
        raise BenchError("clang is not installed; requirements/apt.txt has its package")
    target = BUILD / "init"
    options = ["--target=x86_64-linux-gnu", "-Os", "-Wall", "-Werror", "-nostdlib", "-static", "-fuse-ld=lld", "-Wl,-s"]
    output_of([clang, *options, str(GUESTS / "init.c"), "-o", str(target)])
    return target.read_bytes()


def _boot(program: str, kernel: Path, initrd: Path) -> float:
    """Milliseconds from the start of QEMU until the first process has written its line. Raises BenchError."""
    command = [
        program, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-accel", "tcg",
        "-machine", "q35,usb=off,vmport=off,smm=off,hpet=off", "-cpu", CPU_MODEL, "-m", MEMORY, "-serial", "stdio",
        "-kernel", str(kernel), "-initrd", str(initrd), "-append", CMDLINE,
    ]  # fmt: skip
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    )
    try:
        if process.stdout is None:
            raise BenchError("QEMU has no standard output")
        said = b""
        while LINE not in said:
            left = start + BOOT_SECONDS - time.perf_counter()
            if (
                left <= 0
                or not select.select([process.stdout], [], [], left)[0]
                or not (part := process.stdout.read(4096))
            ):
                raise BenchError(f"{kernel.name} does not start: {said[-2000:].decode('utf-8', 'replace')}")
            said += part
        return (time.perf_counter() - start) * 1000
    finally:
        process.kill()
        process.communicate()
