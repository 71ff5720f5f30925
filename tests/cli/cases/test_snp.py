"""SNP cases: what a case asks is told by the bytes of its inputs."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from enarx.cli.cases import CaseResult, dstack, snp
from enarx.errors import AuthenticityError, EnarxError, EvidenceError, MalformedError
from enarx.evidence.binding import SNP_EVIDENCE_OID, report_data, snp_evidence
from enarx.evidence.snp import certtable
from enarx.evidence.snp.authenticate import authenticate
from enarx.evidence.snp.endorsement import OID_HARDWARE_ID
from enarx.evidence.snp.product import Product
from enarx.evidence.snp.roots import amd_name
from enarx.evidence.snp.trust import Trust
from tests.cli.cases.launch_document import launch_document
from tests.evidence.snp.forge import NOW, Machine, Vendor, ec_key


@pytest.fixture
def machine() -> Machine:
    return Machine(Vendor())


@pytest.fixture
def judge(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CaseResult]:
    """Judges inputs as a case, with the forged vendor in AMD's place."""
    trust: Trust = machine.vendor.trust()
    monkeypatch.setattr(snp, "AMD", trust)
    monkeypatch.setattr(
        snp, "authenticate", lambda report, collateral, now: authenticate(report, collateral, now, trust=trust)
    )

    def run(*data: bytes, name: str = "case", at: datetime = NOW, **case: object) -> CaseResult:
        files = {str(i): one for i, one in enumerate(data)}
        return snp.run({"name": name, "inputs": list(files), "verify_at": at, **case}, files.__getitem__, {})

    return run


