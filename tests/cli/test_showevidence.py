"""enarx evidence show: what a file says, told by its bytes, without believing it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from enarx.evidence.snp import certtable
from enarx.evidence.snp.endorsement import OID_PRODUCT_NAME
from tests.cli.desk import Desk, enarx


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


def test_show_prints_every_certificate_of_a_chain(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    vendor = desk.machine.vendor
    chain = vendor.ask + vendor.ark + desk.machine.certificate
    path = desk.put("chain.der", chain)
    assert enarx("show", path) == 0
    printed = capsys.readouterr().out
    assert printed.index("SEV-Milan") < printed.index("ARK-Milan") < printed.index("VCEK, key on P-384")
    assert enarx("show", path, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kind"] == "certificates"
    listed = document["fields"]["certificates"]
    assert [(one["subject"], one.get("snp")) for one in listed] == [
        ("SEV-Milan", None),
        ("ARK-Milan", None),
        ("SEV-VCEK", 24),
    ]


def test_show_reads_revocation_lists_in_der_and_pem(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    crl = desk.machine.vendor.crl(0x20001)
    pem = b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(crl) + b"-----END X509 CRL-----\n"
    for data in (crl, pem):
        path = desk.put("crl", data)
        assert enarx("show", path) == 0
        assert "serial 0x20001 since 2020-01-01T00:00:00Z" in capsys.readouterr().out
        assert enarx("show", path, "--json") == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["kind"], document["fields"]["issuer"]) == ("crl", "ARK-Milan")
        assert document["fields"]["revoked"] == {"0x20001": "2020-01-01T00:00:00Z"}
    empty = desk.put("crl", desk.machine.vendor.crl())
    assert enarx("show", empty) == 0
    assert "nothing" in capsys.readouterr().out


def test_show_says_what_an_endorsement_lacks(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    machine = desk.machine
    path = desk.put("vcek", machine.endorse(machine.plan.without(OID_PRODUCT_NAME)))
    assert enarx("show", path) == 0
    assert f"lacks the extension {OID_PRODUCT_NAME}" in capsys.readouterr().out


def test_show_points_out_an_author_key_that_is_and_is_not_there(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    for flags, digest, words in (
        (0, bytes(48), "none"),
        (1, b"\xee" * 48, "ee" * 48),
        (1, bytes(48), "AUTHOR_KEY_EN=1, a contradiction"),
        (0, b"\xee" * 48, "AUTHOR_KEY_EN=0, a contradiction"),
    ):
        report = desk.put("report", desk.machine.report_bytes(flags=flags, author_key_digest=digest))
        assert enarx("show", report) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("author key"))
        assert words in line
        assert ("contradiction" in line) is ("contradiction" in words)


@pytest.mark.parametrize("data", [b"", b"anything", b"\x30\x82", bytes(1184), bytes(1183)])
def test_show_of_something_else_is_an_error(data: bytes, desk: Desk) -> None:
    assert enarx("show", desk.put("file", data)) == 3
    assert enarx("show", desk.path / "absent") == 2
