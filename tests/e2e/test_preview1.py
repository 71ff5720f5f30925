"""What portable programs take for granted of WASI preview 1, through the command line, as they are run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import workloads

GUESTS = Path(__file__).parent / "guests"
HEADER = GUESTS / "preview1.h"
PROGRAMS = [GUESTS / "preview1_files.c", GUESTS / "preview1_paths.c"]
CHECKS = [
    pytest.param(program, name, id=name)
    for program in PROGRAMS
    for name in re.findall(r"\bCHECK\((\w+)\)", program.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("program", "check"), CHECKS)
def test_a_program_finds_what_it_takes_for_granted(program: Path, check: str, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    done = workloads.run(
        workloads.guest(program, HEADER), check, cwd=tmp_path, options=["--dir", f"{tmp_path / 'site'}::/"]
    )
    assert done.returncode == 0, done.stderr.decode()
    assert list((tmp_path / "site").iterdir()) == []


def test_a_program_without_a_directory_has_none(tmp_path: Path) -> None:
    done = workloads.run(workloads.guest(PROGRAMS[0], HEADER), cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
