"""Each limit of ``[limits]`` ends the workload with status 124 or 1, and an error that names it and says what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import programs
from tests.e2e.command import STDIO, code_of, config, enarx, module

OVER = 124


@pytest.mark.parametrize(
    ("limit", "content", "arguments", "code"),
    [
        ("memory = \"8 MiB\"", programs.MEMORY, [], "limit-memory"),
        ("memory = \"1 MiB\"", programs.EMPTY, [], "limit-memory"),
        ("filesystem = \"1 MiB\"", programs.FILL_FILE, ["file"], "limit-filesystem"),
        ("descriptors = 16", programs.OPEN_MANY, ["page"], "limit-descriptors"),
        ("deadline = \"300ms\"", programs.LOOP, [], "limit-deadline"),
        ("deadline = \"300ms\"", programs.WAIT_CLOCK, [], "limit-deadline"),
        ("deadline = \"300ms\"", programs.WAIT_STDIN, [], "limit-deadline"),
        ("module = \"64 KiB\"", programs.slow_to_compile(100, 100), [], "limit-module"),
    ],
    ids=lambda value: value if isinstance(value, str) and "=" in value else None,
)  # fmt: skip
def test_a_limit_is_named(limit: str, content: bytes, arguments: list[str], code: str, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "page").touch()
    path = config(tmp_path, f"[limits]\n{limit}\n{STDIO}")
    read, write = os.pipe()  # nothing ever comes
    try:
        done = enarx(
            "run", "--wasmcfgfile", path, "--dir", f"{tmp_path}/site::/", module(tmp_path, content), *arguments,
            cwd=tmp_path, stdin=read,
        )  # fmt: skip
    finally:
        os.close(read)
        os.close(write)
    assert (done.returncode, code_of(done.stderr)) == (OVER, code)
    assert f"`{limit.split()[0]}`" in done.stderr.decode()
    assert "[limits]" in done.stderr.decode()


def test_a_directory_that_does_not_fit_is_named(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "page").write_bytes(bytes(3 << 20))
    path = config(tmp_path, f'[limits]\nfilesystem = "1 MiB"\n{STDIO}')
    done = enarx(
        "run", "--wasmcfgfile", path, "--dir", f"{tmp_path}/site::/", module(tmp_path, programs.HELLO), cwd=tmp_path
    )
    assert (done.returncode, code_of(done.stderr), done.stdout) == (OVER, "limit-filesystem", b"")


def test_a_machine_without_room_for_linear_memory_is_not_taken_for_a_fault_of_the_module(tmp_path: Path) -> None:
    path = module(tmp_path, programs.HELLO)
    done = enarx("run", "--no-cache", path, cwd=tmp_path, prefix=["prlimit", "--as=3000000000", "--"])
    assert (done.returncode, code_of(done.stderr), done.stdout) == (1, "memory-shortage", b"")
    assert b"no address space" in done.stderr
    assert b"ulimit -v" in done.stderr


def test_what_stays_within_its_limits_runs(tmp_path: Path) -> None:
    limits = 'memory = "8 MiB"\nfilesystem = "64 KiB"\ndescriptors = 4\ndeadline = "1h"\nmodule = "64 KiB"\n'
    (tmp_path / "site").mkdir()
    path = config(tmp_path, f"[limits]\n{limits}{STDIO}")
    done = enarx(
        "run", "--wasmcfgfile", path, "--dir", f"{tmp_path}/site::/", module(tmp_path, programs.HELLO), cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ready\n", b"")


@pytest.mark.parametrize("mebibytes", [16, 32])
def test_a_spike_of_memory_within_the_limit_is_fine(mebibytes: int, tmp_path: Path) -> None:
    pages = mebibytes * 16
    content = programs.program(f"""(call $exit (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)))""", pages=1)
    assert enarx("run", module(tmp_path, content), cwd=tmp_path).returncode == 0
    content = programs.program(
        f"""(drop (memory.grow (i32.const {pages})))
        (memory.fill (i32.const 65536) (i32.const 1) (i32.const {mebibytes << 20}))
        (call $exit (i32.sub (i32.load8_u (i32.const {mebibytes << 20})) (i32.const 1)))""", pages=1
    )  # fmt: skip
    assert enarx("run", module(tmp_path, content), cwd=tmp_path).returncode == 0
