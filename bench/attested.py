"""An attested launch: from ``enarx run --steward`` to the workload's first output, measurement and Steward included.

A real Steward beside it, on SQLite; code compiled and the simulated processor made before. What the workload's first
instruction takes to become a byte in a pipe is part of it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.figure import Better, Figure
from bench.measure import quartiles, take_turns
from bench.workspace import BenchError, enarx, guest
from tests.e2e.attested import Tenant, tenant
from tests.e2e.command import environment

ROUNDS: Final = 15
BAR_MS: Final = 400.0


def run() -> list[Figure]:
    """Attested and, for comparison, the same launch without a Steward."""
    module = guest("hello")
    with tempfile.TemporaryDirectory(prefix="enarx-bench-") as made, tenant(Path(made), module.read_bytes()) as ours:
        attested = [enarx(), "run", *ours.options(), str(module)]
        alone = [enarx(), "run", str(module)]
        contestants = {
            "attested": lambda: _first_output_ms(attested, ours),
            "alone": lambda: _first_output_ms(alone, ours),
        }
        times = take_turns(ROUNDS, contestants, warm_up=3)
    median, plain = statistics.median(times["attested"]), statistics.median(times["alone"])
    lower, upper = quartiles(times["attested"])
    details = {
        "least_ms": min(times["attested"]), "lower_quartile_ms": lower, "upper_quartile_ms": upper,
        "without_steward_ms": plain, "attestation_ms": median - plain,
    }  # fmt: skip
    return [
        Figure("enarx run --steward, first output", median, "ms", Better.LOWER, "the same unattested", BAR_MS, details)
    ]


def _first_output_ms(command: list[str], ours: Tenant) -> float:
    """Milliseconds from spawning ``command`` until the workload has written something. It must exit 0."""
    begun = time.perf_counter()
    with subprocess.Popen(
        command, env=environment(ours.home), cwd=ours.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        first = os.read(process.stdout.fileno(), 1)
        elapsed = time.perf_counter() - begun
        process.communicate()
    if process.returncode or not first:
        raise BenchError(f"{' '.join(command)} ended with {process.returncode}")
    return elapsed * 1000
