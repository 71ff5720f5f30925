"""The command line's entry: every error becomes words and an exit status in one place."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import enarx
from enarx.cli import main as entry
from enarx.cli.main import main, show_error
from enarx.errors import ConfigError, EnarxError, PolicyError

ENARX = Path(sys.executable).parent / "enarx"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (EnarxError("it broke"), "Error: it broke\nCode: enarx\n"),
        (EnarxError("it broke", code="a-code", hint="mend it"), "Error: it broke\n\nHint: mend it\nCode: a-code\n"),
    ],
)
def test_an_error_is_shown_with_what_to_do(error: EnarxError, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_error(error)
    assert capsys.readouterr() == ("", text)


@pytest.mark.parametrize(
    ("cause", "shown"),
    [(ValueError("the cause"), True), (ValueError("broke"), False), (ValueError(), False), (OSError(2, "gone"), True)],
)
def test_a_cause_is_shown_when_it_says_more(cause: Exception, shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    error = EnarxError("it broke")
    error.__cause__ = cause
    show_error(error)
    assert ("Caused by:" in capsys.readouterr().err) == shown


@pytest.mark.parametrize(
    ("raised", "status"), [(ConfigError("x"), 1), (PolicyError("x"), 5), (KeyboardInterrupt(), 130)]
)
def test_what_a_command_raises_becomes_an_exit_status(
    raised: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise raised

    monkeypatch.setattr("enarx.cli.config.run", fail)
    assert main(["config", "init"]) == status
    assert ("Error: x" in capsys.readouterr().err) == isinstance(raised, EnarxError)


def test_an_error_that_nobody_expected_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("enarx.cli.config.run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["config", "init"])


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["--nothing"], ["--vers"], ["config"], ["run"], ["run", "--"]])
def test_wrong_usage_says_where_help_is(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert "Code: usage" in shown
    assert "--help`" in shown


@pytest.mark.parametrize(
    ("arguments", "what", "whose"),
    [
        (["run"], "the following arguments are required: MODULE", "run"),
        (["run", "--wasmcfg", "Enarx.toml", "app.wasm"], "unrecognized arguments: --wasmcfg", "run"),
        (["config", "init", "--force"], "unrecognized arguments: --force", "config"),
        (["--force"], "unrecognized arguments: --force", ""),
    ],
)
def test_wrong_usage_of_a_command_points_to_its_own_help(
    arguments: list[str], what: str, whose: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert f"Error: {what}" in shown or not whose
    assert f"Hint: see `{' '.join(('enarx', *whose.split()))} --help`\n" in shown


def test_help_and_version_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, text in ((["--help"], "COMMAND"), (["--version"], enarx.__version__), (["run", "-h"], "MODULE")):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        assert text in capsys.readouterr().out


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("run", "config", "config init", "demo"):
        with pytest.raises(SystemExit) as caught:
            main([*command.split(), "--help"])
        assert caught.value.code == 0
        assert f"usage: enarx {command}" in capsys.readouterr().out


def test_output_that_nobody_reads_is_no_traceback(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [ENARX, "config", "init"], stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, check=False
        )
    finally:
        os.close(write)
    assert done.returncode in (0, 141)
    assert b"Traceback" not in done.stderr


def test_output_that_cannot_be_written_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("enarx.cli.config.run", lambda _: print("x", file=full) or 0)
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["config", "init"]) == 1
        assert "Code: stdout" in capsys.readouterr().err
        with pytest.raises(OSError):
            full.close()


def test_importing_the_entry_imports_little() -> None:
    """Start-up is what a user feels first: argparse and our own small modules, nothing from a package index."""
    code = "import sys, enarx.cli.main as m; m._parser(None); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], env={}, capture_output=True, check=True, text=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & {"wasmtime", "cryptography", "ssl", "tarfile", "tomllib", "ctypes", "socket"} == set()
    assert entry.__name__ == "enarx.cli.main"


def test_list_of_commands_says_what_each_command_says_of_itself() -> None:
    for name, purpose in entry.COMMANDS.items():
        commands = argparse.ArgumentParser().add_subparsers()
        import_module(f"enarx.cli.{name}").add_parser(commands)
        assert [(action.dest, action.help) for action in commands._choices_actions] == [(name, purpose)]


def test_command_behind_something_else_is_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--", "demo"]) == 2
    assert "Code: usage" in capsys.readouterr().err
