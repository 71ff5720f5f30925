"""Bad input of every kind: a documented exit status, an error with a code, and never a traceback or a hang."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import programs
from tests.e2e.command import STDIO, code_of, config, enarx, module

NOT_STARTED, USAGE = 1, 2


def refused(cwd: Path, *arguments: str | Path, status: int = NOT_STARTED) -> tuple[str, str]:
    """Run a command that must fail: the code of its error, and all it said."""
    done = enarx(*arguments, cwd=cwd)
    assert (done.returncode, done.stdout) == (status, b""), done.stderr
    return code_of(done.stderr), done.stderr.decode()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "wasm-magic"),
        (b"\0", "wasm-magic"),
        (b"hello, this is no module at all", "wasm-magic"),
        (b"\x7fELF" + bytes(100), "wasm-magic"),
        (b'(module (func (export "_start")))', "wasm-magic"),
        (b"\0asm\x01\0\0", "wasm-version"),
        (b"\0asm\x02\0\0\0", "wasm-version"),
        (b"\0asm\x0d\0\x01\0", "wasm-component"),
        (b"\0asm\x01\0\0\0", "wasm-entry"),
        (b"\0asm\x01\0\0\0\xff", "wasm-invalid"),
        (b"\0asm\x01\0\0\0" + b"\xff" * 1000, "wasm-invalid"),
    ],
)
def test_what_is_no_module(content: bytes, code: str, tmp_path: Path) -> None:
    found, text = refused(tmp_path, "run", module(tmp_path, content))
    assert found == code
    if code != "wasm-version":
        assert "Hint: " in text


def test_what_the_compiler_says_is_in_one_line(tmp_path: Path) -> None:
    _, text = refused(tmp_path, "run", module(tmp_path, b"\0asm\x01\0\0\0\xff"))
    first = text.splitlines()[0]
    assert first.startswith(
        "Error: failed to compile Wasm module: failed to parse WebAssembly module: malformed section"
    )
    assert "Caused by" not in text


def test_every_prefix_of_a_module_is_refused(tmp_path: Path) -> None:
    whole = programs.assemble('(module (func (export "_start")))')
    assert enarx("run", "--no-cache", module(tmp_path, whole), cwd=tmp_path).returncode == 0

    def code(length: int) -> str:
        return refused(tmp_path, "run", "--no-cache", module(tmp_path, whole[:length], f"{length}.wasm"))[0]

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(code, range(len(whole))))
    assert set(codes) == {"wasm-magic", "wasm-version", "wasm-entry", "wasm-invalid"}


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("(module)", "wasm-entry", "_start"),
        ('(module (func (export "main")))', "wasm-entry", "_start"),
        ('(module (memory (export "_start") 1))', "wasm-entry", "_start"),
        ('(module (func (export "_start") (param i32)))', "wasm-entry", "parameters"),
        ('(module (import "env" "f" (func)) (func (export "_start")))', "wasm-import", "env::f"),
        (
            '(module (import "wasi_snapshot_preview1" "sock_connect" (func)) (func (export "_start")))',
            "wasm-import",
            "wasi_snapshot_preview1::sock_connect",
        ),
        (
            '(module (import "wasi_unstable" "fd_write" (func)) (func (export "_start")))',
            "wasm-import",
            "wasi_unstable",
        ),
        ('(module (import "env" "memory" (memory 1)) (func (export "_start")))', "wasm-import", "env::memory"),
        ('(module (import "env" "g" (global i32)) (func (export "_start")))', "wasm-import", "env::g"),
        ('(module (import "env" "t" (table 1 funcref)) (func (export "_start")))', "wasm-import", "env::t"),
        (
            '(module (import "wasi_snapshot_preview1" "fd_write" (func (param i64))) (func (export "_start")))',
            "wasm-link",
            "fd_write",
        ),
        (
            '(module (import "wasi_snapshot_preview1" "fd_write" (memory 1)) (func (export "_start")))',
            "wasm-link",
            "fd_write",
        ),
        (
            '(module (import "wasi_snapshot_preview1" "sched_yield" (func $y (result i32)))'
            ' (func (export "_start") (drop (call $y))))',
            "workload-memory",
            "memory",
        ),
    ],
)
def test_a_module_that_cannot_be_started_says_why(text: str, code: str, named: str, tmp_path: Path) -> None:
    found, shown = refused(tmp_path, "run", module(tmp_path, programs.assemble(text)))
    assert found == code
    assert named in shown


def test_a_very_long_import_name_is_shown_in_part(tmp_path: Path) -> None:
    name = "x" * 90_000
    content = programs.assemble(f'(module (import "{name}" "{name}" (func)) (func (export "_start")))')
    found, shown = refused(tmp_path, "run", module(tmp_path, content))
    assert found == "wasm-import"
    assert len(shown) < 10_000


@pytest.mark.parametrize(
    ("text", "place", "code"),
    [
        ("steward = ", "1:", "config-syntax"),
        ('args = ["a"]\nargs = ["b"]\n', "2:", "config-syntax"),
        ("\n\n[[files]]\nkind = 'pipe'\n", "4:8", "config-value"),
        ("[limits]\nmemmory = 1\n", "2:1", "config-unknown-key"),
        ("[limits]\nmemory = true\n", "2:10", "config-type"),
        ("[env]\nA = 1\n", "2:5", "config-type"),
        ("\x00", "1:1", "config-syntax"),
    ],
)
def test_errors_in_the_config_have_line_and_column(text: str, place: str, code: str, tmp_path: Path) -> None:
    path = config(tmp_path, text)
    found, shown = refused(tmp_path, "run", "--wasmcfgfile", path, module(tmp_path, programs.HELLO))
    assert f"Error: {path}:{place}" in shown
    assert found == code
    assert "Hint: " in shown
    assert "Caused by" not in shown  # the message has said all of it


def test_a_workload_that_asks_for_a_steward_is_not_run_without_one(tmp_path: Path) -> None:
    """It would serve under a certificate that proves nothing."""
    path = config(tmp_path, 'steward = "https://attest.example.com"\n' + STDIO)
    found, shown = refused(tmp_path, "run", "--wasmcfgfile", path, module(tmp_path, programs.HELLO))
    assert found == "config-steward"
    assert "https://attest.example.com" in shown
    assert "Hint: run with --steward" in shown


def test_a_config_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "Enarx.toml").write_bytes(b"\xff\xfe")
    refused(tmp_path, "run", "--wasmcfgfile", tmp_path / "Enarx.toml", module(tmp_path, programs.HELLO))


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ([], USAGE, "usage"),
        (["no-such-command"], USAGE, "usage"),
        (["run"], USAGE, "usage"),
        (["run", "--no-such-option", "app.wasm"], USAGE, "usage"),
        (["run", "--verb", "app.wasm"], USAGE, "usage"),
        (["run", "--dir"], USAGE, "usage"),
        (["run", "app.wasm", "--env"], USAGE, "usage"),
        (["run", "--backend", "sgx", "app.wasm"], USAGE, "backend-unknown"),
        (["run", "--dir", "nothing", "app.wasm"], USAGE, "usage"),
        (["run", "--dir", "::/", "app.wasm"], USAGE, "usage"),
        (["run", "--dir", "here::", "app.wasm"], USAGE, "usage"),
        (["run", "--env", "NAME", "app.wasm"], USAGE, "usage"),
        (["run", "--env", "=value", "app.wasm"], USAGE, "usage"),
        (["run", ""], USAGE, "usage"),
        (["run", "missing.wasm"], NOT_STARTED, "file-unreadable"),
        (["run", "."], NOT_STARTED, "file-unreadable"),
        (["run", "app.wasm/below"], NOT_STARTED, "file-unreadable"),
        (["run", "x" * 5000], NOT_STARTED, "file-unreadable"),
        (["run", "--wasmcfgfile", "missing.toml", "app.wasm"], NOT_STARTED, "file-unreadable"),
        (["run", "--wasmcfgfile", ".", "app.wasm"], NOT_STARTED, "file-unreadable"),
        (["run", "--wasmcfgfile", "/dev/zero", "app.wasm"], NOT_STARTED, "file-too-large"),
        (["run", "--dir", "missing::/", "app.wasm"], NOT_STARTED, "file-unreadable"),
        (["run", "--dir", "app.wasm::/", "app.wasm"], NOT_STARTED, "file-unreadable"),
        (["run", "app.wasm", *["x"] * 5000], USAGE, "usage"),
        (["run", "app.wasm", *["x" * 100_000] * 15], USAGE, "usage"),
        (["run", *[word for _ in range(70) for word in ("--dir", "site::/")], "app.wasm"], USAGE, "usage"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else None,
)
def test_what_the_command_line_gets_wrong(arguments: list[str], status: int, code: str, tmp_path: Path) -> None:
    module(tmp_path, programs.HELLO)
    (tmp_path / "site").mkdir()
    found, _ = refused(tmp_path, *arguments, status=status)
    assert found == code


def test_a_ca_file_that_is_missing_is_named(tmp_path: Path) -> None:
    path = config(tmp_path, STDIO + '[[files]]\nkind = "connect"\nhost = "localhost"\nport = 1\nca = ["ca.pem"]\n')
    found, shown = refused(tmp_path, "run", "--wasmcfgfile", path, module(tmp_path, programs.HELLO))
    assert found == "file-unreadable"
    assert str(tmp_path / "ca.pem") in shown


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ('kind = "listen"\nname = "L"\nprot = "tcp"\naddr = "a..b"\nport = 0', "listen-failed"),
        ('kind = "listen"\nname = "L"\nprot = "tcp"\naddr = "192.0.2.1"\nport = 0', "listen-failed"),
        ('kind = "connect"\nprot = "tcp"\nhost = "a..b"\nport = 1', "connect-unresolved"),
        ('kind = "connect"\nprot = "tcp"\nhost = "%s.test"\nport = 1' % ("x" * 64), "connect-unresolved"),
        ('kind = "connect"\nprot = "tcp"\nhost = "host.invalid"\nport = 1', "connect-unresolved"),
        ('kind = "connect"\nprot = "tcp"\nhost = "127.0.0.1"\nport = 1', "connect-failed"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_had(files: str, code: str, tmp_path: Path) -> None:
    path = config(tmp_path, f"{STDIO}[[files]]\n{files}\n")
    found, shown = refused(tmp_path, "run", "--wasmcfgfile", path, module(tmp_path, programs.HELLO))
    assert found == code
    assert "Hint: " in shown
