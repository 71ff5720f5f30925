"""Registry: push and pull of a package against oras-py on the same docker-registry, and memory for a large one.

Each transfer is a process of its own, so that neither side profits from what the other has warmed up but the page
cache. Times are those of the transfer without the start of Python. oras-py checks no digest; ours is timed with the
check of every byte.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from bench.figure import Better, Figure
from bench.measure import quartiles, take_turns
from bench.workspace import BenchError
from enarx import archive
from tests.registry.running import registry

ROUNDS: Final = 7
SIZE: Final = 200_000_000
LARGE: Final = 1 << 30
RATIO_BAR: Final = 1.0
MEMORY_BAR_MB: Final = 150.0
HEAD: Final = archive.header(archive.MODULE, 0)
"""What a package begins with, as far as a registry client looks."""
SECONDS: Final = 600


def run() -> list[Figure]:
    """Two ratios, two memories."""
    if shutil.which("docker-registry") is None:
        raise BenchError("docker-registry is not installed; requirements/apt.txt lists the Debian packages")
    with tempfile.TemporaryDirectory(prefix="enarx-bench-", dir=os.environ.get("ENARX_BENCH_DIR")) as made:
        directory = Path(made)
        with registry(directory) as running:
            return [*_throughput(directory, running.host), *_memory(directory, running.host)]


def _throughput(directory: Path, host: str) -> list[Figure]:
    package = _package(directory / "package", SIZE)
    pushed = f"{host}/bench/pulled:v1"
    _transfer("push-command", package, pushed)
    figures = []
    for verb, target in (("push", ""), ("pull", pushed)):
        contestants: Mapping[str, Callable[[], float]] = {
            name: partial(_timed, f"{verb}-{name}", package, target, host) for name in ("ours", "oras")
        }
        results = take_turns(ROUNDS, contestants)
        ratios = [theirs / ours for ours, theirs in zip(results["ours"], results["oras"], strict=True)]
        ours, theirs = (statistics.median(results[name]) for name in ("ours", "oras"))
        low, high = quartiles(ratios)
        details = {
            "ours_mb_per_s": SIZE / ours / 1e6,
            "oras_mb_per_s": SIZE / theirs / 1e6,
            "lower_quartile_ratio": low,
            "upper_quartile_ratio": high,
        }
        name = f"registry {verb}, 200 MB"
        figures.append(
            Figure(name, statistics.median(ratios), "x", Better.HIGHER, "oras-py, same registry", RATIO_BAR, details)
        )
    return figures


def _memory(directory: Path, host: str) -> list[Figure]:
    package = _package(directory / "package", LARGE)
    where = f"{host}/bench/large:v1"
    figures = []
    for verb in ("push", "pull"):
        seconds, memory = _transfer(f"{verb}-command", package, where)
        details = {"seconds": seconds, "mb_per_s": LARGE / seconds / 1e6}
        figures.append(
            Figure(
                f"registry {verb} memory, 1 GB",
                memory,
                "MB",
                Better.LOWER,
                f"enarx package {verb}, above a bare Python",
                MEMORY_BAR_MB,
                details,
            )
        )
    return figures


def _package(path: Path, size: int) -> Path:
    """A file that cannot be compressed, of that size."""
    with path.open("wb") as file:
        written = file.write(HEAD)
        while written < size:
            written += file.write(os.urandom(min(1 << 20, size - written)))
    return path


def _timed(what: str, package: Path, target: str, host: str) -> float:
    return _transfer(what, package, target or f"{host}/bench/{uuid.uuid4().hex}:v1")[0]


def _transfer(what: str, package: Path, target: str) -> tuple[float, float]:
    """Seconds of one transfer, and how far it raised its process's memory (MB)."""
    with tempfile.TemporaryDirectory(dir=package.parent) as home:
        done = subprocess.run(
            [sys.executable, "-m", "bench.registry_client", what, str(package), target],
            env={**os.environ, "HOME": home, "DOCKER_CONFIG": home, "ENARX_STORE_DIR": f"{home}/store"},
            stdout=subprocess.PIPE,
            timeout=SECONDS,
            check=False,
        )
    if done.returncode:
        raise BenchError(f"{what} of {package} ended with {done.returncode}")
    seconds, memory = done.stdout.split()[-2:]
    return float(seconds), float(memory)
