"""SNP launch digests against sev-snp-measure, in one process and in turns, so that both meet the same machine.

The launch is a 4 MiB firmware, of whose 1024 pages 376 are distinct as in OVMF builds, and 60 MiB of kernel and initrd,
all read from files in the page cache. "cold" reads and hashes everything; "known" has the digest of the firmware and
the SHA-256 of kernel and initrd, and computes the rest. Figures are medians over the rounds.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sevsnpmeasure import guest
from sevsnpmeasure.sev_mode import SevMode

from bench.figure import Better, Figure
from enarx.evidence.launchfile import kernel_hashes, read_firmware
from enarx.evidence.snp import measure
from enarx.evidence.vcpu import vcpu_signature
from enarx.evidence.vmsa import Vcpus
from tests.evidence.ovmf_images import PAGE, ovmf_image

ROUNDS = 9
KNOWN_REPEATS = 200
FIRMWARE_PAGES = 1024
DISTINCT_PAGES = 376
KERNEL_BYTES = 12 << 20
INITRD_BYTES = 48 << 20
CMDLINE = "console=ttyS0 panic=-1"
VCPUS = Vcpus(4, vcpu_signature("EPYC-Milan"))
BARS = {"cold": 1.6, "known": 100.0}
"""Least ratio of sev-snp-measure's time to ours."""


def firmware() -> bytes:
    """A firmware image with as many pages, and as many distinct ones, as a 4 MiB OVMF."""
    noise = random.Random(1)
    distinct = b"".join(noise.randbytes(PAGE) for _ in range(DISTINCT_PAGES - 2))
    return ovmf_image(head=distinct, pages=FIRMWARE_PAGES)


def milliseconds(call: Callable[[], object], repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) * 1000 / repeats


def measure_in(folder: Path) -> list[Figure]:
    """Measure in ``folder``. Raises RuntimeError when the digests differ."""
    noise = random.Random(2)
    paths = {name: folder / name for name in ("ovmf", "kernel", "initrd")}
    image = firmware()
    paths["ovmf"].write_bytes(image)
    paths["kernel"].write_bytes(noise.randbytes(KERNEL_BYTES))
    paths["initrd"].write_bytes(noise.randbytes(INITRD_BYTES))
    known_firmware = measure.measure_firmware(image)
    known_kernel = kernel_hashes(paths["kernel"], paths["initrd"], CMDLINE)

    def theirs() -> bytes:
        files = [str(paths[name]) for name in ("ovmf", "kernel", "initrd")]
        digest: bytes = guest.calc_launch_digest(
            SevMode.SEV_SNP, VCPUS.count, VCPUS.signature, *files, CMDLINE, VCPUS.features
        )
        return digest

    def cold() -> bytes:
        kernel = kernel_hashes(paths["kernel"], paths["initrd"], CMDLINE)
        return measure.launch_digest(read_firmware(paths["ovmf"]), VCPUS, kernel)

    def known() -> bytes:
        return measure.launch_digest(known_firmware, VCPUS, known_kernel)

    if not theirs() == cold() == known():
        raise RuntimeError("the launch digests differ")
    rounds = [(milliseconds(theirs), milliseconds(cold), milliseconds(known, KNOWN_REPEATS)) for _ in range(ROUNDS)]
    reference, cold_ms, known_ms = (statistics.median(column) for column in zip(*rounds, strict=True))
    # Per round, where both ran under the same load: a burst of work elsewhere then moves neither ratio.
    ratios = {
        "cold": statistics.median(theirs_ms / ours_ms for theirs_ms, ours_ms, _ in rounds),
        "known": statistics.median(theirs_ms / ours_ms for theirs_ms, _, ours_ms in rounds),
    }
    details = {"sev_snp_measure_ms": reference, "cold_ms": cold_ms, "known_ms": known_ms}
    return [
        Figure(f"snp_launch_digest_{name}", ratios[name], "x", Better.HIGHER, "sev-snp-measure", bar, details)
        for name, bar in BARS.items()
    ]


def run() -> list[Figure]:
    """The figures of SNP launch digests."""
    with tempfile.TemporaryDirectory() as folder:
        return measure_in(Path(folder))
