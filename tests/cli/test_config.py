"""``enarx config init``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from enarx.cli import config as command
from enarx.cli.config import TEMPLATE
from enarx.config import Config, parse
from enarx.errors import ConfigError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*argv: str) -> int:
    parser = argparse.ArgumentParser(prog="enarx")
    command.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(argv)
    status = args.run(args)
    assert isinstance(status, int)
    return status


def test_init_writes_the_template_and_nothing_else(here: Path) -> None:
    assert invoke("config", "init") == 0
    assert [path.name for path in here.iterdir()] == ["Enarx.toml"]
    assert (here / "Enarx.toml").read_text() == TEMPLATE
    assert parse((here / "Enarx.toml").read_bytes()) == Config.default()


def test_init_follows_the_umask(here: Path) -> None:
    before = os.umask(0o027)
    try:
        invoke("config", "init")
    finally:
        os.umask(before)
    assert (here / "Enarx.toml").stat().st_mode & 0o777 == 0o640


def test_init_never_overwrites(here: Path) -> None:
    (here / "Enarx.toml").write_text("mine")
    with pytest.raises(ConfigError) as caught:
        invoke("config", "init")
    assert caught.value.message == '"Enarx.toml" does already exist.'
    assert caught.value.exit_status == 1
    assert (here / "Enarx.toml").read_text() == "mine"
    assert len(list(here.iterdir())) == 1


def test_init_does_not_write_through_a_dangling_link(here: Path) -> None:
    (here / "Enarx.toml").symlink_to("elsewhere")
    with pytest.raises(ConfigError, match="does already exist"):
        invoke("config", "init")
    assert not (here / "elsewhere").exists()


def test_name_taken_meanwhile_is_not_overwritten(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check and the creation are one step: a file that appears between them survives."""
    (here / "Enarx.toml").write_text("mine")
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    with pytest.raises(ConfigError, match="does already exist"):
        invoke("config", "init")
    assert [(path.name, path.read_text()) for path in here.iterdir()] == [("Enarx.toml", "mine")]


def test_directory_that_takes_no_file_is_a_clear_error(here: Path) -> None:
    gone = here / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match=r'cannot write "Enarx\.toml": No such file or directory') as caught:
        invoke("config", "init")
    assert caught.value.code == "config-write"


def test_config_without_a_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        invoke("config")
    assert caught.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_registering_the_command_does_not_load_the_parser_of_configurations() -> None:
    script = "import sys, enarx.cli.config; sys.exit('enarx.config' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
