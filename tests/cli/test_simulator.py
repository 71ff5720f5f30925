"""``enarx simulator``: a root that policies can name, and that says what it is wherever it is shown."""

from __future__ import annotations

import argparse
import hashlib
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enarx.cli import simulator
from enarx.errors import EnarxError
from enarx.evidence.bundle import split_certificates, unwrap_pem
from enarx.evidence.certificate import parse_crl
from enarx.evidence.snp.simulated import simulated_roots
from enarx.simulator.installation import open_installation


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("home") / "simulator"
    open_installation(directory, datetime.now(UTC))
    return directory


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser(prog="enarx")
    simulator.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["simulator", *arguments])
    status: int = parsed.run(parsed)
    return status


def test_root_is_printed_with_its_fingerprint_and_can_be_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("root", "--directory", str(home)) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("SIMULATED")
    (root,) = simulated_roots(shown.encode())
    assert root.simulated
    ark = split_certificates(shown.encode())[0]
    assert f"SHA-256 fingerprint: {hashlib.sha256(ark).hexdigest()}\n" in shown
    assert root.ark.sha256.hex() in shown


def test_root_is_written_to_a_file_that_a_policy_can_name(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "root.pem"
    assert run("root", "--directory", str(home), "--out", str(out)) == 0
    assert "SIMULATED" in capsys.readouterr().out
    assert len(simulated_roots(out.read_bytes())) == 1
    assert b"PRIVATE" not in out.read_bytes()


def test_lists_revoke_on_demand(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, serials in (((), set()), (("--revoke", "vcek"), {0}), (("--revoke", "ask"), {0x10001})):
        assert run("crl", "--directory", str(home), *arguments) == 0
        listed = parse_crl(unwrap_pem(capsys.readouterr().out.encode(), "X509 CRL"))
        assert set(listed.revoked) == serials


def test_status_and_reset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "simulator"
    assert run("status", "--directory", str(directory)) == 0
    assert capsys.readouterr().out.startswith("No simulated secure processor")
    assert not directory.exists()
    fingerprints = set()
    for _ in range(2):
        assert run("reset", "--directory", str(directory)) == 0
        shown = capsys.readouterr()
        assert "SIMULATED" in shown.out
        assert "SIMULATED" in shown.err
        fingerprints.add(shown.out.split()[-1])
        assert run("status", "--directory", str(directory)) == 0
        assert shown.out.split()[-1] in capsys.readouterr().out
    assert len(fingerprints) == 2
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_exposed_simulator_is_not_used_nor_reset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "simulator"
    directory.mkdir(mode=0o755)
    for action in ("root", "crl", "status", "reset"):
        with pytest.raises(EnarxError) as caught:
            run(action, "--directory", str(directory))
        assert caught.value.code == "simulator-permissions"
    assert directory.is_dir()
    assert capsys.readouterr().out == ""


def test_default_directory_is_used_unless_another_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(home.parent / "none"))
    assert run("status") == 0
    assert str(home.parent / "none" / "enarx" / "simulator") in capsys.readouterr().out
