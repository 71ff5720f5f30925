"""``enarx verify`` as a user runs it, against a peer that shows a Keep's chain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from enarx.cli.main import main
from enarx.tenant.policy import CertificateRules
from enarx.tenant.steward.decide import decide
from tests.keep.tenants import tls_server
from tests.tenant.keeps import Keep, authority, judge, manifest, policy_text
from tests.tenant.test_peer import silent

RULES = CertificateRules(timedelta(hours=12), ("localhost",))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    keep, now = Keep(), datetime.now(UTC)
    grant = decide(keep.request(), judge(), now).grant
    assert grant is not None
    with tls_server(silent, [authority().issue(grant, RULES, now).der, authority().der], keep.key) as number:
        yield number


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "policy.toml").write_text(policy_text())
    (tmp_path / "manifest.json").write_bytes(manifest().encode())
    (tmp_path / "ca.pem").write_bytes(authority().certificate.public_bytes(Encoding.PEM))
    return tmp_path


def verify(port: int, files: Path, *options: str | Path, host: str = "localhost") -> int:
    url = f"https://{host}:{port}"
    return main(["verify", url, "--policy", str(files / "policy.toml"), *map(str, options)])


def test_a_keep_is_accepted_in_words(port: int, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(port, files, "--manifest", files / "manifest.json") == 0
    out = capsys.readouterr().out
    assert "FAIL" not in out
    assert "SIMULATED: the evidence is a simulator's. No hardware vouches for this." in out
    assert f"ACCEPTED: a Keep with workload web, manifest sha256:{manifest().digest().hex()}" in out


def test_a_keep_is_accepted_as_json(port: int, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(port, files, "--ca", files / "ca.pem", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["accepted"], found["simulated"]) == ("enarx-keep-verdict/1", True, True)
    assert found["authority_checked"] is True


def test_what_was_not_checked_is_said(port: int, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = policy_text(workload=f'[workload.site]\nmanifest = ["sha256:{manifest().digest().hex()}"]\n')
    (files / "policy.toml").write_text(text)
    assert verify(port, files) == 0
    assert "NOT CHECKED: who issued the certificate" in capsys.readouterr().out


def test_a_refusal_says_why_and_what_to_do(port: int, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(port, files) == 5
    out = capsys.readouterr().out
    assert "FAIL" in out
    assert "Hint: give the manifest (`enarx manifest` makes it)" in out
    assert out.endswith("Code: workload-unknown\n")


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        (["--ca", "sha256:" + 64 * "0"], 4, "certificate-ca"),
        (["--ca", "CA", "--at", "2020-01-01T00:00:00Z"], 5, "certificate-not-yet-valid"),
        (["--ca", "CA", "--at", "2044-01-01T00:00:00Z"], 5, "certificate-expired"),
    ],
)
def test_refusals_end_with_the_status_of_their_phase(
    options: list[str], status: int, code: str, port: int, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(files / "ca.pem") if option == "CA" else option for option in options]
    assert verify(port, files, *given, "--json") == status
    assert json.loads(capsys.readouterr().out)["code"] == code


def test_another_name_is_refused(port: int, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(port, files, "--ca", files / "ca.pem", host="127.0.0.1") == 4
    assert "Code: certificate-name" in capsys.readouterr().out


def test_nobody_there_and_wrong_usage_are_errors(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(1, files) == 1
    assert "Code: keep-unreachable" in capsys.readouterr().err
    for arguments, code in (
        (["http://localhost", "--policy", str(files / "policy.toml")], "usage-url"),
        (["https://localhost"], "usage"),
        (["https://localhost", "--policy", str(files / "policy.toml"), "--ca", "sha256:1"], "ca-digest"),
        (["https://localhost", "--policy", str(files / "policy.toml"), "--ca", str(files / "none")], "file-unreadable"),
        (["https://localhost", "--policy", str(files / "policy.toml"), "--at", "noon"], "usage-time"),
    ):
        assert main(["verify", *arguments]) == 2
        assert f"Code: {code}\n" in capsys.readouterr().err
    (files / "policy.toml").write_text("[typo]")
    assert verify(1, files) == 1
    assert "Code: policy-unknown-key" in capsys.readouterr().err
