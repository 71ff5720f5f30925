"""CPU-bound WebAssembly: the same module in a Keep and in the engine called directly, timed by the guest's clock."""

from __future__ import annotations

import math
import statistics
import sys
from pathlib import Path
from typing import Final

from bench.figure import Better, Figure
from bench.measure import quartiles, take_turns
from bench.workspace import BenchError, guest, output_of, run_enarx

ROUNDS: Final = 9
BAR: Final = 0.97
_PEER: Final = "wasmtime called directly"


def run() -> list[Figure]:
    """The speed of each kernel in a Keep as a part of its speed without one, and the geometric mean, which has the bar.

    In a Keep the engine is pinned to fewer features, linear memory is ours, and there are host functions in Python.
    """
    module = guest("kernels")
    direct = [sys.executable, "-I", str(Path(__file__).with_name("direct.py")), str(module)]
    results = take_turns(ROUNDS, {"keep": lambda: _kernels(run_enarx(module)), "direct": lambda: _kernels(direct)})
    figures = []
    for kernel in results["keep"][0]:
        keep = [times[kernel][0] for times in results["keep"]]
        peer = [times[kernel][0] for times in results["direct"]]
        if {times[kernel][1] for times in results["keep"] + results["direct"]} != {results["keep"][0][kernel][1]}:
            raise BenchError(f"{kernel} computed different things in the Keep and outside")
        ratio = statistics.median(peer) / statistics.median(keep)
        lower, upper = quartiles([without / within for within, without in zip(keep, peer, strict=True)])
        details = {
            "keep_ms": statistics.median(keep), "peer_ms": statistics.median(peer),
            "lower_quartile_x": lower, "upper_quartile_x": upper,
        }  # fmt: skip
        figures.append(Figure(f"CPU: {kernel}", ratio, "x", Better.HIGHER, _PEER, BAR, details))
    mean = math.prod(figure.value for figure in figures) ** (1 / len(figures))
    return [*figures, Figure("CPU: geometric mean", mean, "x", Better.HIGHER, _PEER, BAR)]


def _kernels(command: list[str]) -> dict[str, tuple[float, str]]:
    """Milliseconds and checksum by kernel."""
    lines = [line.split() for line in output_of(command).splitlines()]
    return {name: (int(nanoseconds) / 1e6, checksum) for name, nanoseconds, checksum in lines}
