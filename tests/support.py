"""What tests share: finding tools and test vectors, and skipping honestly where they are absent."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
VECTORS_VARIABLE = "ENARX_VECTORS"
INSTALLED = Path(sys.executable).parent / "enarx"
_command = [INSTALLED]


def command() -> Path:
    """``enarx`` as tests run it: the installed command, or what `run_instead` has put in its place."""
    return _command[-1]


@contextlib.contextmanager
def run_instead(program: Path) -> Iterator[None]:
    """Run ``program`` where tests run ``enarx``."""
    _command.append(program)
    try:
        yield
    finally:
        _command.pop()


def in_ci() -> bool:
    return os.environ.get("CI") == "true"


def require_tool(name: str, package: str) -> Path:
    """The path of the program ``name``. Without it the test is skipped, or fails where CI=true.

    ``package`` is the Debian package that has it, which requirements/apt.txt must list.
    """
    path = shutil.which(name)
    if path is None:
        missing(f"{name} is not installed", package)
    return Path(path)


def require_file(path: str, package: str) -> Path:
    """The same for a file of a Debian package that is no program, such as a library for the compiler."""
    if not Path(path).exists():
        missing(f"{path} does not exist", package)
    return Path(path)


def missing(what: str, package: str) -> NoReturn:
    reason = f"{what} (Debian package {package})"
    if in_ci():
        pytest.fail(f"{reason}: requirements/apt.txt must list it, for in CI nothing is skipped", pytrace=False)
    pytest.skip(reason)


def vectors_directory() -> Path:
    """Where the published evidence lies that tests verify; the test is skipped where there is none."""
    path = Path(os.environ.get(VECTORS_VARIABLE) or ROOT.parent / "shared" / "vectors")
    if not (path / "INDEX.toml").is_file():
        pytest.skip(f"no test vectors at {path} (set {VECTORS_VARIABLE})")
    return path
