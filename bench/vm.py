"""A Keep in a virtual machine, without KVM, against the least that its kernel and its interpreter take to start.

The floor is measured in the same run on the same QEMU: the image's kernel booted with an initial RAM disk that holds
one process of a few instructions, until that has said a word; and how much longer that process takes, in the image's
own files, to become a bare interpreter that says one. Against it stands the whole of ``enarx run`` with a warm
cache: the command's own start-up, the machine booted, the link made, the sandbox entered, the code received, the
workload run.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.figure import Better, Figure
from bench.measure import take_turns
from bench.workspace import BUILD, GUESTS, BenchError, enarx, guest, output_of, run_enarx
from enarx.host.image.layout import Image, open_image
from enarx.host.image.newc import File, Node, pack
from enarx.host.qemu.child import QemuProcess
from enarx.host.qemu.command import Descriptors, vm_arguments
from enarx.host.qemu.machine import Machine
from enarx.host.qemu.program import find_qemu
from tests import programs

ROUNDS: Final = 5
LAUNCH_BAR: Final = 1.35
DEMO_BAR_SECONDS: Final = 30.0
MEMORY_BAR_MIB: Final = 256
IDLE_SECONDS: Final = 10.0
SETTLE_SECONDS: Final = 3.0
_FLOOR_OPTIONS: Final = "console=ttyS0 quiet panic=-1 random.trust_cpu=on rdinit=/floor"


def run() -> list[Figure]:
    """Launch, demo, memory, and what an idle Keep costs its host."""
    directory = BUILD / "image"
    output_of([enarx(), "image", "build", "-o", str(directory)])
    image = open_image(directory)
    with tempfile.TemporaryDirectory(prefix="enarx-bench-") as made:
        floor, interpreter = _floors(image, Path(made))
        contestants = {
            "floor": lambda: (_said(floor, b"floor"), 0.0),
            "interpreter": lambda: _between(interpreter, b"floor", b"interpreter"),
            "keep": lambda: (_first_output(directory), 0.0),
        }
        results = take_turns(ROUNDS, contestants)
    kernel = statistics.median(first for first, _ in results["floor"])
    python = statistics.median(second - first for first, second in results["interpreter"])
    keep = statistics.median(first for first, _ in results["keep"])
    details = {"kernel_to_init_s": kernel, "interpreter_s": python, "keep_s": keep}
    launch = Figure(
        "vm: launch to hello's first output", keep / (kernel + python), "x", Better.LOWER,
        "that kernel to a C init, and a bare interpreter", LAUNCH_BAR, details,
    )  # fmt: skip
    return [launch, _demo(directory), _memory(directory), *_idle(directory)]


def _floors(image: Image, directory: Path) -> tuple[Image, Image]:
    """The kernel with one process alone, and with the same process beside the files of the image."""
    clang, linker = shutil.which("clang"), shutil.which("ld.lld")
    if clang is None or linker is None:
        raise BenchError("clang and lld are not installed; requirements/apt.txt lists the Debian packages")
    compiled, program = directory / "floor.o", directory / "floor"
    output_of([clang, "-O1", "-ffreestanding", "-c", str(GUESTS / "floor.c"), "-o", str(compiled)])
    output_of([linker, "-static", str(compiled), "-o", str(program)])
    archive = b"".join(pack({"dev/console": Node(5, 1), "floor": File(program.read_bytes(), executable=True)}))
    alone, beside = directory / "alone", directory / "beside"
    alone.write_bytes(archive)
    own = image.initrd.read_bytes()
    beside.write_bytes(own + bytes(-len(own) % 512) + archive)  # the kernel unpacks one archive after the other
    return replace(image, initrd=alone, cmdline=_FLOOR_OPTIONS), replace(image, initrd=beside, cmdline=_FLOOR_OPTIONS)


def _said(image: Image, word: bytes) -> float:
    """Seconds from starting QEMU until a guest of ``image`` says ``word`` on its console."""
    return _between(image, word, word)[1]


def _between(image: Image, first: bytes, second: bytes) -> tuple[float, float]:
    """The same for two words."""
    ours, theirs = socket.socketpair()
    monitor, far_monitor = socket.socketpair()
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.bind("")  # a name of the kernel's choosing: nobody will connect
    link.listen()
    descriptors = Descriptors(far_monitor.fileno(), theirs.fileno(), link.fileno())
    begun = time.perf_counter()
    process = QemuProcess(find_qemu(), vm_arguments(image, Machine(), "tcg", descriptors), descriptors.all())
    os.close(process.errors)
    for end in (theirs, far_monitor, link):
        end.close()
    said, times = b"", list[float]()
    with ours, monitor:
        ours.settimeout(120)
        for word in (first, second):
            while word not in said:
                part = ours.recv(4096)
                if not part:
                    raise BenchError(f"the guest did not say {word.decode()}: {said.decode(errors='replace')[-500:]}")
                said += part
            times.append(time.perf_counter() - begun)
        process.kill()
        process.wait()
    return times[0], times[1]


def _environment(image: Path) -> Mapping[str, str]:
    return os.environ | {"ENARX_IMAGE": str(image), "ENARX_ACCEL": "tcg"}


def _first_output(image: Path, *options: str) -> float:
    """Seconds from spawning ``enarx run`` until hello has written something."""
    command = run_enarx("--backend", "vm", *options, guest("hello"))
    begun = time.perf_counter()
    with subprocess.Popen(
        command, env=_environment(image), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        first = os.read(process.stdout.fileno(), 1)
        elapsed = time.perf_counter() - begun
        process.communicate()
    if process.returncode or not first:
        raise BenchError(f"{' '.join(command)} ended with {process.returncode}")
    return elapsed


def _demo(image: Path) -> Figure:
    """The whole attested flow, twice: the Keep that serves, and the one that is refused."""
    begun = time.perf_counter()
    done = subprocess.run(
        [enarx(), "demo", "--backend", "vm"], env=_environment(image), capture_output=True, text=True, check=False
    )
    elapsed = time.perf_counter() - begun
    if done.returncode:
        raise BenchError(f"enarx demo --backend vm ended with {done.returncode}:\n{done.stderr}")
    return Figure("enarx demo --backend vm", elapsed, "s", Better.LOWER, "a user's patience", DEMO_BAR_SECONDS)


def _memory(image: Path) -> Figure:
    elapsed = _first_output(image, "--memory", f"{MEMORY_BAR_MIB}M")
    return Figure(
        "vm: memory in which hello runs", MEMORY_BAR_MIB, "MiB", Better.LOWER, "the guest's memory", MEMORY_BAR_MIB,
        {"first_output_s": elapsed},
    )  # fmt: skip


def _idle(image: Path) -> list[Figure]:
    """What the host pays for a workload that waits: memory, shared pages by their share, and CPU time."""
    figures = []
    for kind in ("process", "vm"):
        with tempfile.TemporaryDirectory(prefix="enarx-bench-") as made:
            module = Path(made, "waits.wasm")
            module.write_bytes(programs.WAIT_CLOCK)
            command = [enarx(), "run", "--no-cache", "--backend", kind, str(module)]
            with subprocess.Popen(
                command, env=_environment(image), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            ) as host:
                assert host.stdout is not None
                host.stdout.readline()
                time.sleep(SETTLE_SECONDS)
                family = [host.pid, *_children(host.pid)]
                before = sum(map(_cpu_seconds, family))
                time.sleep(IDLE_SECONDS)
                used = (sum(map(_cpu_seconds, family)) - before) / IDLE_SECONDS
                memory = sum(map(_memory_mib, family))
                details = {"host_mib": _memory_mib(host.pid), "cpu_percent": used * 100}
                host.send_signal(signal.SIGTERM)
                host.communicate()
        figures.append(Figure(f"{kind}: idle Keep and its host", memory, "MiB", Better.LOWER, "none", None, details))
    return figures


def _children(pid: int) -> list[int]:
    """All processes below one."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text("ascii").split():
            found += [int(child), *_children(int(child))]
    return found


def _cpu_seconds(pid: int) -> float:
    """Source: proc(5), stat, utime and stime."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mib(pid: int) -> float:
    """Proportional set size. Source: proc(5), smaps_rollup."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
