"""``enarx image kernel`` as a user calls it, as far as it goes without a build of minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from enarx.cli.main import main
from enarx.host.image.kernel import source
from enarx.host.image.lock import format_lock, own_lock, read_lock
from tests.cli.command import error_code


def test_the_kernel_on_record_is_of_our_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "kernel", "--recorded"]) == 0
    assert capsys.readouterr().out == "the kernel on record is of these inputs\n"


def test_other_sources_are_not_those_on_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "other.lock"
    lock.write_bytes(own_lock().replace(source(read_lock(None)).sha256.encode(), b"0" * 64))
    assert main(["image", "kernel", "--recorded", "--lock", str(lock)]) == 1
    assert capsys.readouterr().out == "the kernel on record is of other inputs\n"


def test_a_build_without_tools_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for command in (
        ["kernel", "--cache-dir", str(tmp_path)],
        ["build", "--kernel", "own", "--cache-dir", str(tmp_path)],
    ):
        assert main(["image", *command]) == 1
        shown = capsys.readouterr().err
        assert "Code: kernel-tools" in shown
        assert "apt-get install --no-install-recommends" in shown
        assert "fetching" not in shown
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_without_sources_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "image.lock"
    lock.write_bytes(format_lock(read_lock(None).for_kernel("stock")))
    assert error_code("image", "kernel", "--lock", str(lock)) == "lock-incomplete"


@pytest.mark.parametrize("options", [["--jobs", "0"], ["--jobs", "many"], ["--check", "--recorded"], ["more"]])
def test_options_that_mean_nothing_are_refused(options: list[str]) -> None:
    assert error_code("image", "kernel", *options) == "usage"
