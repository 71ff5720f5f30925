"""The helpers that decide whether a test runs: a missing package must never pass unseen in CI."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import support


def test_a_tool_that_is_there_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert support.require_tool("python", "python3") == Path(sys.executable).parent / "python"


def test_a_missing_tool_skips_at_a_desk_and_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no-such-tool is not installed \(Debian package nothing\)"):
        support.require_tool("no-such-tool", "nothing")


def test_a_missing_tool_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="nothing is skipped"):
        support.require_tool("no-such-tool", "nothing")
    with pytest.raises(pytest.fail.Exception, match="Debian package nothing"):
        support.require_file("/no/such/file", "nothing")


def test_vectors_are_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(support.VECTORS_VARIABLE, str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="set ENARX_VECTORS"):
        support.vectors_directory()
    (tmp_path / "INDEX.toml").touch()
    assert support.vectors_directory() == tmp_path
