"""A Steward that is killed at any point under load has logged every certificate that anybody holds."""

from __future__ import annotations

import os
from pathlib import Path

from tests.tenant.steward.killing import kill_under_load

ROUNDS = int(os.environ.get("ENARX_KILL_ROUNDS", "5"))
"""How often the Steward is killed (count); each takes about two seconds. `make bench` does it fifty times."""


def test_kill_9_under_load_loses_no_log_row(tmp_path: Path) -> None:
    survived = kill_under_load(tmp_path, ROUNDS)
    assert survived.lost == 0
    assert survived.held, "no certificate was issued, so nothing was tested"
