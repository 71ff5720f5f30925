"""Fail when a package that must be well tested is not: the gate on branch coverage, for each package by itself.

Reads the report that ``coverage json`` writes. Coverage is what coverage.py calls it: executed lines and branches
over all lines and branches, files that no test imports included.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GATE_PERCENT = 90.0
GATED_PACKAGES = ("keep", "evidence", "tenant")
SOURCE = Path("src/enarx")


@dataclass(frozen=True, slots=True)
class Coverage:
    """Lines and branches of one package or file: how many were executed, out of how many."""

    name: str
    executed: int
    total: int

    @property
    def percent(self) -> float:
        return 100.0 * self.executed / self.total if self.total else 100.0


def file_coverage(measured: Mapping[str, Any], package: Path) -> list[Coverage]:
    """Those of the report's files that are in ``package``, the worst first."""
    found = []
    for name, entry in measured.items():
        if Path(name).is_relative_to(package):
            summary = entry["summary"]
            executed = summary["covered_lines"] + summary["covered_branches"]
            found.append(Coverage(name, executed, summary["num_statements"] + summary["num_branches"]))
    return sorted(found, key=lambda coverage: (coverage.percent, coverage.name))


def main(arguments: Sequence[str], root: Path) -> int:
    """Print a line for each gated package under ``root`` that exists; 1 when one is below the gate, 2 for bad input."""
    try:
        report = json.loads(Path(arguments[0]).read_text())
        if not report["meta"]["branch_coverage"]:
            raise ValueError("the report was made without branch coverage")
        measured = report["files"]
        packages = [SOURCE / name for name in GATED_PACKAGES if any((root / SOURCE / name).rglob("*.py"))]
        files = {package: file_coverage(measured, package) for package in packages}
    except (IndexError, OSError, ValueError, KeyError, TypeError) as error:
        print(f"coverage gate: no usable report from `coverage json`: {error!r}", file=sys.stderr)
        return 2
    below = False
    print(f"\nBranch coverage, gate {GATE_PERCENT:g} % for each package")
    for package, parts in files.items():
        whole = Coverage(str(package), sum(part.executed for part in parts), sum(part.total for part in parts))
        passed = bool(parts) and whole.percent >= GATE_PERCENT
        below = below or not passed
        figure = f"{whole.percent:6.2f} %" if parts else "not measured"
        print(f"  {'ok  ' if passed else 'FAIL'} {package}  {figure}")
        for part in parts:
            if not passed and part.percent < GATE_PERCENT:
                print(f"         {part.percent:6.2f} %  {part.name}")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parent.parent))
