"""kill -9 of the Steward under load, fifty times: certificates without their row in the log, the slowest restart."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from bench.figure import Better, Figure
from tests.tenant.steward.killing import CLIENTS, kill_under_load

ROUNDS: Final = 50
RESTART_BAR_S: Final = 2.0


def run() -> list[Figure]:
    """Both after one run."""
    with tempfile.TemporaryDirectory(prefix="enarx-bench-") as made:
        survived = kill_under_load(Path(made), ROUNDS)
    peer = f"{ROUNDS} kills, {CLIENTS} clients"
    held = {"certificates_count": float(survived.held)}
    return [
        Figure("steward kill -9, certificates lost", survived.lost, "rows", Better.LOWER, peer, 0.0, held),
        Figure("steward kill -9, restart", survived.slowest_restart, "s", Better.LOWER, "the slowest", RESTART_BAR_S),
    ]
