"""``enarx run``: which arguments are ours, and what it says; tests/e2e has what it does."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.cli.main import main
from enarx.cli.run import _FLAGS, _OPTIONS, add_parser, separate
from tests import programs


@pytest.mark.parametrize(
    ("arguments", "own", "workloads"),
    [
        ("", "", ""),
        ("m", "m", ""),
        ("m a b", "m", "a b"),
        ("m -- a b", "m", "a b"),
        ("m -- --", "m", "--"),
        ("m a -- b", "m", "a -- b"),
        ("m --verbose a --verbose", "m --verbose", "a --verbose"),
        ("m --dir a::b --env X=1 x", "m --dir a::b --env X=1", "x"),
        ("m --dir=a::b x", "m --dir=a::b", "x"),
        ("--verbose m -x", "--verbose m", "-x"),
        ("m --unknown", "m", "--unknown"),
        ("--unknown m", "--unknown m", ""),
        ("-- m", "-- m", ""),
        ("-- m --verbose", "-- m", "--verbose"),
        ("--verbose -- -m -- x", "--verbose -- -m", "-- x"),
        ("m --dir", "m --dir", ""),
        ("--env", "--env", ""),
        ("--", "--", ""),
        ("m -h", "m -h", ""),
    ],
)
def test_ours_end_where_the_workloads_begin(arguments: str, own: str, workloads: str) -> None:
    assert separate(["run", *arguments.split()]) == (["run", *own.split()], workloads.split())


@given(
    st.lists(st.sampled_from(["m", "a", "", "-", "--", "-x", "--x", "--dir", "--dir=a", "--verbose", "-h"]), max_size=8)
)
def test_nothing_is_lost_but_one_double_dash(arguments: list[str]) -> None:
    own, workloads = separate(["run", *arguments])
    whole = ["run", *arguments]
    assert own == whole[: len(own)]
    assert workloads == whole[len(own) :] or ["--", *workloads] == whole[len(own) :]


def test_the_lists_of_options_are_those_of_the_parser() -> None:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    (subparsers,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    actions = [action for action in subparsers.choices["run"]._actions if action.option_strings]
    assert {name for action in actions if action.nargs == 0 for name in action.option_strings} == set(_FLAGS)
    assert {name for action in actions if action.nargs is None for name in action.option_strings} == set(_OPTIONS)


@pytest.fixture
def workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENARX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("ENARX_WASMCFGFILE", raising=False)
    path = tmp_path / "app.wasm"
    path.write_bytes(programs.HELLO)
    return path


def test_a_workload_runs_and_nothing_is_said(workload: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(workload)]) == 0
    assert capfd.readouterr() == ("ready\n", "")


def test_verbose_and_timings_say_more(workload: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (workload.parent / "file").touch()
    cache = str(workload.parent / "file" / "cache")
    assert main(["run", "--verbose", "--timings", "--cache-dir", cache, str(workload)]) == 0
    said = capfd.readouterr().err
    for text in ("enarx: sandbox: ", "enarx: compiled code is not cached: ", "keep: compiled", "host: all"):
        assert text in said


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [(programs.TRAP, 134, "trap"), (programs.exiting(9), 9, ""), (b"no module", 1, "wasm-magic")],
)
def test_how_a_workload_ended_is_shown(
    content: bytes, status: int, code: str, workload: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workload.write_bytes(content)
    assert main(["run", "--no-cache", str(workload)]) == status
    assert (f"Code: {code}\n" in capfd.readouterr().err) == bool(code)


@pytest.mark.parametrize(
    ("arguments", "status"), [(["missing.wasm"], 1), (["--backend", "none", "x.wasm"], 2), (["--env", "x", "m"], 2)]
)
def test_what_cannot_be_started_is_an_error(
    arguments: list[str],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").touch()
    assert main(["run", *arguments]) == status
    assert capfd.readouterr().err.startswith("Error: ")
