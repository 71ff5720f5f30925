"""Owned platforms: an OCA of our own, and a PEK signed by it, seen by the verifier of platforms."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from enarx.errors import AuthenticityError, MalformedError
from enarx.evidence.sev import certs, owner
from enarx.evidence.sev.authenticate import authenticate
from enarx.evidence.sev.kinds import Algorithm, Usage
from tests.evidence.sev import platforms as make
from tests.evidence.sev.platforms import MadePlatform

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def request_of(made: MadePlatform) -> certs.SevCertificate:
    return replace(made.pek, signatures=(certs.UNSIGNED, certs.UNSIGNED))


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP256R1()], ids=["P384", "P256"])
@pytest.mark.parametrize("algorithm", [Algorithm.ECDSA_SHA256, Algorithm.ECDSA_SHA384])
def test_platform_with_a_new_owner_verifies(curve: ec.EllipticCurve, algorithm: Algorithm, made: MadePlatform) -> None:
    key = ec.generate_private_key(curve)
    oca = owner.create_oca(key, algorithm)
    pek = owner.sign_pek(request_of(made), oca, key)
    assert [slot.usage for slot in pek.signatures] == [Usage.OCA, Usage.INVALID]
    assert pek.body == made.pek.body
    # PEK_CERT_IMPORT: the firmware adds the chip's signature in the second slot.
    chip = make.ecdsa_slot(made.cek_key, pek.body, make.CEK)
    imported = certs.parse_sev_certificate(pek.to_bytes()[: -len(chip)] + chip)
    chain = (made.pdh, imported, oca, made.cek, made.ask, made.ark)
    assert authenticate(chain, NOW, [made.root]).value.oca == oca


def test_oca_has_the_form_of_a_published_one() -> None:
    oca = owner.create_oca(ec.generate_private_key(ec.SECP384R1()))
    data = oca.to_bytes()
    assert len(data) == 2084
    assert certs.parse_sev_certificate(data) == oca
    assert data[:16] == bytes.fromhex("01000000 00000000 01100000 02000000")
    assert oca.signatures[1] == certs.UNSIGNED


def test_oca_on_an_unknown_curve_or_with_no_signing_algorithm_is_refused() -> None:
    with pytest.raises(MalformedError):
        owner.create_oca(ec.generate_private_key(ec.SECP521R1()))
    for algorithm in (Algorithm.ECDH_SHA256, Algorithm.RSA_SHA256, Algorithm.INVALID):
        with pytest.raises(MalformedError):
            owner.create_oca(ec.generate_private_key(ec.SECP384R1()), algorithm)


def test_only_an_unsigned_pek_is_signed(made: MadePlatform) -> None:
    oca, key = made.oca, made.oca_key
    request = request_of(made)
    for wrong in (made.pek, made.cek, replace(request, usage=Usage.PDH)):
        with pytest.raises(MalformedError) as caught:
            owner.sign_pek(wrong, oca, key)
        assert caught.value.code == "sev-not-a-csr"
    with pytest.raises(MalformedError):
        owner.sign_pek(replace(request, algorithm=Algorithm.ECDH_SHA256), oca, key)
    with pytest.raises(MalformedError):
        owner.sign_pek(replace(request, reserved=b"\1\0"), oca, key)
    off_curve = bytearray(request.key_blob)
    off_curve[4] ^= 1
    with pytest.raises(MalformedError) as caught:
        owner.sign_pek(replace(request, key_blob=bytes(off_curve)), oca, key)
    assert caught.value.code == "key-invalid"
    assert owner.sign_pek(request, oca, key).signatures[0].present


def test_pek_is_not_signed_with_a_key_that_is_not_the_owners(made: MadePlatform) -> None:
    with pytest.raises(AuthenticityError) as caught:
        owner.sign_pek(request_of(made), made.oca, make.ec_key())
    assert caught.value.code == "sev-oca-key"
    with pytest.raises(AuthenticityError):
        owner.sign_pek(request_of(made), made.cek, made.cek_key)
