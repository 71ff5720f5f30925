"""``enarx trust`` as a user runs it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from omne_attest import vectors

from enarx.cli.main import main
from enarx.cli.trust import CHOICES, COLUMNS_MAX
from enarx.evidence.snp import parse
from enarx.tenant.policy import CertificateRules
from enarx.tenant.steward.decide import decide
from tests.connect.test_bundle import saved
from tests.keep.tenants import tls_server
from tests.tenant import sevlaunches
from tests.tenant.keeps import Keep, authority, judge, manifest, policy_text
from tests.tenant.steward.test_sev import issued, keep
from tests.tenant.test_peer import silent

RULES = CertificateRules(timedelta(hours=12), ("localhost",))
AT = "2026-10-01T00:00:00Z"


@pytest.fixture(scope="module")
def chain() -> list[bytes]:
    keep, now = Keep(), datetime.now(UTC)
    grant = decide(keep.request(), judge(), now).grant
    assert grant is not None
    return [authority().issue(grant, RULES, now).der, authority().der]


@pytest.fixture(scope="module")
def url(chain: list[bytes]) -> Iterator[str]:
    with tls_server(silent, chain, Keep().key) as port:
        yield f"https://localhost:{port}"


@pytest.fixture
def desk(tmp_path: Path, chain: list[bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "policy.toml").write_text(policy_text())
    (tmp_path / "manifest.json").write_bytes(manifest().encode())
    (tmp_path / "ca.pem").write_bytes(authority().certificate.public_bytes(Encoding.PEM))
    (tmp_path / "chain.der").write_bytes(b"".join(chain))
    (tmp_path / "report.bin").write_bytes(vectors.attestation())
    (tmp_path / "vcek.der").write_bytes(vectors.vcek())
    measurement = parse(vectors.attestation()).measurement.hex()
    table = f'[snp]\nmeasurement = "{measurement}"\n[snp.guest_policy]\ndebug = '
    (tmp_path / "lenient.toml").write_text(f"{table}true\n")
    (tmp_path / "strict.toml").write_text(f"{table}false\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trust(*arguments: str) -> int:
    return main(["trust", *arguments])


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    assert trust(*arguments, "--json") == status
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["stacks"]
    return found


def statuses(stack: dict[str, Any]) -> dict[str, str]:
    return {row["id"]: row["status"] for row in (*stack["layers"], *stack["around"])}


# --- as it is built


@pytest.mark.parametrize("name", CHOICES)
def test_each_kind_is_shown_by_its_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (stack,) = shown(capsys, "--compare", name)
    assert stack["kind"] == ("keep-snp" if name == "keep" else name)
    assert stack["basis"] == "design"
    assert stack["verdict"] is None


def test_kinds_are_compared_side_by_side(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert trust("--compare", "vm,container,keep") == 0
    out = capsys.readouterr().out
    assert re.search(r"^Hypervisor +\[C\] ● assumed +\[C\] ● assumed +\[C\] ○ out of the stack$", out, re.MULTILINE)
    assert "No longer: Cloud provider, OEM." in out
    assert "\x1b" not in out


def test_japanese_is_spoken(capsys: pytest.CaptureFixture[str]) -> None:
    assert trust("--compare", "vm,keep", "--lang", "ja") == 0
    assert "ハイパーバイザー" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("color", "variables", "colored"),
    [
        ("auto", {}, False),  # no terminal
        ("always", {}, True),
        ("always", {"NO_COLOR": "1"}, True),
        ("never", {}, False),
    ],
)
def test_colour_is_a_choice(
    color: str, variables: dict[str, str], colored: bool, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert trust("--compare", "keep", "--color", color) == 0
    assert ("\x1b[" in capsys.readouterr().out) == colored


@pytest.mark.parametrize(
    ("variables", "colored"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_a_terminal_is_coloured_unless_it_asks_not_to_be(
    variables: dict[str, str], colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from enarx.cli.trust import terminal_style

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert terminal_style().color is colored


# --- a Keep that serves


def test_a_simulated_keep_that_a_policy_accepts_proves_nothing(
    url: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (stack,) = shown(capsys, url, "--policy", "policy.toml", "--manifest", "manifest.json")
    assert (stack["kind"], stack["verdict"], stack["simulated"]) == ("keep-simulated", "accepted", True)
    assert stack["notes"][0]["key"] == "note.simulated"
    assert not {"proved", "out"} & set(statuses(stack).values())
    application = stack["layers"][0]
    assert application["versions"][0] == {
        "name": "fact.workload", "label": "workload", "value": manifest().workload.digest, "source": "manifest",
    }  # fmt: skip
    assert {rule["name"] for rule in stack["rules"]} >= {"signature", "measurement", "key-binding", "manifest"}


def test_the_keep_takes_its_place_among_what_it_is_compared_with(
    url: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--policy", "policy.toml", "--ca", "ca.pem")
    found = shown(capsys, url, "--compare", "vm,keep,keep-snp", *options)
    assert [(one["kind"], one["basis"]) for one in found] == [
        ("vm", "design"), ("keep-simulated", "evidence"), ("keep-snp", "design"),
    ]  # fmt: skip
    found = shown(capsys, url, "--compare", "vm", *options)
    assert [one["kind"] for one in found] == ["vm", "keep-simulated"]


def test_without_a_policy_a_simulator_is_nobody(url: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stack,) = shown(capsys, url, status=4)
    assert stack["verdict"] == "refused"
    assert set(statuses({**stack, "around": []}).values()) == {"unknown", "absent"}
    assert "note.says-simulated" in [note["key"] for note in stack["notes"]]
    assert trust(url) == 4
    captured = capsys.readouterr()
    assert "SIMULATED by its own word" in captured.out
    assert "Code: " in captured.err
    assert "Traceback" not in captured.err


def test_a_refused_keep_is_shown_with_nothing_established(
    url: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "policy.toml").write_text(policy_text().replace("ab" * 48, "cd" * 48))
    (stack,) = shown(capsys, url, "--policy", "policy.toml", "--manifest", "manifest.json", status=5)
    assert (stack["verdict"], stack["error"]["code"]) == ("refused", "measurement-mismatch")
    assert not {"proved", "out", "assumed"} & {row["status"] for row in stack["layers"]}


def test_nobody_there_is_an_error_and_no_stack(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust("https://localhost:9", "--policy", "policy.toml") == 1
    captured = capsys.readouterr()
    assert "Code: keep-unreachable" in captured.err
    assert captured.out == ""


def test_a_chain_in_a_file_is_judged_like_the_keep_that_showed_it(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (stack,) = shown(capsys, "--evidence", "chain.der", "--policy", "policy.toml", "--ca", "ca.pem")
    assert (stack["subject"], stack["verdict"], stack["kind"]) == ("chain.der", "accepted", "keep-simulated")


# --- evidence of hardware


def test_a_genuine_report_without_a_policy_proves_the_firmware_alone(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (stack,) = shown(capsys, "--evidence", "report.bin", "--vcek", "vcek.der", "--at", AT)
    found = statuses(stack)
    assert (stack["kind"], stack["verdict"]) == ("keep-snp", "authentic")
    assert [name for name, status in found.items() if status == "proved"] == ["firmware"]
    assert found["cpu"] == "assumed"
    # This guest may be debugged, so the host can reach it whatever else is unknown.
    assert found["hypervisor"] == "assumed"
    firmware = next(row for row in stack["layers"] if row["id"] == "firmware")
    assert {"name": "tcb.microcode", "label": "microcode, security version", "value": "68", "source": "evidence"} in (
        firmware["versions"]
    )


def test_a_guest_that_may_be_debugged_is_not_shown_as_protected(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--evidence", "report.bin", "--vcek", "vcek.der", "--at", AT, "--policy")
    (stack,) = shown(capsys, *options, "lenient.toml")
    assert (stack["verdict"], statuses(stack)["hypervisor"]) == ("accepted", "assumed")
    assert "note.debug" in [note["key"] for note in stack["notes"]]
    (stack,) = shown(capsys, *options, "strict.toml", status=5)
    assert stack["error"]["code"] == "debug-enabled"


def test_a_manifest_that_the_launch_is_not_of_is_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--evidence", "report.bin", "--vcek", "vcek.der", "--at", AT, "--manifest", "manifest.json")
    (stack,) = shown(capsys, *options, status=5)
    assert stack["error"]["code"] == "manifest-mismatch"


def test_a_forged_report_establishes_nothing(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(vectors.attestation())
    data[0x90] ^= 1
    (desk / "report.bin").write_bytes(data)
    (stack,) = shown(capsys, "--evidence", "report.bin", "--vcek", "vcek.der", "--at", AT, status=4)
    assert stack["kind"] == "keep-unknown"
    assert {row["status"] for row in stack["layers"]} == {"unknown", "absent"}


def test_sev_certificates_say_which_machine_and_nothing_of_a_launch(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [(published / "sev" / f"naples.{key}.cert").read_bytes() for key in ("pdh", "pek", "oca", "cek")]
    (tmp_path / "platform.chain").write_bytes(b"".join(parts))
    (stack,) = shown(capsys, "--evidence", str(tmp_path / "platform.chain"))
    assert (stack["kind"], stack["verdict"]) == ("keep-sev", "authentic")
    assert statuses(stack)["application"] == statuses(stack)["middleware"] == "unknown"
    assert {fact["name"] for fact in stack["layers"][-1]["evidence"]} >= {"fact.root", "fact.pek"}


@pytest.fixture
def published(vectors: Path) -> Path:
    return vectors


@pytest.fixture
def sev(tmp_path: Path) -> Path:
    """What a Keep on a simulated SEV platform shows, and a policy that accepts it."""
    (tmp_path / "sev.der").write_bytes(b"".join(issued(keep())))
    (tmp_path / "sev.toml").write_text(sevlaunches.policy_text())
    (tmp_path / "sev.root").write_bytes(sevlaunches.platform().root)
    (tmp_path / "sev-ca.pem").write_bytes(sevlaunches.authority().certificate.public_bytes(Encoding.PEM))
    return tmp_path


def test_a_keep_that_an_approver_vouches_for_is_shown(
    sev: Path, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = sevlaunches.NOW.isoformat()
    options = ("--evidence", "sev.der", "--at", at)
    (stack,) = shown(capsys, *options, "--policy", "sev.toml", "--ca", "sev-ca.pem")
    assert (stack["verdict"], stack["simulated"]) == ("accepted", True)
    middleware = next(row for row in stack["layers"] if row["id"] == "middleware")
    assert middleware["evidence"][0]["name"] == "fact.launch-digest"
    assert {"launch-digest", "enrolment-signature"} <= set(middleware["checks"])
    (stack,) = shown(capsys, *options, status=4)
    assert stack["error"]["code"] == "untrusted-approver"
    assert stack["simulated"]


# --- bundles


@pytest.fixture
def bundled(desk: Path) -> Path:
    (desk / "keep.bundle").write_bytes(saved().encode())
    return desk


def test_a_bundle_is_judged_as_it_was_saved_and_says_by_whose_policy(
    bundled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (stack,) = shown(capsys, "--bundle", "keep.bundle")
    assert (stack["verdict"], stack["kind"]) == ("accepted", "keep-simulated")
    assert stack["judged_at"] == saved().saved.isoformat()
    assert "note.bundle" in [note["key"] for note in stack["notes"]]
    middleware = next(row for row in stack["layers"] if row["id"] == "middleware")
    assert {"session-binding", "session-guest"} <= set(middleware["checks"])
    assert stack["layers"][0]["versions"][0]["source"] == "manifest"


def test_a_bundle_is_judged_by_a_policy_of_ones_own(bundled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stack,) = shown(capsys, "--bundle", "keep.bundle", "--policy", "policy.toml", "--ca", "ca.pem")
    assert "note.bundle" not in [note["key"] for note in stack["notes"]]
    (bundled / "policy.toml").write_text(policy_text().replace("ab" * 48, "cd" * 48))
    (stack,) = shown(capsys, "--bundle", "keep.bundle", "--policy", "policy.toml", status=5)
    assert stack["error"]["code"] == "measurement-mismatch"


def test_what_is_no_bundle_is_refused(bundled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust("--bundle", "policy.toml") == 3
    assert "Code: bundle" in capsys.readouterr().err


# --- this machine, and a bill of materials


def test_this_machine_is_shown_by_its_own_account(capsys: pytest.CaptureFixture[str]) -> None:
    (stack,) = shown(capsys, "--host")
    assert (stack["kind"], stack["basis"]) == ("host", "host")
    assert "proved" not in statuses(stack).values()
    versions = [fact for row in stack["layers"] for fact in row["versions"]]
    assert versions
    assert {fact["source"] for fact in versions} == {"host"}
    assert trust("--host") == 0
    assert "(claimed by the host)" in capsys.readouterr().out


def test_components_come_from_a_bill_of_materials(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    component = {"type": "operating-system", "name": "linux-image-6.12", "version": "6.12.1", "hashes": [
        {"alg": "SHA-256", "content": "ab" * 32}]}  # fmt: skip
    (desk / "sbom.json").write_text(json.dumps({"bomFormat": "CycloneDX", "components": [component]}))
    (stack,) = shown(
        capsys, "--evidence", "report.bin", "--vcek", "vcek.der", "--at", AT, "--sbom", "sbom.json"
    )  # fmt: skip
    guest = next(row for row in stack["layers"] if row["id"] == "guest-os")
    assert guest["versions"][-1]["value"] == f"6.12.1 sha256:{'ab' * 32}"
    assert guest["versions"][-1]["source"] == "sbom"
    (desk / "sbom.json").write_text("{}")
    assert trust("--compare", "keep", "--sbom", "sbom.json") == 3
    assert "Code: sbom" in capsys.readouterr().err


# --- files


def test_page_and_picture_are_written_as_whole_files(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "stack.html").write_text("old")
    assert trust("--compare", "vm,keep", "--html", "stack.html", "--svg", "stack.svg", "--lang", "ja") == 0
    assert (desk / "stack.html").read_text().startswith("<!doctype html>")
    assert (desk / "stack.svg").read_text().startswith("<svg ")
    assert capsys.readouterr().out == ""
    assert not [path for path in desk.iterdir() if path.name.startswith(".stack")]


def test_the_page_of_a_refused_keep_is_written_and_the_status_says_so(
    url: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trust(url, "--html", "stack.html") == 4
    assert "REFUSED" in (desk / "stack.html").read_text()


def test_a_page_that_cannot_be_written_is_an_error(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust("--compare", "vm", "--html", "no/such/place.html") == 2
    assert "Code: file-unwritable" in capsys.readouterr().err


def test_a_page_can_go_to_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert trust("--compare", "vm", "--html", "-") == 0
    assert capfdbinary.readouterr().out.startswith(b"<!doctype html>")


# --- what is wrong


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--compare"),
        (["https://localhost:1", "--host"], "one of URL"),
        (["http://localhost:1"], "https://HOST:PORT"),
        (["--host", "--policy", "policy.toml"], "--policy goes with"),
        (["--compare", "vm", "--at", AT], "--at goes with"),
        (["https://localhost:1", "--fresh"], "--fresh goes with"),
        (["--bundle", "x", "--crl", "y"], "--crl goes with"),
        (["--compare", "vm,spaceship"], "spaceship"),
        (["--compare", ""], "one of URL"),
        (["--compare", "vm,vm"], "names one twice"),
        (["--compare", ",".join(CHOICES)], f"more than {COLUMNS_MAX}"),
        (["--evidence", "no-such-file"], "no-such-file"),
        (["--evidence", "report.bin", "--vcek", "vcek.der", "--ca", "ca.pem"], "--ca goes with"),
        (["--evidence", "chain.der", "--ca", "ca.pem"], "--ca goes with"),
        (["--evidence", "chain.der", "--vcek", "vcek.der"], "--vcek goes with"),
        (["--compare", "vm", "--lang", "fr"], "fr"),
    ],
)
def test_a_wrong_command_line_is_explained(
    arguments: list[str], word: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trust(*arguments) == 2
    captured = capsys.readouterr()
    assert word in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"\x30\x03\x02\x01\x01", b"-----BEGIN CERTIFICATE-----"])
def test_what_is_no_evidence_is_refused(data: bytes, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "evidence").write_bytes(data)
    assert trust("--evidence", "evidence") == 3
    assert "Traceback" not in capsys.readouterr().err


def test_a_report_needs_the_certificate_of_its_key(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust("--evidence", "report.bin") == 6
    assert "Code: endorsement-missing" in capsys.readouterr().err
