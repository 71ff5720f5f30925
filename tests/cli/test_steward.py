"""``enarx steward`` and ``enarx policy`` as a user runs them."""

from __future__ import annotations

import argparse
import base64
import io
import json
import stat
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from enarx.cli import policy, steward
from enarx.errors import AuthenticityError, ConfigError, EnarxError, UsageError
from enarx.evidence import binding, der
from enarx.tenant.steward.ca import Issued, make_authority
from enarx.tenant.steward.files import read_authority, read_policy
from enarx.tenant.steward.log import Entry
from enarx.tenant.steward.store import connect
from tests.evidence.snp.forge import extension
from tests.tenant.keeps import NOW, Keep, authority, make_csr, manifest, policy_text, simulator
from tests.tenant.signed import envelope, keep, signed_by

AT = NOW.isoformat()


def enarx(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    steward.add_parser(commands)
    policy.add_parser(commands)
    args = parser.parse_args([str(one) for one in arguments])
    if arguments[0] == "policy":
        return policy.run(args)
    return steward.run(args)


@pytest.fixture
def request_files(tmp_path: Path) -> dict[str, Path]:
    """A Keep's request, its manifest, and a policy that accepts both."""
    keep = Keep()
    assert keep.manifest is not None
    files = {"csr": keep.csr(), "manifest": keep.manifest.encode(), "policy": policy_text().encode()}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return {name: tmp_path / name for name in files}


def test_init_makes_a_ca_a_configuration_and_tells_the_digest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "new" / "steward"
    assert enarx("steward", "init", place, "--name", "steward.example", "--name", "10.0.0.1") == 0
    out = capsys.readouterr().out
    authority = read_authority(place / "ca.pem", place / "ca.key")
    assert f"sha256:{authority.spki_digest.hex()}" in out
    assert stat.S_IMODE((place / "ca.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    read = read_policy(place / "steward.toml")
    assert read.service.names == ("steward.example", "10.0.0.1")
    assert read.snp is None
    with pytest.raises(ConfigError) as caught:
        enarx("steward", "init", place)
    assert caught.value.code == "file-exists"
    assert read_authority(place / "ca.pem", place / "ca.key").spki_digest == authority.spki_digest


def test_what_the_template_suggests_is_valid_once_filled_in(tmp_path: Path) -> None:
    enarx("steward", "init", tmp_path / "s")
    lines = (tmp_path / "s" / "steward.toml").read_text().splitlines()
    head, body = lines[:5], [line.removeprefix("# ") for line in lines[5:]]
    text = "\n".join([*head, *body]).replace('measurement = ["..."]', 'measurement = "any"')
    text = text.replace("sha256:...", "sha256:" + "ab" * 32)
    (tmp_path / "s" / "simulator.pem").write_text(simulator().pem)
    (tmp_path / "s" / "filled.toml").write_text(text)
    read = read_policy(tmp_path / "s" / "filled.toml")
    assert read.snp is not None
    assert read.simulated is not None
    assert read.workloads[0].name == "web"
    assert read.certificate.trust_domain == "example.com"


def test_init_with_a_name_that_no_certificate_can_have_makes_nothing(tmp_path: Path) -> None:
    for name in ("not a name", 'quote"', "back\\slash"):
        with pytest.raises(ConfigError):
            enarx("steward", "init", tmp_path / "s", "--name", name)
    assert not (tmp_path / "s").exists()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError):
        enarx("steward", "init", tmp_path / "file" / "s")


def test_check_tells_the_services_decision(request_files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--config", request_files["policy"], "--at", AT)
    assert enarx("steward", "check", request_files["csr"], *common, "--manifest", request_files["manifest"]) == 0
    out = capsys.readouterr().out
    assert "SIMULATED" in out
    assert "ACCEPTED: a certificate of workload web, 0 secrets." in out
    assert enarx("steward", "check", request_files["csr"], *common, "--json") == 5
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == "enarx-steward-decision/1"
    assert found["code"] == "crl-missing"  # in the published form, a list is required
    assert found["accepted"] is False


def checked(csr: Path, config: str, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    """Exit status and decision of ``steward check --json``."""
    (csr.parent / "config.toml").write_text(config)
    status = enarx("steward", "check", csr, "--config", csr.parent / "config.toml", "--at", AT, "--json", *options)
    return status, json.loads(capsys.readouterr().out)


def test_check_refuses_sgx_by_name_and_kvm_unless_it_is_switched_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = ec.derive_private_key(7, ec.SECP256R1())
    sgx, kvm = tmp_path / "sgx.csr", tmp_path / "kvm.csr"
    sgx.write_bytes(make_csr(key, [extension(binding.SGX_EVIDENCE_OID, b"\x30\0")]))
    kvm.write_bytes(make_csr(key, [extension(binding.KVM_EVIDENCE_OID, b"")]))
    status, found = checked(sgx, "", capsys)
    assert (status, found["code"], found["technology"]) == (5, "technology-unsupported", "sgx")
    assert found["error"]["message"] == "SGX evidence is not supported"
    status, found = checked(kvm, "", capsys)
    assert (status, found["code"], found["technology"]) == (5, "kvm-not-accepted", "kvm")
    status, found = checked(kvm, "[debug]\nkvm = true\n", capsys)
    assert (status, found["accepted"]) == (0, True)


def test_check_refuses_what_is_no_request_as_the_service_would(
    request_files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    keep = Keep()
    csr, (evidence, manifest_extension) = keep.csr(), keep.extensions()
    twice = make_csr(keep.key, [evidence, evidence, manifest_extension])
    pem = b"-----BEGIN CERTIFICATE REQUEST-----\n%s-----END CERTIFICATE REQUEST-----\n"
    wrong = request_files["csr"].with_name("wrong")
    for data, code in (
        (b"", "malformed"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\n!", "malformed"),
        (csr + b"\0", "malformed"),
        (csr[:-1], "malformed"),
        (twice, "duplicate-extension"),
        (make_csr(keep.key, [extension(binding.SNP_EVIDENCE_OID, bytes(10_000_000))]), "too-long"),
        (pem % base64.encodebytes(twice), "duplicate-extension"),
        (pem % base64.encodebytes(bytes(10_000_000)), "too-long"),
        (make_csr(keep.key, []), "evidence-missing"),
    ):
        wrong.write_bytes(data)
        status, found = checked(wrong, policy_text(), capsys, "--manifest", str(request_files["manifest"]))
        assert (status, found["code"]) == (5, code)


def test_check_judges_a_bundle_as_a_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = ec.derive_private_key(7, ec.SECP256R1())
    kvm, bare = make_csr(key, [extension(binding.KVM_EVIDENCE_OID, b"")]), make_csr(key, [])
    bundle = tmp_path / "bundle"
    bundle.write_bytes(der.encode(der.SEQUENCE, kvm * 3))
    status, found = checked(bundle, "[debug]\nkvm = true\n", capsys)
    assert (status, found["format"]) == (0, "enarx-steward-bundle-decision/1")
    assert (found["accepted"], found["requests"], len(found["decisions"])) == (True, 3, 3)
    bundle.write_bytes(der.encode(der.SEQUENCE, kvm + bare + kvm))
    status, found = checked(bundle, "[debug]\nkvm = true\n", capsys)
    assert (status, [one["code"] for one in found["decisions"]]) == (5, ["accepted", "evidence-missing"])
    assert enarx("steward", "check", bundle, "--config", tmp_path / "config.toml", "--at", AT) == 5
    out = capsys.readouterr().out
    assert "request 1 of 3: ACCEPTED" in out
    assert "request 2 of 3: REFUSED: the request has no evidence" in out
    with pytest.raises(UsageError):
        enarx("steward", "check", bundle, "--config", tmp_path / "config.toml", "--manifest", bundle)


@pytest.mark.parametrize(
    ("at", "code"),
    [("2019-12-31T00:00:00Z", "certificate-not-yet-valid"), ("2046-01-01T00:00:00Z", "certificate-expired")],
)
def test_check_before_and_after_validity_refuses(
    at: str, code: str, request_files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--config", request_files["policy"], "--manifest", request_files["manifest"], "--json")
    assert enarx("steward", "check", request_files["csr"], *common, "--at", at) == 5
    assert json.loads(capsys.readouterr().out)["code"] == code


def test_check_judges_whether_the_manifest_pins_this_steward(request_files: dict[str, Path], tmp_path: Path) -> None:
    common = ("steward", "check", request_files["csr"], "--config", request_files["policy"], "--at", AT)
    manifest_file = ("--manifest", request_files["manifest"])
    own, other = tmp_path / "own.pem", tmp_path / "other.pem"
    own.write_bytes(authority().certificate.public_bytes(Encoding.PEM))
    other.write_bytes(make_authority("another", NOW)[1])
    assert enarx(*common, *manifest_file, "--ca", own) == 0
    assert enarx(*common, *manifest_file, "--ca", other) == 5
    with pytest.raises(UsageError):
        enarx(*common, *manifest_file, "--ca", request_files["csr"])


def test_check_and_explain_judge_the_signatures_that_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = keep()
    assert one.manifest is not None
    files = {"csr": one.csr(), "manifest": one.manifest.encode(), "good.sig": envelope("a"), "bad.sig": envelope("b")}
    files["policy"] = policy_text(workload=signed_by("a")).encode()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    common = ("--manifest", tmp_path / "manifest", "--at", AT)
    check = ("steward", "check", tmp_path / "csr", "--config", tmp_path / "policy", *common)
    explain = ("policy", "explain", tmp_path / "policy", "--evidence", tmp_path / "csr", *common)
    for command in (check, explain):
        assert enarx(*command, "--signature", tmp_path / "bad.sig", "--signature", tmp_path / "good.sig") == 0
        assert "workload-signature" in capsys.readouterr().out
        assert enarx(*command, "--signature", tmp_path / "bad.sig", "--json") == 5
        assert json.loads(capsys.readouterr().out)["code"] == "signature-mismatch"
        assert enarx(*command) == 5
        assert "Code: signature-missing" in capsys.readouterr().out
        with pytest.raises(UsageError):
            enarx(*command, *[part for _ in range(9) for part in ("--signature", tmp_path / "good.sig")])
    assert enarx("policy", "check", tmp_path / "policy") == 0
    assert "workload web: any package signed by 1 of 1: ed25519 sha256:" in capsys.readouterr().out


def test_explain_prints_the_appraisal_of_a_refusal(
    request_files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    other = request_files["manifest"].with_name("other")
    other.write_bytes(manifest(args=("x",)).encode())
    common = ("policy", "explain", request_files["policy"], "--evidence", request_files["csr"], "--at", AT)
    assert enarx(*common, "--manifest", request_files["manifest"]) == 0
    capsys.readouterr()
    assert enarx(*common, "--manifest", other) == 5
    out = capsys.readouterr().out
    assert "FAIL" in out
    assert "REFUSED: the manifest in the CSR is not the one beside it" in out
    assert "Hint: " in out
    assert "Code: manifest-mismatch" in out


def test_collateral_may_be_given_in_files(request_files: dict[str, Path]) -> None:
    folder = request_files["csr"].parent
    (folder / "crl").write_bytes(simulator().crl())
    (folder / "chain.pem").write_text(simulator().pem)
    common = ("--config", request_files["policy"], "--at", AT, "--chain", folder / "chain.pem", "--crl", folder / "crl")
    assert enarx("steward", "check", request_files["csr"], *common) == 0
    with pytest.raises(UsageError):
        enarx("steward", "check", request_files["csr"], "--config", request_files["policy"], "--at", "noon")


def test_a_valid_policy_is_summed_up_and_a_wrong_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.toml").write_text('[snp]\nmeasurement = "any"\n[debug]\nkvm = true\n')
    assert enarx("policy", "check", tmp_path / "p.toml") == 0
    captured = capsys.readouterr()
    assert "SEV-SNP guests: any measurement" in captured.out
    assert "WARNING" in captured.err
    (tmp_path / "p.toml").write_text(policy_text())
    assert enarx("policy", "check", tmp_path / "p.toml") == 0
    assert "SIMULATED guests: 1 measurements" in capsys.readouterr().out
    (tmp_path / "p.toml").write_text("[typo]")
    with pytest.raises(ConfigError, match=r"p\.toml:1:1"):
        enarx("policy", "check", tmp_path / "p.toml")


def filled(directory: Path) -> str:
    """A database with two certificates; returns the serial of the first."""
    with closing(connect(str(directory / "steward.db"))) as store:
        for number in (1, 2):
            serial = f"{number:032x}"
            store.append([Entry(f'{{"serial":"{serial}"}}', Issued(b"", serial, NOW.replace(year=2040)))])
    return f"{1:032x}"


def test_the_log_is_listed_verified_and_compared_with_a_noted_position(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(tmp_path)
    place = ("--directory", tmp_path)
    assert enarx("steward", "log", *place) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert enarx("steward", "log", *place, "--after", "1") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert enarx("steward", "log", *place, "--verify") == 0
    position = capsys.readouterr().out.split()[-1]
    assert enarx("steward", "log", *place, "--verify", "--expect", position) == 0
    with pytest.raises(AuthenticityError) as caught:
        enarx("steward", "log", *place, "--verify", "--expect", f"3:{'0' * 64}")
    assert caught.value.exit_status == 4
    for wrong in ("x", "1:ab", f"-1:{'0' * 64}"):
        with pytest.raises(UsageError):
            enarx("steward", "log", *place, "--verify", f"--expect={wrong}")


def test_a_tampered_database_ends_with_status_4(tmp_path: Path) -> None:
    import sqlite3

    filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / "steward.db")) as direct, direct:
        direct.execute("INSERT INTO certificates (serial, sequence, not_after) VALUES ('ee', 1, 9)")
    with pytest.raises(AuthenticityError, match="1 certificates have no entry") as caught:
        enarx("steward", "log", "--directory", tmp_path, "--verify")
    assert caught.value.exit_status == 4


def test_revoking_is_logged_once_and_needs_a_certificate_that_was_issued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serial = filled(tmp_path)
    place = ("--directory", tmp_path)
    assert enarx("steward", "revoke", "0x1", "--reason", "keyCompromise", *place) == 0
    assert f"{serial} is revoked, log entry 3" in capsys.readouterr().out
    assert enarx("steward", "revoke", serial, *place) == 0
    assert "was revoked at" in capsys.readouterr().out
    with pytest.raises(UsageError) as caught:
        enarx("steward", "revoke", "77", *place)
    assert caught.value.code == "serial"
    with closing(connect(str(tmp_path / "steward.db"))) as store:
        assert store.head().sequence == 3


@pytest.mark.parametrize(
    ("database", "code"),
    [
        ("postgresql://u:s3cret%zz@host/db", "database-address"),
        ("postgresql://u:s3 cret@host/db", "database-address"),
        ("postgresql:password=s3cret s3cret", "database-address"),
        ("mysql://u:s3cret@host/db", "database-kind"),
        ("http://u:s3cret@host/db", "database-kind"),
        ("postgresql://u:s3cret@127.0.0.1:1/db", "database"),
    ],
)
def test_no_password_of_a_database_is_shown(database: str, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    from enarx.cli.main import main

    assert main(["steward", "log", "--database", database]) == 1
    captured = capsys.readouterr()
    assert f"Code: {code}\n" in captured.err
    assert "s3" not in captured.out + captured.err


def test_the_database_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    monkeypatch.setenv("STEWARD_DATABASE", str(tmp_path / "steward.db"))
    assert enarx("steward", "log", "--verify") == 0


def test_reading_makes_no_database(tmp_path: Path) -> None:
    for arguments in (("log",), ("revoke", "1")):
        with pytest.raises(ConfigError) as caught:
            enarx("steward", *arguments, "--directory", tmp_path)
        assert caught.value.code == "database-missing"
    assert list(tmp_path.iterdir()) == []


def test_a_secret_is_added_privately_and_only_when_the_result_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "steward.toml"
    config.write_text(policy_text())
    place = ("--directory", tmp_path)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"hunter2")))
    assert enarx("steward", "secret", "add", "db", "--workload", "web", "--simulated", *place) == 0
    assert "hunter2" not in capsys.readouterr().out
    (tmp_path / "value").write_bytes(b"\0")
    assert enarx("steward", "secret", "add", "key", "--workload", "web", "--file", tmp_path / "value", *place) == 0
    secrets = {one.name: one for one in read_policy(config).secrets}
    assert secrets["db"].value == b"hunter2"
    assert secrets["db"].simulated
    assert not secrets["key"].simulated
    assert stat.S_IMODE((tmp_path / "secrets" / "db").stat().st_mode) == 0o600
    before = config.read_text()
    for name, workload in (("db", "web"), ("new", "nobody"), ("../x", "web"), (".x", "web"), ("bad name", "web")):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"v")))
        with pytest.raises(EnarxError):
            enarx("steward", "secret", "add", name, "--workload", workload, *place)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    with pytest.raises(ConfigError):
        enarx("steward", "secret", "add", "empty", "--workload", "web", *place)
    assert config.read_text() == before
    assert sorted(path.name for path in (tmp_path / "secrets").iterdir()) == ["db", "key"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_serve_checks_everything_before_it_listens(tmp_path: Path) -> None:
    place = ("steward", "serve", "--directory", tmp_path, "--port")
    for arguments in ((*place, "70000"), (*place, "0", "--workers", "0")):
        with pytest.raises(UsageError):
            enarx(*arguments)
    with pytest.raises(ConfigError):
        enarx(*place, "0")
    enarx("steward", "init", tmp_path / "s")
    with pytest.raises(EnarxError):
        enarx("steward", "serve", "--directory", tmp_path / "s", "--addr", "203.0.113.1", "--port", "0")
    (tmp_path / "s" / "ca.key").chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        enarx("steward", "serve", "--directory", tmp_path / "s", "--port", "0")
    assert caught.value.code == "file-permissions"
