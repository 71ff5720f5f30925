"""Certificates in company: PEM, DER, a PkiPath, or one after another."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.evidence import der
from enarx.evidence.bundle import BUNDLE_MAX_BYTES, BUNDLE_MAX_CERTIFICATES, split_certificates, unwrap_pem
from tests.evidence.snp.forge import Vendor


def pem(encoded: bytes, label: str = "CERTIFICATE") -> bytes:
    body = base64.encodebytes(encoded).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode()


@pytest.fixture(scope="module")
def chain() -> tuple[bytes, bytes]:
    vendor = Vendor()
    return vendor.ask, vendor.ark


def test_every_packaging_gives_the_same_certificates(chain: tuple[bytes, bytes]) -> None:
    ask, ark = chain
    assert split_certificates(pem(ask) + b"text between\n" + pem(ark)) == chain
    assert split_certificates(pem(ask).replace(b"\n", b"\r\n") + pem(ark)) == chain
    assert split_certificates(ask + ark) == chain
    assert split_certificates(der.encode(der.SEQUENCE, ask + ark)) == chain
    assert split_certificates(ask) == (ask,)
    assert split_certificates(der.encode(der.SEQUENCE, ask)) == (ask,)


@pytest.mark.parametrize("data", [b"", b"-----BEGIN CERTIFICATE-----", b"\x04\x00", b"no certificate"])
def test_nothing_in_it_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        split_certificates(data)


def test_pem_with_something_else_in_it_is_malformed(chain: tuple[bytes, bytes]) -> None:
    for other in (pem(b"key", "PRIVATE KEY"), pem(chain[0])[:-20], b"-----BEGIN CERTIFICATE-----\n!\n"):
        with pytest.raises(MalformedError):
            split_certificates(pem(chain[0]) + other)


def test_too_many_and_too_much_are_refused(chain: tuple[bytes, bytes]) -> None:
    small = der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, b"\x02\x01\x00"))
    for packed in (small * (BUNDLE_MAX_CERTIFICATES + 1), pem(small) * (BUNDLE_MAX_CERTIFICATES + 1)):
        with pytest.raises(MalformedError) as caught:
            split_certificates(packed)
        assert caught.value.code == "too-long"
    assert len(split_certificates(pem(small) * BUNDLE_MAX_CERTIFICATES)) == BUNDLE_MAX_CERTIFICATES
    with pytest.raises(MalformedError):
        split_certificates(bytes(BUNDLE_MAX_BYTES + 1))


def test_crl_comes_out_of_pem_and_der() -> None:
    crl = Vendor().crl()
    assert unwrap_pem(pem(crl, "X509 CRL"), "X509 CRL") == crl
    assert unwrap_pem(crl, "X509 CRL") == crl
    for other in (pem(crl), pem(crl, "X509 CRL") * 2):
        with pytest.raises(MalformedError):
            unwrap_pem(other, "X509 CRL")


@given(st.binary(max_size=300))
def test_any_bytes_split_or_are_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        assert split_certificates(data)
