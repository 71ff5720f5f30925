"""Runs benches, prints their figures as a table and writes them as JSON. Exit status 1 when a bar is missed."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Final

from bench.figure import Better, Figure
from bench.workspace import ROOT, BenchError

BENCHES: Final = {
    "startup": "bench.startup",
    "tls": "bench.tls_echo",
    "cpu": "bench.cpu",
    "evidence": "bench.evidence",
    "launch-digest": "bench.launch_digest",
    "package": "bench.package",
    "attested": "bench.attested",
    "steward": "bench.steward",
    "steward-kill": "bench.steward_kill",
    "deploy": "bench.deploy",
    "registry": "bench.registry",
    "client": "bench.client",
    "kernel": "bench.kernel",
    "mux": "bench.mux",
    "vm": "bench.vm",
}
"""Benches by name: modules whose ``run()`` returns figures."""
BUSY: Final = 0.5
"""Load per core above which times, and ratios of what needs two cores, are not to be trusted."""
OUTPUT: Final = ROOT / "build" / "bench.json"


def main() -> int:
    """Run the named benches, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Enarx against its bars.")
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"which benches: {', '.join(BENCHES)} (default: all)")
    parser.add_argument("--output", metavar="FILE", type=Path, default=OUTPUT, help="where the JSON goes")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in BENCHES]
    if unknown:
        parser.error(f"there is no bench {unknown[0]!r}; there are {', '.join(BENCHES)}")
    started = datetime.now(UTC)
    load_before = os.getloadavg()[0]
    figures: list[Figure] = []
    for name in args.names or BENCHES:
        print(f"bench: {name}", file=sys.stderr, flush=True)
        run: Callable[[], list[Figure]] = import_module(BENCHES[name]).run
        try:
            figures += run()
        except BenchError as error:
            print(f"bench: {name}: {error}", file=sys.stderr)
            return 2
    report = {
        "started": started.isoformat(timespec="seconds"),
        "machine": _machine() | {"load_before": load_before},
        "figures": [figure.as_json() for figure in figures],
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(_table(figures))
    cores = len(os.sched_getaffinity(0))
    if load_before > BUSY * cores:
        print(
            f"The load was {load_before:.1f} on {cores} cores before the first bench: measure again when it is quiet."
        )
    return 0 if all(figure.ok for figure in figures) else 1


def _machine() -> dict[str, object]:
    """What the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text("ascii").splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _table(figures: list[Figure]) -> str:
    rows = [("", "value", "bar", "", "measured against")]
    for figure in figures:
        sign = "<=" if figure.better is Better.LOWER else ">="
        bar = "" if figure.bar is None else f"{sign} {figure.bar:g} {figure.unit}"
        verdict = "" if figure.bar is None else "ok" if figure.ok else "MISSED"
        rows.append((figure.name, f"{figure.value:.3g} {figure.unit}", bar, verdict, figure.peer))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    sys.exit(main())
