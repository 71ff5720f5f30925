"""enarx evidence verify: an exit status for each phase, a table for people, JSON for programs."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from enarx.evidence.snp import certtable
from tests.cli.command import error_code
from tests.cli.desk import Desk, enarx
from tests.evidence.snp.forge import Machine

AT = ("--at", "2026-06-01T00:00:00Z")
REAL_AT = ("--at", "2026-10-01T00:00:00Z")
REAL_MEASUREMENT = slice(0x90, 0xC0)


def real_policy(real: dict[str, Path], desk: Desk, extra: str = "") -> Path:
    measurement = real["report"].read_bytes()[REAL_MEASUREMENT].hex()
    return desk.put("policy.toml", f'[snp]\nmeasurement = "{measurement}"\n{extra}')


def verified(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = enarx("verify", "--json", *arguments)
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert printed["exit_status"] == status
    assert printed["format"] == "enarx-evidence-verify/1"
    return status, printed


def test_genuine_report_without_a_policy_is_authentic_and_nothing_more(
    real: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for extra in ((), ("--chain", real["chain"])):
        assert enarx("verify", real["report"], "--vcek", real["vcek"], *extra, *REAL_AT) == 0
        printed = capsys.readouterr().out
        assert "NOT APPRAISED" in printed
        assert "WARNING: debug is allowed" in printed
        assert "FAIL" not in printed


def test_accepted_report_says_so(real: dict[str, Path], desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    policy = real_policy(real, desk, "[snp.guest_policy]\ndebug = true\n")
    assert enarx("verify", real["report"], "--vcek", real["vcek"], "--policy", policy, *REAL_AT) == 0
    assert "ACCEPTED by the policy." in capsys.readouterr().out
    status, printed = verified(capsys, real["report"], "--vcek", real["vcek"], "--policy", policy, *REAL_AT)
    assert (status, printed["verdict"], printed["error"]) == (0, "accepted", None)
    assert all(rule["passed"] for rule in printed["checks"] + printed["rules"])
    assert (printed["root"], printed["product"], printed["signer"]) == ("ARK-Milan", "Milan", "VCEK")
    assert printed["report"]["debug"] is True


def test_report_that_the_policy_refuses_exits_5_and_says_which_rule(
    real: dict[str, Path], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = real_policy(real, desk)
    assert enarx("verify", real["report"], "--vcek", real["vcek"], "--policy", policy, *REAL_AT) == 5
    captured = capsys.readouterr()
    assert "FAIL debug: debug-enabled" in captured.out
    assert "REFUSED by the policy." in captured.out
    assert "Code: debug-enabled" in captured.err
    status, printed = verified(capsys, real["report"], "--vcek", real["vcek"], "--policy", policy, *REAL_AT)
    assert (status, printed["verdict"], printed["error"]["code"]) == (5, "refused", "debug-enabled")
    assert [rule["reason"] for rule in printed["rules"] if not rule["passed"]] == ["debug-enabled"]


def test_malformed_report_exits_3(real: dict[str, Path], desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    short = desk.put("short.bin", real["report"].read_bytes()[:-1])
    status, printed = verified(capsys, short, "--vcek", real["vcek"], *REAL_AT)
    assert (status, printed["verdict"]) == (3, "malformed")
    assert enarx("verify", short, "--vcek", real["vcek"], *REAL_AT) == 3
    junk = desk.put("junk.der", b"\x30\x02\x05\x00")
    status, printed = verified(capsys, real["report"], "--vcek", junk, *REAL_AT)
    assert (status, printed["verdict"]) == (3, "malformed")
    assert [(rule["name"], rule["passed"]) for rule in printed["checks"]] == [
        ("signing-key", True),
        ("malformed", False),
    ]


def test_report_that_is_not_authentic_exits_4_and_shows_how_far_it_came(
    real: dict[str, Path], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(real["report"].read_bytes())
    data[0x90] ^= 1
    altered = desk.put("altered.bin", bytes(data))
    status, printed = verified(capsys, altered, "--vcek", real["vcek"], *REAL_AT)
    assert (status, printed["verdict"], printed["error"]["code"]) == (4, "not-authentic", "bad-signature")
    assert [rule["name"] for rule in printed["checks"] if not rule["passed"]] == ["signature"]
    assert enarx("verify", altered, "--vcek", real["vcek"], *REAL_AT) == 4
    assert "NOT VERIFIED" in capsys.readouterr().out


def test_self_made_root_exits_4(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    machine = desk.machine
    report = desk.put("report.bin", machine.report_bytes())
    vcek = desk.put("vcek.der", machine.certificate)
    chain = desk.put("chain.der", machine.vendor.ask + machine.vendor.ark)
    status, printed = verified(capsys, report, "--vcek", vcek, "--chain", chain, *AT)
    assert (status, printed["error"]["code"]) == (4, "untrusted-chain")


def test_missing_and_expired_collateral_exits_6(
    real: dict[str, Path], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    status, printed = verified(capsys, real["report"], *REAL_AT)
    assert (status, printed["verdict"], printed["error"]["code"]) == (6, "collateral", "endorsement-missing")
    status, printed = verified(capsys, real["report"], "--vcek", real["vcek"], "--at", "2040-01-01")
    assert (status, printed["error"]["code"]) == (6, "certificate-expired")
    for at, code in (("0001-01-01", 4), ("9999-12-31T23:59:59Z", 6)):
        assert enarx("verify", real["report"], "--vcek", real["vcek"], "--at", at) == code
    empty = desk.put("table.bin", bytes(4096))
    assert enarx("verify", real["report"], "--certs", empty, *REAL_AT) == 6
    status, printed = verified(capsys, real["report"], "--vcek", real["vcek"], "--require-crl", *REAL_AT)
    assert (status, printed["error"]["code"]) == (6, "crl-missing")
    policy = real_policy(real, desk, "require_crl = true\n")
    assert enarx("verify", real["report"], "--vcek", real["vcek"], "--policy", policy, *REAL_AT) == 6


@pytest.mark.parametrize(
    "policy", ["[snp", "[snp]\n", '[snp]\nmeasurement = "00"\n', "", f'[snp]\nmeasurement = "{"ab" * 48}"\nx = 1\n']
)
def test_wrong_policy_is_a_mistake_of_usage(
    policy: str, real: dict[str, Path], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    path = desk.put("policy.toml", policy)
    status, printed = verified(capsys, real["report"], "--vcek", real["vcek"], "--policy", path, *REAL_AT)
    assert (status, printed["verdict"]) == (2, "usage")
    assert printed["error"]["hint"]


def test_files_and_times_that_cannot_be_read_are_mistakes_of_usage(real: dict[str, Path], desk: Desk) -> None:
    absent = desk.path / "absent"
    assert enarx("verify", absent, "--vcek", real["vcek"]) == 2
    assert enarx("verify", real["report"], "--vcek", absent) == 2
    assert enarx("verify", real["report"], "--vcek", real["vcek"], "--policy", absent) == 2
    for at in ("yesterday", "", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        assert error_code("evidence", "verify", str(real["report"]), "--at", at) == "usage-time"
    assert enarx("verify", desk.put("large", bytes(1024 * 1024 + 1)), "--vcek", real["vcek"]) == 2


def test_two_endorsements_are_a_mistake_of_usage(real: dict[str, Path]) -> None:
    assert enarx("verify", real["report"], "--vcek", real["vcek"], "--vlek", real["vcek"]) == 2


def test_certificates_come_out_of_a_table_in_der_and_pem(real: dict[str, Path], desk: Desk) -> None:
    vcek = real["vcek"].read_bytes()
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(vcek) + b"-----END CERTIFICATE-----\n"
    for blob in (vcek, pem):
        table = desk.put("table.bin", certtable.encode([(certtable.VCEK_GUID, blob)]).ljust(4096, b"\0"))
        assert enarx("verify", real["report"], "--certs", table, *REAL_AT) == 0


def test_table_with_both_keys_is_read_as_the_report_says(real: dict[str, Path], desk: Desk) -> None:
    cloud = Machine(desk.machine.vendor, vlek=True)
    entries = [(certtable.VLEK_GUID, cloud.certificate), (certtable.VCEK_GUID, real["vcek"].read_bytes())]
    assert enarx("verify", real["report"], "--certs", desk.put("table.bin", certtable.encode(entries)), *REAL_AT) == 0


def test_fast_verifier_gives_the_same_verdict(real: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("awscrt")
    plain = verified(capsys, real["report"], "--vcek", real["vcek"], *REAL_AT)
    assert verified(capsys, real["report"], "--vcek", real["vcek"], "--fast", *REAL_AT) == plain


def test_fast_verifier_that_is_not_installed_is_a_mistake_of_usage(
    real: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "awscrt.crypto", None)
    status, printed = verified(capsys, real["report"], "--vcek", real["vcek"], "--fast", *REAL_AT)
    assert (status, printed["verdict"], printed["error"]["code"]) == (2, "usage", "fast-unavailable")


def test_attestation_report_of_sev_is_not_taken_for_certificates(desk: Desk) -> None:
    assert error_code("evidence", "verify", str(desk.put("report", bytes(208)))) == "usage"


def test_sev_platform_under_no_accepted_root_exits_4(platform: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, printed = verified(capsys, platform)
    assert (status, printed["technology"], printed["error"]["code"]) == (4, "sev", "untrusted-chain")
    assert [rule["passed"] for rule in printed["checks"]] == [False]
    assert enarx("verify", platform) == 4
    assert "NOT VERIFIED (not-authentic)." in capsys.readouterr().out


def test_sev_platform_that_is_not_whole_exits_6_or_3(platform: Path, desk: Desk) -> None:
    data = platform.read_bytes()
    assert enarx("verify", desk.put("part", data[: 2 * 2084])) in (4, 6)
    assert enarx("verify", desk.put("cut", data[:-1])) == 3


@pytest.mark.parametrize(
    "option", [("--require-crl",), ("--fast",), ("--policy", "p"), ("--vcek", "v"), ("--crl", "c")]
)
def test_options_of_sev_snp_are_a_mistake_with_sev(option: tuple[str, ...], platform: Path) -> None:
    assert error_code("evidence", "verify", str(platform), *option) == "usage"


def test_published_sev_platform_is_authentic_with_and_without_its_chain(
    vectors: Path, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = vectors / "sev"
    platform = desk.put(
        "naples", b"".join((folder / f"naples.{name}.cert").read_bytes() for name in ("pdh", "pek", "oca", "cek"))
    )
    chain = desk.put("ca", b"".join((folder / f"trust/naples.{name}.cert").read_bytes() for name in ("ask", "ark")))
    for extra in ((), ("--chain", chain)):
        status, printed = verified(capsys, platform, *extra)
        assert (status, printed["verdict"], printed["product"]) == (0, "authentic", "Naples")
        assert all(rule["passed"] for rule in printed["checks"])
    assert enarx("verify", platform) == 0
    assert "No launch was judged." in capsys.readouterr().out


def test_parsing_the_command_line_imports_nothing_heavy() -> None:
    program = (
        "import argparse, sys; before = set(sys.modules); from enarx.cli import evidence; "
        "evidence.add_parser(argparse.ArgumentParser().add_subparsers()); "
        "print([name for name in set(sys.modules) - before"
        " if name.startswith(('cryptography', 'enarx.evidence', 'tomllib'))])"
    )
    # Without the environment, in which coverage would find its way into the new process, and import tomllib there.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={})
    assert done.stdout.strip() == "[]"
