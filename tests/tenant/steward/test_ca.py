"""What issued certificates say, how long they last, and which CAs may issue at all."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from cryptography.x509.verification import PolicyBuilder, Store

from enarx.errors import CollateralError, ConfigError, EnarxError
from enarx.evidence import binding
from enarx.evidence.certificate import parse_certificate
from enarx.evidence.snp.enarx import parse_evidence, parse_manifest_digest
from enarx.tenant.policy import LIFETIME_MAX, CertificateRules
from enarx.tenant.steward.ca import CRL_LIFETIME, Issued, load_authority, make_authority
from enarx.tenant.steward.decide import decide
from enarx.tenant.steward.decision import Grant
from enarx.tenant.steward.files import read_authority
from tests.evidence.snp.forge import spki
from tests.tenant.keeps import NOW, Keep, authority, judge, simulator

RULES = CertificateRules(dns=("web.example",), trust_domain="example.org")


def grant(keep: Keep | None = None) -> Grant:
    decision = decide((keep or Keep()).request(), judge(), NOW)
    assert decision.grant is not None
    return decision.grant


def issued(rules: CertificateRules = RULES, now: datetime = NOW, **changes: object) -> Issued:
    return authority().issue(replace(grant(), **changes), rules, now)  # type: ignore[arg-type]


def test_a_certificate_says_who_what_and_until_when() -> None:
    keep = Keep()
    certificate = x509.load_der_x509_certificate(issued().der)
    extensions = certificate.extensions
    assert certificate.subject == x509.Name([])
    assert certificate.not_valid_after_utc == NOW + LIFETIME_MAX
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    purposes = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert purposes == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert list(names.value) == [
        x509.DNSName("web.example"),
        x509.UniformResourceIdentifier("spiffe://example.org/keep/web"),
    ]
    subject_key = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert subject_key == x509.SubjectKeyIdentifier.from_public_key(keep.key.public_key())
    above = authority().certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == above.digest


def test_a_client_can_verify_again_from_the_certificate_alone() -> None:
    keep = Keep(crls=[simulator().crl()])
    made = authority().issue(grant(keep), RULES, NOW)
    certificate = x509.load_der_x509_certificate(made.der)
    certificate.verify_directly_issued_by(authority().certificate)
    ours = parse_certificate(made.der)
    from enarx.evidence import der

    found = ours.extensions[der.encode_oid(binding.SNP_EVIDENCE_OID)]
    evidence = parse_evidence(found.value)
    assert not found.critical
    assert evidence.vcek == keep.machine.certificate
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert binding.report_data(key)[:48].hex() in evidence.report.hex()
    digest = ours.extensions[der.encode_oid(binding.MANIFEST_DIGEST_OID)]
    assert keep.manifest is not None
    assert parse_manifest_digest(digest.value) == keep.manifest.digest()


def test_a_strict_path_validator_accepts_the_service_certificate() -> None:
    key, chain = authority().issue_service(("steward.example",), NOW)
    leaf, above = x509.load_pem_x509_certificates(chain)
    verifier = PolicyBuilder().store(Store([authority().certificate])).time(NOW.replace(tzinfo=None))
    built = verifier.build_server_verifier(x509.DNSName("steward.example")).verify(leaf, [above])
    assert built[-1] == authority().certificate
    assert serialization.load_pem_private_key(key, None).public_key() == leaf.public_key()


def test_no_certificate_outlives_its_collateral_or_its_issuer() -> None:
    soon = NOW + timedelta(hours=2)
    assert issued(not_after=soon).not_after == soon
    assert issued(CertificateRules(timedelta(minutes=5))).not_after == NOW + timedelta(minutes=5)
    late = authority().certificate.not_valid_after_utc - timedelta(hours=1)
    assert issued(now=late).not_after == authority().certificate.not_valid_after_utc


def test_no_certificate_is_issued_for_less_than_a_minute_or_outside_the_cas_validity() -> None:
    with pytest.raises(CollateralError):
        issued(not_after=NOW + timedelta(seconds=30))
    with pytest.raises(CollateralError):
        issued(now=authority().certificate.not_valid_after_utc)
    with pytest.raises(CollateralError):
        issued(now=authority().certificate.not_valid_before_utc - timedelta(days=1))


def test_a_keep_without_names_is_named_by_its_key() -> None:
    certificate = x509.load_der_x509_certificate(issued(CertificateRules()).der)
    (name,) = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert name.value.startswith("ni:///sha-256;")


def test_long_revocation_lists_are_left_out_of_the_certificate() -> None:
    keep = Keep(crls=[simulator().crl(*range(1000, 1400))])
    value = keep.evidence()
    made = issued(evidence=(binding.SNP_EVIDENCE_OID, value))
    certificate = x509.load_der_x509_certificate(made.der)
    oid = x509.ObjectIdentifier(binding.SNP_EVIDENCE_OID)
    found = certificate.extensions.get_extension_for_oid(oid).value
    assert isinstance(found, x509.UnrecognizedExtension)
    assert len(found.value) < len(value)
    assert parse_evidence(found.value).report == parse_evidence(value).report


def test_serials_are_positive_and_never_the_same() -> None:
    serials = [int(issued().serial, 16) for _ in range(20)]
    assert len(set(serials)) == 20
    assert all(0 < serial < 1 << 127 for serial in serials)


def test_the_revocation_list_names_what_was_revoked() -> None:
    made = issued()
    encoded = authority().revocation_list([(made.serial, NOW)], 5, NOW)
    crl = x509.load_der_x509_crl(encoded)
    public = authority().certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert crl.is_signature_valid(public)
    assert crl.get_revoked_certificate_by_serial_number(int(made.serial, 16)) is not None
    assert crl.get_revoked_certificate_by_serial_number(1) is None
    assert crl.next_update_utc == NOW + CRL_LIFETIME
    assert crl.extensions.get_extension_for_oid(ExtensionOID.CRL_NUMBER).value == x509.CRLNumber(5)


def test_the_pinned_digest_is_over_the_public_key() -> None:
    public = (
        authority()
        .certificate.public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert authority().spki_digest == hashlib.sha256(public).digest()


def test_a_ca_like_the_published_stewards_is_accepted() -> None:
    """P-256, no key identifiers, key usage keyCertSign alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.BasicConstraints(True, 0), True)
        .add_extension(
            x509.KeyUsage(False, False, False, False, False, True, False, False, False),
            True,
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    ca = load_authority(certificate.public_bytes(pem), private)
    made = ca.issue(grant(), RULES, NOW)
    x509.load_der_x509_certificate(made.der).verify_directly_issued_by(certificate)


def test_a_ca_that_may_not_issue_or_does_not_fit_is_refused() -> None:
    key, _ = make_authority("one", NOW)
    _, other = make_authority("two", NOW)
    with pytest.raises(ConfigError, match="belong together"):
        load_authority(other, key)
    leaf_key, leaf = authority().issue_service(("x.example",), NOW)
    with pytest.raises(ConfigError, match="may not issue"):
        load_authority(leaf, leaf_key)
    for certificate, private in ((b"", key), (other, b"junk")):
        with pytest.raises(ConfigError):
            load_authority(certificate, private)


def test_a_ca_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    key, certificate = make_authority("one", NOW)
    (tmp_path / "ca.key").write_bytes(key)
    (tmp_path / "ca.pem").write_bytes(certificate)
    (tmp_path / "ca.key").chmod(0o640)
    with pytest.raises(ConfigError) as caught:
        read_authority(tmp_path / "ca.pem", tmp_path / "ca.key")
    assert caught.value.code == "file-permissions"
    (tmp_path / "ca.key").chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert read_authority(tmp_path / "ca.pem", tmp_path / "ca.key").der


def test_a_key_that_is_no_point_is_refused() -> None:
    broken = bytearray(spki(Keep().key))
    broken[-1] ^= 1
    with pytest.raises(EnarxError):
        issued(spki=bytes(broken))
