"""A Keep's first steps: evidence over a fresh key, the manifest in it, and the request that says both."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, mlkem

from enarx.errors import AuthenticityError, EvidenceError, MalformedError
from enarx.evidence import binding
from enarx.evidence.snp import authenticate, certtable, parse
from enarx.evidence.snp.enarx import parse_evidence, parse_manifest
from enarx.keep.attested import (
    Attested,
    attest,
    attest_request,
    certification_request,
    endorsements,
    evidence_extension,
    new_key,
    repeatable_evidence,
    with_certificates,
)
from enarx.keep.attester import RawEvidence
from enarx.keep.attester_simulated import Source
from enarx.manifest import Manifest
from enarx.manifest import parse as parse_manifest_json
from enarx.sealing import SEALING_KEY_BYTES, SEALING_KEY_OID
from tests.keep.attesting import make_quote
from tests.keep.tenants import (
    CRL_URL,
    NOW,
    Platform,
    Steward,
    launch,
    machine,
    manifest_for,
    platform,
    public_der,
    table,
)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return manifest_for(Steward().pin("https://steward.example"))


@pytest.fixture(scope="module")
def keep(manifest: Manifest) -> Attested:
    return launch(manifest)


def test_every_keep_has_a_key_of_its_own_on_p384() -> None:
    first, second = new_key(), new_key()
    assert first.spki != second.spki
    assert isinstance(first.private.curve, ec.SECP384R1)
    assert first.spki == public_der(first.private)
    assert "private" not in repr(first)
    assert first.sealing is not None  # the OpenSSL that cryptography brings has ML-KEM
    assert second.sealing is not None
    assert first.sealing.public_key() != second.sealing.public_key()
    assert "sealing" not in repr(first)


def test_keep_whose_cryptography_has_no_ml_kem_does_without(monkeypatch: pytest.MonkeyPatch, keep: Attested) -> None:
    class Absent:
        @staticmethod
        def generate() -> None:
            raise UnsupportedAlgorithm("ML-KEM is not supported by this version of OpenSSL")

    monkeypatch.setattr(mlkem, "MLKEM1024PrivateKey", Absent)
    key = new_key()
    assert key.sealing is None
    csr = x509.load_der_x509_csr(
        certification_request(replace(keep, key=key), evidence_extension(keep, endorsements(keep)))
    )
    assert SEALING_KEY_OID not in {found.oid.dotted_string for found in csr.extensions}


def test_evidence_is_authentic_and_over_the_key_and_the_manifest(keep: Attested, manifest: Manifest) -> None:
    report = parse(keep.evidence.report)
    proved = authenticate(report, machine().collateral, NOW, trust=machine().vendor.trust()).value
    assert proved.report_data == binding.report_data(keep.key.spki)
    assert proved.host_data == manifest.digest()
    assert keep.source.simulated


def test_request_can_be_read_by_any_pkcs10_parser(keep: Attested, manifest: Manifest) -> None:
    body = json.loads(attest_request(keep))
    csr = x509.load_der_x509_csr(base64.b64decode(body["csr"], validate=True))
    assert csr.is_signature_valid
    assert csr.signature_algorithm_oid == x509.SignatureAlgorithmOID.ECDSA_WITH_SHA384
    assert list(csr.subject) == []
    assert [attribute.oid.dotted_string for attribute in csr.attributes] == ["1.2.840.113549.1.9.14"]
    extensions = {found.oid.dotted_string: found for found in csr.extensions}
    assert extensions.keys() == {binding.SNP_EVIDENCE_OID, binding.MANIFEST_OID, SEALING_KEY_OID}
    assert not any(found.critical for found in csr.extensions)
    values = {
        oid: found.value.value
        for oid, found in extensions.items()
        if isinstance(found.value, x509.UnrecognizedExtension)
    }
    evidence = parse_evidence(values[binding.SNP_EVIDENCE_OID])
    assert evidence.report == keep.evidence.report
    assert evidence.vcek == machine().certificate
    assert [crl.url for crl in evidence.crls] == [CRL_URL]
    assert parse_manifest_json(parse_manifest(values[binding.MANIFEST_OID])) == manifest
    assert keep.key.sealing is not None
    public = keep.key.sealing.public_key().public_bytes_raw()
    assert values[SEALING_KEY_OID] == binding.encode(0x04, public)
    assert len(public) == SEALING_KEY_BYTES
    assert base64.b64decode(body["manifest"]) == manifest.encode()
    found = endorsements(keep)
    assert [base64.b64decode(item) for item in body["endorsements"]["chain"]] == list(found.chain)
    assert [base64.b64decode(item) for item in body["endorsements"]["crls"]] == list(certtable.parse(table()).crls)


def test_manifest_changed_after_the_launch_stops_the_keep(manifest: Manifest) -> None:
    evil = replace(manifest, args=("--allow-everything",))
    with pytest.raises(AuthenticityError) as caught:
        attest(evil.encode(), [Source("simulated", platform(manifest))])
    assert caught.value.code == "manifest-not-attested"


def test_manifest_is_not_parsed_before_it_is_attested(manifest: Manifest) -> None:
    """Rubbish that is not in the evidence is refused as not attested; rubbish that is, as malformed."""
    with pytest.raises(AuthenticityError):
        attest(b"{", [Source("simulated", platform(manifest))])
    launched = Platform(machine(), hashlib.sha256(b"{").digest(), table())
    with pytest.raises(MalformedError):
        attest(b"{", [Source("simulated", launched)])


def test_evidence_of_another_keep_cannot_be_replayed_with_a_new_key(keep: Attested) -> None:
    """The host answers with a recorded report: it is over another key, and no attester of ours passes it on."""

    class Replaying(Platform):
        def attest(self, report_data: bytes) -> RawEvidence:
            return keep.evidence

    replayed = Replaying(machine(), keep.manifest.digest(), table())
    stolen = attest(keep.manifest_bytes, [Source("simulated", replayed)])
    # Were it to come this far, the request itself gives it away: the report does not name the request's key.
    csr = x509.load_der_x509_csr(base64.b64decode(json.loads(attest_request(stolen))["csr"]))
    key = csr.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert parse(stolen.evidence.report).report_data != binding.report_data(public_der(key))


def test_renewal_keeps_the_key(keep: Attested) -> None:
    again = attest(keep.manifest_bytes, [Source("simulated", platform(keep.manifest))], key=keep.key)
    assert again.key.spki == keep.key.spki
    assert parse(again.evidence.report).report_data == binding.report_data(keep.key.spki)


def test_evidence_that_has_no_place_for_a_manifest_is_refused(manifest: Manifest) -> None:
    class Other:
        def __init__(self, technology: str) -> None:
            self.technology = technology

        def attest(self, report_data: bytes) -> RawEvidence:
            return RawEvidence(self.technology, b"quote" + report_data + manifest.digest())

    for technology in ("tdx", "sgx"):
        with pytest.raises(EvidenceError) as caught:
            attest(manifest.encode(), [Source("configfs-tsm", Other(technology))])
        assert caught.value.code == "manifest-technology"


class Tdx:
    """A TDX guest that was launched with ``config_id``."""

    def __init__(self, config_id: bytes) -> None:
        self.config_id = config_id

    def attest(self, report_data: bytes) -> RawEvidence:
        return RawEvidence("tdx", make_quote(self.config_id, report_data))


def test_tdx_guest_is_launched_for_the_sha384_of_its_manifest(manifest: Manifest) -> None:
    keep = attest(manifest.encode(), [Source("configfs-tsm", Tdx(manifest.digest384()))])

    body = json.loads(attest_request(keep))
    csr = x509.load_der_x509_csr(base64.b64decode(body["csr"]))
    extensions = {found.oid.dotted_string for found in csr.extensions}
    assert extensions == {binding.TDX_EVIDENCE_OID, binding.MANIFEST_OID, SEALING_KEY_OID}
    assert body["endorsements"] == {"chain": [], "crls": []}
    assert repeatable_evidence(keep)[0] == binding.encode(4, keep.evidence.report)


@pytest.mark.parametrize("padded", [False, True])
def test_tdx_guest_that_was_launched_for_anything_else_is_refused(padded: bool, manifest: Manifest) -> None:
    other = manifest.digest().ljust(48, b"\0") if padded else replace(manifest, args=("other",)).digest384()

    with pytest.raises(AuthenticityError) as caught:
        attest(manifest.encode(), [Source("configfs-tsm", Tdx(other))])
    assert caught.value.code == "manifest-not-attested"


def test_certificates_of_the_launch_serve_where_none_came_with_the_evidence(manifest: Manifest) -> None:
    bare = attest(manifest.encode(), [Source("sev-guest", Platform(machine(), manifest.digest(), b""))])

    given = with_certificates(bare, table())

    assert endorsements(given).leaf == machine().certificate
    assert attest_request(given)
    assert with_certificates(bare, b"") is bare
    assert with_certificates(given, b"another") is given


def test_host_without_certificates_is_told_so(manifest: Manifest) -> None:
    keep = attest(manifest.encode(), [Source("simulated", Platform(machine(), manifest.digest(), b""))])
    with pytest.raises(MalformedError) as caught:
        attest_request(keep)
    assert caught.value.code == "endorsements"


def test_request_is_bounded(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = replace(manifest, args=("a" * 1_040_000,))
    keep = launch(largest)
    assert len(attest_request(keep)) > 2_700_000
    monkeypatch.setattr("enarx.keep.attested.REQUEST_MAX_BYTES", 2_700_000)
    with pytest.raises(EvidenceError) as caught:
        attest_request(keep)
    assert caught.value.code == "request-too-long"


def test_real_report_shows_where_host_data_is(vectors: Path) -> None:
    from enarx.keep.handover import HOST_DATA

    for name in ("genoa-v5-oak", "milan-v2-virtee", "turin-v5-msft"):
        report = (vectors / "snp" / f"{name}.report.bin").read_bytes()
        assert report[HOST_DATA] == parse(report).host_data
