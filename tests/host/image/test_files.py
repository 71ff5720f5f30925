"""The initial RAM disk has every file that a Keep opens, and no other."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from enarx.host.image.build import left_out, listed
from tests.host.image.trace import FILES, opened

RENEW = ".venv/bin/python -m tests.host.image.trace"


def test_files_are_what_a_keep_opens(require_tool: Callable[[str, str], Path], tmp_path: Path) -> None:
    strace = require_tool("strace", "strace")
    if subprocess.run([strace, "-qq", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody trace a process")
    found = opened(tmp_path)
    assert sorted(found - listed()) == [], f"files are missing from {FILES}: {RENEW} writes it anew"
    assert sorted(listed() - found) == [], f"nobody opens some files in {FILES}: {RENEW} writes it anew"


def test_list_is_sorted_and_names_nothing_twice() -> None:
    lines = [line for line in FILES.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    kept = [line for line in lines if not line.startswith("!")]
    assert lines == [*sorted(kept), *sorted(set(lines) - set(kept))]
    assert len(lines) == len(set(lines)) == len(listed()) + len(left_out())
    assert not listed() & left_out()


def test_nothing_that_could_be_a_tool_for_an_intruder_is_in_it() -> None:
    assert [path for path in listed() if path.startswith(("bin/", "sbin/", "usr/bin/", "usr/sbin/"))] == [
        "usr/bin/python3.11"
    ]
    assert not [path for path in listed() if path.endswith((".py", ".a", ".h", ".sh"))]
    for name in ("pip", "ensurepip", "venv", "subprocess.pyc", "pdb.pyc", "cmd.pyc", "pty.pyc"):
        assert f"usr/lib/python3.11/{name}" not in listed()
