from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from enarx.host.platform.qemufacts import ask_qemu, find_qemu
from enarx.host.qemu.program import NAME


def test_the_real_qemu_says_its_version_and_its_objects(require_tool: Callable[[str, str], Path]) -> None:
    path = require_tool(NAME, "qemu-system-x86")

    found = ask_qemu(str(path))

    assert found.failure == ""
    assert found.version >= (7, 2, 0)
    assert {"sev-guest", "memory-backend-memfd", "rng-builtin"} <= found.objects
    assert find_qemu() == str(path)


def test_no_qemu_is_a_fact() -> None:
    assert "PATH" in ask_qemu(None).failure


@pytest.mark.parametrize(
    "script", ["exit 1", "echo hello", 'test "$1" = --version && echo QEMU emulator version 9.1.2']
)
def test_a_program_that_is_no_qemu_is_said_so(script: str, tmp_path: Path) -> None:
    program = tmp_path / "qemu"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)

    assert str(program) in ask_qemu(str(program)).failure


def test_a_program_that_cannot_be_started_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "qemu").write_text("not a program")

    assert ask_qemu(str(tmp_path / "qemu")).failure
    assert ask_qemu(str(tmp_path / "none")).failure
