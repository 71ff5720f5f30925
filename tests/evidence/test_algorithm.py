"""Which signature algorithms of certificates are understood, and in which ways they may be written."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from enarx.errors import MalformedError
from enarx.evidence import der
from enarx.evidence.algorithm import signature_scheme
from enarx.evidence.certificate import parse_certificate
from enarx.evidence.signature import Scheme
from tests.evidence.snp.forge import rsa_key

PSS, MGF1 = "1.2.840.113549.1.1.10", "1.2.840.113549.1.1.8"
SHA1, SHA256, SHA384 = "1.3.14.3.2.26", "2.16.840.1.101.3.4.2.1", "2.16.840.1.101.3.4.2.2"
NULL = b"\x05\x00"
HASHES: tuple[hashes.SHA256 | hashes.SHA384 | hashes.SHA512, ...] = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
NAME = x509.Name([])


def identifier(oid: str, parameters: bytes = b"") -> bytes:
    return der.encode(der.SEQUENCE, der.encode(der.OID, der.encode_oid(oid)) + parameters)


def pss(
    digest: str = SHA384, mask: str = SHA384, salt: int = 48, trailer: int | None = None, null: bytes = NULL
) -> bytes:
    fields = der.encode(0xA0, identifier(digest, null))
    fields += der.encode(0xA1, identifier(MGF1, identifier(mask, NULL)))
    fields += der.encode(0xA2, der.encode_natural(salt))
    if trailer is not None:
        fields += der.encode(0xA3, der.encode_natural(trailer))
    return identifier(PSS, der.encode(der.SEQUENCE, fields))


def read(encoded: bytes) -> Scheme:
    return signature_scheme(encoded, der.only(encoded, der.SEQUENCE, len(encoded)))


def builder(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(False, None), critical=True)
    )


@pytest.mark.parametrize("digest", HASHES, ids=lambda one: one.name)
def test_algorithms_are_read_as_cryptography_writes_them(
    digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512,
) -> None:
    curve_key, key = ec.generate_private_key(ec.SECP384R1()), rsa_key("algorithm")
    made = builder(curve_key).sign(curve_key, digest).public_bytes(Encoding.DER)
    assert parse_certificate(made).scheme.value == f"ecdsa-{digest.name}"
    salted = padding.PSS(padding.MGF1(digest), digest.digest_size)
    made = builder(key).sign(key, digest, rsa_padding=salted).public_bytes(Encoding.DER)
    assert parse_certificate(made).scheme.value == f"rsa-pss-{digest.name}"
    with pytest.raises(MalformedError) as caught:
        parse_certificate(builder(key).sign(key, digest).public_bytes(Encoding.DER))
    assert caught.value.code == "unsupported-algorithm"


@pytest.mark.parametrize("null", [NULL, b""])
@pytest.mark.parametrize("trailer", [None, 1])
def test_defaults_may_be_spelled_out_and_null_left_out(trailer: int | None, null: bytes) -> None:
    assert read(pss(trailer=trailer, null=null)) is Scheme.RSA_PSS_SHA384


@pytest.mark.parametrize(
    "encoded",
    [
        pss(salt=20),
        pss(mask=SHA256),
        pss(trailer=2),
        pss(SHA1, SHA1, 20),
        pss(null=NULL * 2),
        identifier(PSS),
        identifier(PSS, NULL),
        identifier(PSS, der.encode(der.SEQUENCE, b"")),
        identifier("1.2.840.10045.4.3.3", NULL),
        identifier("1.2.840.113549.1.1.12", NULL),
    ],
)
def test_anything_else_is_refused(encoded: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        read(encoded)
    assert caught.value.code == "unsupported-algorithm"
