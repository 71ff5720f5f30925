"""The coverage gate: a package below it fails, by itself, whatever the others reach."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import coverage_gate


def write_report(root: Path, files: dict[str, tuple[int, int, int, int]], *, branches: bool = True) -> str:
    """A report in the form of ``coverage json``; each file has lines and branches as covered, total."""
    report: dict[str, Any] = {"meta": {"branch_coverage": branches}, "files": {}}
    keys = ("covered_lines", "num_statements", "covered_branches", "num_branches")
    for name, figures in files.items():
        report["files"][name] = {"summary": dict(zip(keys, figures, strict=True))}
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    path = root / "coverage.json"
    path.write_text(json.dumps(report))
    return str(path)


def test_packages_at_the_gate_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = write_report(tmp_path, {"src/enarx/keep/a.py": (80, 90, 10, 10), "src/enarx/evidence/b.py": (9, 9, 0, 0)})
    assert coverage_gate.main([report], tmp_path) == 0
    assert "ok   src/enarx/keep   90.00 %" in capsys.readouterr().out


def test_one_branch_below_the_gate_fails_and_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"src/enarx/keep/a.py": (81, 90, 8, 10), "src/enarx/keep/wasi/b.py": (10, 10, 0, 0)}
    assert coverage_gate.main([write_report(tmp_path, files)], tmp_path) == 0
    files["src/enarx/keep/a.py"] = (81, 90, 7, 10)
    assert coverage_gate.main([write_report(tmp_path, files)], tmp_path) == 1
    printed = capsys.readouterr().out
    assert "FAIL src/enarx/keep" in printed
    assert "88.00 %  src/enarx/keep/a.py" in printed
    assert "wasi/b.py" not in printed


def test_a_good_package_does_not_carry_a_bad_one(tmp_path: Path) -> None:
    files = {"src/enarx/keep/a.py": (10_000, 10_000, 0, 0), "src/enarx/tenant/b.py": (8, 10, 0, 0)}
    assert coverage_gate.main([write_report(tmp_path, files)], tmp_path) == 1


def test_a_package_without_a_gate_is_not_judged(tmp_path: Path) -> None:
    files = {"src/enarx/keep/a.py": (9, 10, 0, 0), "src/enarx/keeper/b.py": (0, 10, 0, 0)}
    assert coverage_gate.main([write_report(tmp_path, files)], tmp_path) == 0


def test_a_package_that_was_not_measured_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = write_report(tmp_path, {"src/enarx/keep/a.py": (9, 10, 0, 0)})
    (tmp_path / "src/enarx/evidence").mkdir()
    (tmp_path / "src/enarx/evidence/unseen.py").touch()
    assert coverage_gate.main([report], tmp_path) == 1
    assert "not measured" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"meta": {"branch_coverage": true}}'])
def test_a_report_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "coverage.json").write_text(text)
    assert coverage_gate.main([str(tmp_path / "coverage.json")], tmp_path) == 2


def test_a_report_without_branches_is_refused(tmp_path: Path) -> None:
    report = write_report(tmp_path, {"src/enarx/keep/a.py": (9, 9, 0, 0)}, branches=False)
    assert coverage_gate.main([report], tmp_path) == 2


def test_no_report_is_refused(tmp_path: Path) -> None:
    assert coverage_gate.main([], tmp_path) == 2
    assert coverage_gate.main([str(tmp_path / "none.json")], tmp_path) == 2


def test_it_reads_what_coverage_writes(tmp_path: Path) -> None:
    package = tmp_path / "src/enarx/keep"
    package.mkdir(parents=True)
    (package / "a.py").write_text("import sys\nif len(sys.argv) > 5:\n    print()\n    print()\n")
    coverage = [sys.executable, "-m", "coverage"]
    for command in (["run", "--branch", "--source=src", "src/enarx/keep/a.py"], ["json", "-o", "c.json"]):
        subprocess.run([*coverage, *command], cwd=tmp_path, env={}, check=True, capture_output=True)
    measured = json.loads((tmp_path / "c.json").read_text())["files"]
    assert coverage_gate.file_coverage(measured, coverage_gate.SOURCE / "keep") == [
        coverage_gate.Coverage("src/enarx/keep/a.py", executed=2 + 1, total=4 + 2)
    ]
    assert coverage_gate.main([str(tmp_path / "c.json")], tmp_path) == 1
