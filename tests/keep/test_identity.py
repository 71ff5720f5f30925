"""The certificate that a Keep makes for itself, read by another parser: OpenSSL's, through the ssl module."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from enarx.keep.identity import CLOCK_SKEW, LIFETIME, self_signed

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


def test_the_certificate_is_as_enarx_makes_it() -> None:
    identity = self_signed(NOW)
    certificate = x509.load_pem_x509_certificate(identity.certificate_pem)
    assert certificate.subject == certificate.issuer
    assert [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["localhost"]
    assert certificate.not_valid_before_utc == NOW - CLOCK_SKEW
    assert certificate.not_valid_after_utc == NOW + LIFETIME == NOW + timedelta(days=365)
    extensions = certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca) == (True, False)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert (usage.value.digital_signature, usage.value.key_encipherment, usage.value.key_cert_sign) == (
        True,
        True,
        False,
    )
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH,
    }  # fmt: skip


def test_the_certificate_is_signed_by_its_own_key() -> None:
    identity = self_signed(NOW)
    certificate = x509.load_pem_x509_certificate(identity.certificate_pem)
    certificate.verify_directly_issued_by(certificate)
    key = load_pem_private_key(identity.private_key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert key.public_key() == certificate.public_key()


def test_every_keep_has_its_own_key_and_serial_number() -> None:
    made = [self_signed(NOW) for _ in range(4)]
    assert len({identity.private_key_pem for identity in made}) == 4
    assert len({x509.load_pem_x509_certificate(identity.certificate_pem).serial_number for identity in made}) == 4


def test_the_key_does_not_show_in_logs() -> None:
    assert "PRIVATE" not in repr(self_signed(NOW))


def test_openssl_reads_the_same(require_tool: Callable[[str, str], Path], tmp_path: Path) -> None:
    (tmp_path / "certificate.pem").write_bytes(self_signed(NOW).certificate_pem)
    done = subprocess.run(
        [require_tool("openssl", "openssl"), "x509", "-in", tmp_path / "certificate.pem", "-noout", "-text"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    for text in ("CN = localhost", "CA:FALSE", "TLS Web Server Authentication, TLS Web Client Authentication",
                 "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1", "ecdsa-with-SHA256"):  # fmt: skip
        assert text in done.stdout
