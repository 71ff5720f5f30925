"""``enarx bundle`` and ``enarx verify --fresh`` as a user runs them, against a Keep's own accepting side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from enarx.cli.main import main
from tests.connect.keeps import Files, KeepServer, client_files
from tests.tenant.keeps import authority, policy_text

pytestmark = pytest.mark.usefixtures("keep_tls_env")


@pytest.fixture
def server() -> Iterator[KeepServer]:
    with KeepServer() as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "ca.pem").write_bytes(authority().certificate.public_bytes(Encoding.PEM))
    return client_files(tmp_path)


def run(*arguments: str | Path) -> int:
    return main([str(one) for one in arguments])


def demands(files: Files) -> list[str | Path]:
    return ["--policy", files.policy, "--manifest", files.manifest]


def save(server: KeepServer, files: Files, *more: str | Path) -> tuple[int, Path]:
    path = files.policy.parent / "keep.bundle"
    return run("bundle", "save", server.url, "-o", path, *demands(files), *more), path


def test_fresh_evidence_is_demanded_of_a_keep(
    server: KeepServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify", server.url, *demands(files), "--fresh") == 0
    assert "PASS  session-binding" in capsys.readouterr().out
    with KeepServer(challenged=False) as old:
        assert run("verify", old.url, *demands(files)) == 0
        assert run("verify", old.url, *demands(files), "--fresh") == 4
    assert "Code: challenge-unsupported" in capsys.readouterr().err
    files.policy.write_text(policy_text().replace("ab" * 48, "cd" * 48))
    assert run("verify", server.url, *demands(files), "--fresh") == 5


def test_a_bundle_is_saved_and_judged_again_when_the_keep_is_gone(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    with KeepServer() as server:
        status, path = save(server, files)
        url = server.url
    said = capsys.readouterr()
    assert (status, said.err) == (0, f"{path}: what {url} showed\n")
    assert "ACCEPTED: a Keep with workload web" in said.out
    assert run("bundle", "verify", path) == 0
    out = capsys.readouterr().out
    assert "SIMULATED" in out
    assert "ACCEPTED: a Keep with workload web" in out
    assert "with fresh evidence, by its maker's word." in out
    assert "The bundle's own: policy, manifest. Given here: nothing." in out


def test_a_bundle_is_judged_as_json(server: KeepServer, files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    _, path = save(server, files, "--json")
    first = json.loads(capsys.readouterr().out)
    assert (
        run("bundle", "verify", path, "--json", "--policy", files.policy, "--ca", files.policy.parent / "ca.pem") == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["accepted"], found["code"]) == ("enarx-keep-verdict/1", True, "accepted")
    assert found["bundle"] == first["bundle"] | {"given": ["policy", "ca"]}
    assert first["bundle"]["given"] == ["policy", "manifest"]


@pytest.mark.parametrize(("at", "status"), [("2001-01-01T00:00:00Z", 4), ("2044-01-01T00:00:00Z", 5)])
def test_a_bundle_is_refused_outside_validity(at: str, status: int, server: KeepServer, files: Files) -> None:
    _, path = save(server, files)
    assert run("bundle", "verify", path, "--at", at) == status


def test_a_bundle_without_fresh_evidence_says_so(
    server: KeepServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    status, path = save(server, files, "--no-fresh")
    capsys.readouterr()
    assert (status, run("bundle", "verify", path)) == (0, 0)
    assert "without fresh evidence" in capsys.readouterr().out


def test_a_refused_keep_is_saved_too(server: KeepServer, files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    files.policy.write_text(policy_text().replace("ab" * 48, "cd" * 48))
    status, path = save(server, files)
    assert (status, run("bundle", "verify", path)) == (5, 5)
    with KeepServer(challenged=False) as old:
        files.policy.write_text(policy_text())
        status, path = save(old, files)
    assert "Code: challenge-unsupported" in capsys.readouterr().err
    assert (status, run("bundle", "verify", path)) == (4, 0)  # what was shown is fine, as far as it went


def test_nothing_is_written_of_nobody(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    path = files.policy.parent / "keep.bundle"
    assert run("bundle", "save", "https://localhost:1", "-o", path, *demands(files)) == 1
    assert "Code: keep-unreachable" in capsys.readouterr().err
    assert not path.exists()


def test_wrong_files_are_errors(server: KeepServer, files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    broken = files.policy.parent / "broken"
    broken.write_text("{}")
    for arguments, status, code in (
        (["verify", broken], 3, "bundle"),
        (["verify", broken.with_name("none")], 2, "file-unreadable"),
        (["save", server.url, "-o", broken.parent / "no" / "where", *demands(files)], 2, "file-unwritable"),
        (["save", server.url, *demands(files)], 2, "usage"),
        (["save", server.url, "-o", broken, *demands(files), "--cert", broken], 1, "client-certificate"),
    ):
        assert run("bundle", *arguments) == status, arguments
        assert f"Code: {code}\n" in capsys.readouterr().err
