"""Where benches keep what they make, the guests that they compile, and the commands that they run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
BUILD: Final = ROOT / "build" / "bench"
GUESTS: Final = Path(__file__).resolve().parent / "guests"


class BenchError(Exception):
    """A bench cannot be run, or what it measures does not work; the message says why."""


def enarx() -> str:
    """The installed command, as a user runs it."""
    command = Path(sys.executable).parent / "enarx"
    if not command.exists():
        raise BenchError(f"{command} does not exist: run `make setup`")
    return str(command)


def run_enarx(*arguments: str | Path) -> list[str]:
    """``enarx run`` with a cache of compiled code of the benches' own."""
    BUILD.mkdir(parents=True, exist_ok=True)
    return [enarx(), "run", "--cache-dir", str(BUILD / "cache"), *map(str, arguments)]


def output_of(command: Sequence[str]) -> str:
    """Standard output of a command that must exit 0. Raises BenchError."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BenchError(f"{' '.join(command)} ended with {result.returncode}:\n{result.stderr}")
    return result.stdout


def guest(name: str) -> Path:
    """``guests/NAME.c`` compiled to WebAssembly, if it is not already. Raises BenchError."""
    source, target = GUESTS / f"{name}.c", BUILD / f"{name}.wasm"
    if target.exists() and target.stat().st_mtime > source.stat().st_mtime:
        return target
    clang = shutil.which("clang")
    if clang is None:
        raise BenchError("clang is not installed; requirements/apt.txt lists the Debian packages that benches need")
    BUILD.mkdir(parents=True, exist_ok=True)
    output_of([clang, "--target=wasm32-wasi", "-O2", "-Wall", "-Werror", str(source), "-o", str(target)])
    return target
