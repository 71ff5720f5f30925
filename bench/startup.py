"""Start-up: whole processes, from spawn to exit, as a user waits for them."""

from __future__ import annotations

import statistics
import sys
from typing import Final

from bench.figure import Better, Figure
from bench.measure import process_ms, quartiles, take_turns
from bench.workspace import enarx, guest, run_enarx

ROUNDS: Final = 25
RUN_BAR_MS: Final = 150.0
HELP_BAR_MS: Final = 60.0
_PEER: Final = "python -I -c pass"


def run() -> list[Figure]:
    """``enarx run hello.wasm`` with a warm cache, and ``enarx --help``, against an interpreter that does nothing."""
    commands = {
        "enarx run hello.wasm": run_enarx(guest("hello")),
        "enarx --help": [enarx(), "--help"],
        _PEER: [sys.executable, "-I", "-c", "pass"],
    }
    bars = {"enarx run hello.wasm": RUN_BAR_MS, "enarx --help": HELP_BAR_MS}
    contestants = {name: lambda command=command: process_ms(command) for name, command in commands.items()}
    times = take_turns(ROUNDS, contestants, warm_up=3)
    bare = statistics.median(times[_PEER])
    return [_figure(name, times[name], bar, bare) for name, bar in bars.items()]


def _figure(name: str, times: list[float], bar: float, bare: float) -> Figure:
    median = statistics.median(times)
    lower, upper = quartiles(times)
    details = {
        "least_ms": min(times), "lower_quartile_ms": lower, "upper_quartile_ms": upper,
        "peer_ms": bare, "times_peer": median / bare,
    }  # fmt: skip
    return Figure(name, median, "ms", Better.LOWER, _PEER, bar, details)
