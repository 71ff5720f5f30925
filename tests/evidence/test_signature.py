"""Two verifiers, one answer."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from enarx.errors import ConfigError, MalformedError
from enarx.evidence import der
from enarx.evidence.awslc import AwsLcVerifier
from enarx.evidence.certificate import parse_public_key
from enarx.evidence.signature import PYCA, Curve, EcKey, RsaKey, Scheme, Verifier
from enarx.evidence.snp import Trust, authenticate
from enarx.simulator.certificates import spki
from tests.evidence.snp.forge import NOW, Machine, Vendor, ec_key, rsa_key

MESSAGE = b"what was signed"


@pytest.fixture(params=["pyca", "aws-lc"])
def verifier(request: pytest.FixtureRequest) -> Verifier:
    if request.param == "pyca":
        return PYCA
    pytest.importorskip("awscrt")
    return AwsLcVerifier()


@pytest.mark.parametrize(
    ("scheme", "digest"),
    [
        (Scheme.ECDSA_SHA256, hashes.SHA256()),
        (Scheme.ECDSA_SHA384, hashes.SHA384()),
        (Scheme.ECDSA_SHA512, hashes.SHA512()),
    ],
)
def test_ecdsa_signatures_verify_and_altered_ones_do_not(
    scheme: Scheme, digest: hashes.HashAlgorithm, verifier: Verifier
) -> None:
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
        key = ec.generate_private_key(curve)
        signature = key.sign(MESSAGE, ec.ECDSA(digest))
        verify = verifier.load(parse_public_key(spki(key)), scheme)
        assert verify(signature, MESSAGE)
        assert not verify(signature, MESSAGE + b".")
        assert not verify(signature[:-1] + bytes((signature[-1] ^ 1,)), MESSAGE)


def test_rsa_pss_signatures_verify_and_altered_ones_do_not(verifier: Verifier) -> None:
    key = rsa_key("any")
    for scheme, digest in (
        (Scheme.RSA_PSS_SHA256, hashes.SHA256()),
        (Scheme.RSA_PSS_SHA384, hashes.SHA384()),
        (Scheme.RSA_PSS_SHA512, hashes.SHA512()),
    ):
        verify = verifier.load(parse_public_key(spki(key)), scheme)
        size = digest.digest_size
        signature = key.sign(MESSAGE, padding.PSS(padding.MGF1(digest), size), digest)
        assert verify(signature, MESSAGE)
        assert not verify(signature, MESSAGE + b".")
        assert not verify(signature[:-1], MESSAGE)
        other_salt = key.sign(MESSAGE, padding.PSS(padding.MGF1(digest), size - 1), digest)
        assert not verify(other_salt, MESSAGE)
        assert not verify(key.sign(MESSAGE, padding.PKCS1v15(), digest), MESSAGE)


def test_key_and_scheme_must_fit(verifier: Verifier) -> None:
    with pytest.raises(MalformedError):
        verifier.load(parse_public_key(spki(rsa_key("any"))), Scheme.ECDSA_SHA384)
    with pytest.raises(MalformedError):
        verifier.load(parse_public_key(spki(ec_key("any"))), Scheme.RSA_PSS_SHA384)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, 1), (2**384 - 1, 5)])
def test_points_off_the_curve_are_refused(x: int, y: int, verifier: Verifier) -> None:
    with pytest.raises(MalformedError) as caught:
        verifier.load(EcKey(Curve.P384, x, y), Scheme.ECDSA_SHA384)
    assert caught.value.code == "key-invalid"


def test_rsa_keys_that_would_cost_too_much_are_refused(verifier: Verifier) -> None:
    for key in (RsaKey(2**1023 + 1, 65537), RsaKey(2**8192 + 1, 65537), RsaKey(2**2047 + 1, 2**65 + 1)):
        with pytest.raises(MalformedError):
            verifier.load(key, Scheme.RSA_PSS_SHA384)


def agree(signature: bytes, message: bytes) -> bool:
    pytest.importorskip("awscrt")
    key = parse_public_key(spki(ec_key("differential")))
    first = PYCA.load(key, Scheme.ECDSA_SHA384)(signature, message)
    second = AwsLcVerifier().load(key, Scheme.ECDSA_SHA384)(signature, message)
    assert first is second
    return first


@functools.cache
def honest_signature() -> bytes:
    return ec_key("differential").sign(MESSAGE, ec.ECDSA(hashes.SHA384()))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_both_verifiers_agree_on_mutated_signatures(data: st.DataObject) -> None:
    signature = bytearray(honest_signature())
    for _ in range(data.draw(st.integers(0, 2))):
        signature[data.draw(st.integers(0, len(signature) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 2))
    agree(bytes(signature[: len(signature) - cut]), MESSAGE)


ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973


def test_both_verifiers_agree_on_odd_encodings_and_scalars() -> None:
    honest = ec_key("differential").sign(MESSAGE, ec.ECDSA(hashes.SHA384()))
    r, s = decode_dss_signature(honest)
    assert agree(honest, MESSAGE)
    assert agree(der.encode_ecdsa(r, ORDER - s), MESSAGE)
    for pair in ((0, 0), (0, s), (r, 0), (ORDER, s), (r, ORDER), (r + ORDER, s), (r, s + ORDER), (2**575, 2**575)):
        assert not agree(der.encode_ecdsa(*pair), MESSAGE)
    for odd in (b"", b"\x30\x00", honest + b"\0", b"\x30\x81" + honest[1:], bytes(200), b"\x02\x01\x01"):
        assert not agree(odd, MESSAGE)


def test_whole_verification_is_the_same_with_the_fast_verifier() -> None:
    pytest.importorskip("awscrt")
    machine = Machine(Vendor())
    plain, fast = machine.vendor.trust(), Trust((machine.vendor.root,), AwsLcVerifier())
    first = authenticate(machine.report(), machine.collateral, NOW, trust=plain)
    second = authenticate(machine.report(), machine.collateral, NOW, trust=fast)
    assert [rule.name for rule in first.proof.checks] == [rule.name for rule in second.proof.checks]
    assert replace(first.proof, checks=()) == replace(second.proof, checks=())


def test_fast_verifier_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "awscrt.crypto", None)
    with pytest.raises(ConfigError) as caught:
        AwsLcVerifier()
    assert "enarx[fast]" in caught.value.hint