def pem(label: str, data: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n".encode() + base64.encodebytes(data) + f"-----END {label}-----\n".encode()


def test_report_is_judged_with_certificates_in_any_order_and_form(
    machine: Machine, judge: Callable[..., CaseResult]
) -> None:
    vendor, report = machine.vendor, machine.report_bytes()
    chain = pem("CERTIFICATE", vendor.ask) + pem("CERTIFICATE", vendor.ark)
    table = certtable.encode([(certtable.VCEK_GUID, machine.certificate), (certtable.CRL_GUID, vendor.crl())])
    for inputs in (
        (report, machine.certificate),
        (report, machine.certificate, vendor.ask + vendor.ark),
        (chain, pem("CERTIFICATE", machine.certificate), report),
        (report, machine.certificate, vendor.ask, vendor.crl()),
        (report, machine.certificate, pem("X509 CRL", vendor.crl())),
        (report, table),
    ):
        result = judge(*inputs)
        assert (result.verdict, result.reason) == ("ok", "")
        assert result.fields["measurement"] == "ab" * 48
        assert result.fields["cpuid_model"] == 1


def test_refusals_keep_the_fields_and_the_reason(machine: Machine, judge: Callable[..., CaseResult]) -> None:
    debug = machine.report_bytes(policy=0xB0000)
    assert judge(debug, machine.certificate).verdict == "ok"
    result = judge(debug, machine.certificate, name="x-debug-policy")
    assert (result.verdict, result.reason, result.fields["debug"]) == ("fail", "debug-enabled", True)
    altered = bytearray(debug)
    altered[0x90] ^= 1
    assert judge(bytes(altered), machine.certificate).reason == "bad-signature"
    revoked = judge(debug, machine.certificate, machine.vendor.crl(0x10001))
    assert revoked.reason == "certificate-revoked"


def test_report_without_an_endorsement_is_read_and_not_judged(
    machine: Machine, judge: Callable[..., CaseResult]
) -> None:
    result = judge(machine.report_bytes())
    assert (result.verdict, result.reason, result.fields["vmpl"]) == ("unsupported", "no-endorsement", 0)


def test_endorsement_fitting_the_report_is_chosen(machine: Machine, judge: Callable[..., CaseResult]) -> None:
    cloud = Machine(machine.vendor, vlek=True)
    for report in (machine.report_bytes(), cloud.report_bytes()):
        assert judge(report, machine.certificate, cloud.certificate).verdict == "ok"


def test_certificates_alone_are_verified_as_a_chain(machine: Machine, judge: Callable[..., CaseResult]) -> None:
    vendor = machine.vendor
    result = judge(machine.certificate, vendor.ask + vendor.ark)
    assert (result.verdict, result.fields["product"], result.fields["snp"]) == ("ok", "Milan-B0", 24)
    assert judge(vendor.ask, vendor.asvk + vendor.ark).fields["name"] == "SEV-Milan"
    assert judge(vendor.ask + vendor.ark).verdict == "ok"
    with pytest.raises(EvidenceError):
        judge(vendor.ark)


def test_refused_certificates_keep_their_fields_and_the_reason(
    machine: Machine, judge: Callable[..., CaseResult]
) -> None:
    vendor, impostor, genoa = machine.vendor, Vendor(name="impostor"), Vendor(Product.GENOA)
    for reason, *inputs in (
        ("certificate-revoked", vendor.ask, vendor.crl(0x10001)),
        ("bad-signature", impostor.ask),
        ("untrusted-chain", vendor.ask, impostor.ask + impostor.ark),
        ("untrusted-chain", vendor.ask, genoa.ask + genoa.ark),
        ("bad-signature", Machine(impostor).certificate, vendor.ask + vendor.ark),
        ("missing-extension", machine.endorse(machine.plan.without(OID_HARDWARE_ID)), vendor.ask + vendor.ark),
    ):
        result = judge(*inputs)
        assert (result.verdict, result.reason) == ("fail", reason)
        assert result.fields["not_before"] == result.fields["nb"] == "2020-01-01T00:00:00Z"
        assert str(result.fields["iss"]).endswith("OU=Engineering")
    refused = judge(Machine(impostor).certificate, vendor.ask + vendor.ark).fields
    assert (refused["product"], refused["snp"], refused["hwid"]) == ("Milan-B0", 24, machine.hardware_id.hex())


def test_certificate_in_the_place_of_an_endorsement_is_refused(
    machine: Machine, judge: Callable[..., CaseResult]
) -> None:
    renamed = machine.endorse(replace(machine.plan, subject=amd_name("SEV-WCEK")))
    for inputs in ((renamed,), (renamed, machine.vendor.ask + machine.vendor.ark), (machine.vendor.ask,)):
        result = judge(machine.report_bytes(), *inputs)
        assert (result.verdict, result.reason) == ("fail", "untrusted-chain")


def test_two_reports_are_not_one_case(machine: Machine, judge: Callable[..., CaseResult]) -> None:
    with pytest.raises(MalformedError):
        judge(machine.report_bytes(), machine.report_bytes())


def test_described_launch_is_measured_and_compared_with_the_report(
    machine: Machine, judge: Callable[..., CaseResult]
) -> None:
    launch = dstack.read(launch_document())
    assert launch.host_data is not None
    good = machine.report_bytes(measurement=launch.measurement(), host_data=launch.host_data)
    result = judge(launch_document(), good)
    assert (result.verdict, result.fields["launch_digest"]) == ("ok", launch.measurement().hex())
    assert judge(launch_document()).verdict == "ok"
    assert judge(launch_document(cmdline="init=/bin/sh"), good).reason == "measurement-mismatch"
    other = machine.report_bytes(measurement=launch.measurement())
    assert judge(launch_document(), other).reason == "host-data-mismatch"


@pytest.mark.parametrize(
    "change",
    [
        {"ovmf_hash": b"short"},
        {"ovmf_hash": 3},
        {"reset_eip": "no number"},
        {"ovmf_sections": [{"gpa": 0}]},
        {"ovmf_sections": [{"gpa": 0, "size": 4096, "type": 1}] * 65},
        {"ovmf_sections": 7},
        {"cmdline": "with \0"},
    ],
)
def test_launch_that_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(EnarxError):
        dstack.read(launch_document(**change)).measurement()


@pytest.mark.parametrize("data", [b"", b"{}", b'{"attestation": "zz"}', b'{"attestation": "00"}', b"[" * 50_000])
def test_document_without_a_launch_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        dstack.read(data)


def test_document_past_its_limit_is_refused() -> None:
    with pytest.raises(MalformedError):
        dstack.read(bytes(dstack.DOCUMENT_MAX_BYTES + 1))


@given(st.binary(max_size=80))
def test_any_cbor_is_a_launch_or_malformed(data: bytes) -> None:
    stated = json.dumps({"measurement": base64.b64encode(data).decode(), "vcpus": 1})
    config = json.dumps({"sev_snp_measurement": stated}).encode()
    with contextlib.suppress(EvidenceError):
        dstack.read(json.dumps({"attestation": config.hex()}).encode())


def request(machine: Machine, *, over: bytes | None = None, evidence: bool = True) -> bytes:
    """A certification request as a Keep makes it, with its report over ``over`` in place of its own key."""
    key = ec_key("keep")
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    report = machine.report_bytes(report_data=report_data(spki if over is None else over))
    value = snp_evidence(report, machine.certificate, [("https://example.com/crl", machine.vendor.crl())])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    oid = x509.ObjectIdentifier(SNP_EVIDENCE_OID if evidence else "1.2.3.4")
    return (
        builder.add_extension(x509.UnrecognizedExtension(oid, value), False)
        .sign(key, SHA384())
        .public_bytes(Encoding.DER)
    )


def test_request_of_a_keep_brings_its_report_and_endorsement(
    machine: Machine, judge: Callable[..., CaseResult]
) -> None:
    encoded = request(machine)
    for data in (encoded, pem("CERTIFICATE REQUEST", encoded)):
        result = judge(data, machine.vendor.ask + machine.vendor.ark)
        assert (result.verdict, result.fields["measurement"]) == ("ok", "ab" * 48)
    with pytest.raises(AuthenticityError) as caught:
        judge(request(machine, over=b"another key"))
    assert caught.value.code == "binding-mismatch"
    with pytest.raises(MalformedError):
        judge(request(machine, evidence=False))
    altered = encoded[:-1] + bytes((encoded[-1] ^ 1,))
    with pytest.raises(EvidenceError):
        judge(altered)


def test_time_of_a_case_is_kept(machine: Machine, judge: Callable[..., CaseResult]) -> None:
    late = datetime(2050, 1, 1, tzinfo=UTC)
    assert judge(machine.report_bytes(), machine.certificate, at=late).reason == "certificate-expired"
