"""enarx evidence: an exit status for each phase, a table for people, JSON for programs."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from enarx.cli.main import main
from enarx.evidence.snp import certtable
from tests.cli.command import error_code
from tests.evidence.sev.platforms import make_platform
from tests.evidence.snp.forge import Machine, Vendor

AT = ("--at", "2026-06-01T00:00:00Z")


def enarx(*arguments: str | Path) -> int:
    """What the command line's entry does with these arguments: the exit status of the command or of its error."""
    return main(["evidence", *map(str, arguments)])


class Desk:
    """A directory with a forged machine's report and certificates. The forged vendor is no accepted root, so what is
    to be accepted is taken from the published package."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.machine = Machine(Vendor())

    def put(self, name: str, data: bytes | str) -> Path:
        path = self.path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def real(desk: Desk) -> dict[str, Path]:
    """A real Milan report (its policy allows debug) and its certificates."""
    vectors = pytest.importorskip("omne_attest.vectors")
    chain = vectors.ask() + vectors.ark()
    return {
        "report": desk.put("report.bin", vectors.attestation()),
        "vcek": desk.put("vcek.der", vectors.vcek()),
        "chain": desk.put("chain.der", chain),
    }


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
    junk = desk.put("junk.der", b"\x30\x03junk")
    assert enarx("verify", real["report"], "--vcek", junk, *REAL_AT) == 3


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
    assert enarx("verify", real["report"], "--vcek", real["vcek"], "--at", "yesterday") == 2
    assert enarx("verify", desk.put("large", bytes(1024 * 1024 + 1)), "--vcek", real["vcek"]) == 2


def test_two_endorsements_are_a_mistake_of_usage(real: dict[str, Path]) -> None:
    assert enarx("verify", real["report"], "--vcek", real["vcek"], "--vlek", real["vcek"]) == 2


def test_certificates_come_out_of_a_table_in_der_and_pem(real: dict[str, Path], desk: Desk) -> None:
    vcek = real["vcek"].read_bytes()
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(vcek) + b"-----END CERTIFICATE-----\n"
    for blob in (vcek, pem):
        table = desk.put("table.bin", certtable.encode([(certtable.VCEK_GUID, blob)]).ljust(4096, b"\0"))
        assert enarx("verify", real["report"], "--certs", table, *REAL_AT) == 0


def test_fast_verifier_gives_the_same_verdict(real: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("awscrt")
    plain = verified(capsys, real["report"], "--vcek", real["vcek"], *REAL_AT)
    assert verified(capsys, real["report"], "--vcek", real["vcek"], "--fast", *REAL_AT) == plain


def test_show_prints_fields_in_words_and_says_that_nothing_is_verified(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    report = desk.put("report.bin", desk.machine.report_bytes(policy=0xB0000))
    assert enarx("show", report) == 0
    printed = capsys.readouterr().out
    for words in (
        "version 5",
        "Milan",
        "bootloader=4 tee=0 snp=24 microcode=219",
        "DEBUG ALLOWED",
        "ECC memory",
        "ab" * 48,
    ):
        assert words in printed
    assert "Nothing here has been verified" in printed
    assert enarx("show", report, "--json") == 0
    fields = json.loads(capsys.readouterr().out)["fields"]
    assert fields["measurement"] == "ab" * 48
    assert fields["policy"] == "0xb0000"


def test_show_reads_certificates_and_tables(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    machine = desk.machine
    for data, words in (
        (machine.certificate, "VCEK"),
        (machine.vendor.ask, "SEV-Milan"),
        (certtable.encode([(certtable.VCEK_GUID, machine.certificate)]), "VCEK"),
    ):
        path = desk.put("file", data)
        assert enarx("show", path) == 0
        assert words in capsys.readouterr().out
        assert enarx("show", path, "--json") == 0
        assert json.loads(capsys.readouterr().out)["fields"]


@pytest.fixture
def platform(desk: Desk) -> Path:
    """The certificates of a SEV platform under a root that nobody accepts."""
    return desk.put("platform.certs", b"".join(one.to_bytes() for one in make_platform().chain))


def test_show_reads_sev_certificates_and_reports(
    platform: Path, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enarx("show", platform) == 0
    printed = capsys.readouterr().out
    for words in ("PDH: platform Diffie-Hellman key", "P-384, ecdh_sha256", "OCA, CEK", "RSA 2048 bits", "itself"):
        assert words in printed
    assert "Nothing here has been verified" in printed
    assert enarx("show", platform, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kind"] == "sev-certificates"
    assert [one["usage"] for one in document["fields"]["certificates"]] == ["pdh", "pek", "oca", "cek", "ask", "ark"]

    report = desk.put("report", bytes(16) + b"\xab" * 32 + (0x0133_0004).to_bytes(4, "little") + bytes(156))
    assert enarx("show", report) == 0
    printed = capsys.readouterr().out
    for words in ("ab" * 32, "firmware API >= 51.1", "SEV-ES is required", "WARNING: debug is allowed"):
        assert words in printed
    assert enarx("show", report, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["kind"], document["fields"]["policy"]) == ("sev-report", "0x1330004")


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


@pytest.mark.parametrize(("data", "status"), [(b"", 2), (b"anything", 2), (b"\x30\x82", 3), (bytes(1184), 3)])
def test_show_of_something_else_is_an_error(data: bytes, status: int, desk: Desk) -> None:
    assert enarx("show", desk.put("file", data)) == status


INDEX = """
[[case]]
name = "good"
tee = "snp"
inputs = ["report.bin", "vcek.der", "chain.der"]
verify_at = "2026-10-01T00:00:00Z"
expect = "ok"
[case.fields]
vmpl = 0
[[case]]
name = "good-debug-policy"
tee = "snp"
inputs = ["report.bin", "vcek.der"]
verify_at = 2026-10-01T00:00:00Z
expect = "fail:debug-enabled"
[[case]]
name = "other"
tee = "abacus"
inputs = []
expect = "info"
"""


def test_cases_are_judged_one_line_each_and_never_see_the_answer(
    real: dict[str, Path], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    index = desk.put("INDEX.toml", INDEX)
    assert enarx("run-cases", index) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["case"], line["verdict"], line["reason"]) for line in lines] == [
        ("good", "ok", ""),
        ("good-debug-policy", "fail", "debug-enabled"),
        ("other", "unsupported", "technology 'abacus' is not supported"),
    ]
    assert all(set(line) == {"case", "verdict", "reason", "fields"} for line in lines)
    desk.put("INDEX.toml", INDEX.replace('"ok"', '"fail"').replace("fail:debug-enabled", "ok"))
    assert enarx("run-cases", index) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == lines


def test_comparison_exits_1_on_a_difference(
    real: dict[str, Path], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    index = desk.put("INDEX.toml", INDEX)
    assert enarx("run-cases", index, "--compare") == 0
    assert "3 cases, 0 different" in capsys.readouterr().out
    for old, new in (('"ok"', '"fail"'), ("fail:debug-enabled", "fail:malformed"), ("vmpl = 0", "vmpl = 1")):
        desk.put("INDEX.toml", INDEX.replace(old, new))
        assert enarx("run-cases", index, "--compare", "--json") == 1
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert sum(not line["match"] for line in lines) == 1
        assert enarx("run-cases", index, "--compare", "--tee", "abacus") == 0
        capsys.readouterr()


def test_index_that_names_files_elsewhere_is_not_followed(
    real: dict[str, Path], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("../secret", "/etc/hostname", "absent.bin"):
        index = desk.put("INDEX.toml", f'[[case]]\nname = "x"\ntee = "snp"\ninputs = ["{name}"]\nexpect = "ok"\n')
        assert enarx("run-cases", index) == 0
        line = json.loads(capsys.readouterr().out)
        assert line["verdict"] == "unsupported"
        assert line["reason"] in ("case-inputs", "file-unreadable")


@pytest.mark.parametrize("text", ["[[case", "\xff"])
def test_broken_index_is_a_mistake_of_usage(text: str, desk: Desk) -> None:
    assert enarx("run-cases", desk.put("INDEX.toml", text.encode("latin-1"))) == 2
    assert enarx("run-cases", desk.path / "absent.toml") == 2


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
