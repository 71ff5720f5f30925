"""What leaves the Steward beside the certificate: attestation results and sealed secrets, read by independent means."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, mlkem
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM1024P384PrivateKey, Suite

from enarx.errors import EnarxError, MalformedError
from enarx.evidence import binding, der
from enarx.sealing import ENCAPSULATION_BYTES, HYBRID, P384, SEALING_KEY_BYTES
from enarx.tenant.policy import CertificateRules, Secret
from enarx.tenant.steward import answer
from enarx.tenant.steward.decide import decide
from enarx.tenant.steward.decision import Decision
from enarx.tenant.steward.ear import Position, make_result, status, trustworthiness
from enarx.tenant.steward.seal import seal
from tests.evidence.snp.forge import Machine, Vendor, ec_key, spki
from tests.tenant.keeps import MEASUREMENT, NOW, WEB, Keep, authority, hardware_judge, judge


def hardware() -> Decision:
    vendor = Vendor()
    text = f'[snp]\nmeasurement = ["{MEASUREMENT}"]\n[workload.web]\ndigest = ["{WEB}"]\n'
    return decide(Keep(machine=Machine(vendor)).request(), hardware_judge(text, vendor), NOW)


def result(decision: Decision) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of the attestation result, after its signature was verified with the CA's certificate alone."""
    assert decision.grant is not None
    issued = authority().issue(decision.grant, CertificateRules(timedelta(hours=1)), NOW)
    token = make_result(
        decision, issued, authority(), policy_digest=b"\1" * 32, position=Position(7, "ab" * 32), now=NOW
    )
    header, claims, signature = token.split(".")
    raw = decode(signature)
    assert len(raw) == 96
    public = authority().certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    signed = encode_dss_signature(int.from_bytes(raw[:48], "big"), int.from_bytes(raw[48:], "big"))
    public.verify(signed, f"{header}.{claims}".encode(), ec.ECDSA(hashes.SHA384()))
    found = json.loads(decode(claims))
    assert decode(found["cnf"]["x5t#S256"]) == hashlib.sha256(issued.der).digest()
    return json.loads(decode(header)), found


def decode(text: str) -> bytes:
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_an_attestation_result_affirms_what_hardware_proved() -> None:
    header, claims = result(hardware())
    assert header == {"alg": "ES384", "typ": "JWT", "kid": f"sha256:{authority().spki_digest.hex()}"}
    assert claims["eat_profile"] == "tag:ietf.org,2026:rats/ear#04"
    assert claims["iat"] == int(NOW.timestamp())
    assert claims["exp"] == claims["iat"] + 3600
    assert claims["ear_verifier_id"].keys() == {"developer", "build"}
    assert claims["enarx_log"] == {"sequence": 7, "hash": "ab" * 32}
    keep = claims["submods"]["keep"]
    assert keep["ear_status"] == "affirming"
    assert keep["ear_trustworthiness_vector"] == {
        "instance-identity": 2,
        "configuration": 2,
        "executables": 2,
        "hardware": 2,
        "runtime-opaque": 2,
    }
    assert keep["ear_appraisal_policy_ids"] == ["urn:sha256:" + "01" * 32]
    assert keep["ear_attester_claims"]["measurement"] == MEASUREMENT


def test_a_simulated_keep_contraindicates_itself() -> None:
    _, claims = result(decide(Keep().request(), judge(), NOW))
    keep = claims["submods"]["keep"]
    assert keep["enarx_simulated"] is True
    assert keep["ear_status"] == "contraindicated"


def test_a_refusal_supports_no_claim_of_trust() -> None:
    refused = decide(Keep().request(manifest=b"x"), judge(), NOW)
    assert status(trustworthiness(refused)) == "contraindicated"
    assert status({}) == "none"
    assert status({"hardware": 32}) == "warning"


@pytest.mark.parametrize("hybrid", [False, True])
def test_a_secret_opens_with_the_attested_key_the_manifest_and_the_name_alone(hybrid: bool) -> None:
    keep, lattice = Keep(), mlkem.MLKEM1024PrivateKey.generate()
    digest = hashlib.sha256(b"manifest").digest()
    wanted = [Secret("db", b"hunter2", frozenset(["web"]))]
    (sealed,) = seal(wanted, spki(keep.key), digest, lattice.public_key().public_bytes_raw() if hybrid else None)
    assert sealed.kem == (HYBRID if hybrid else P384)
    assert len(sealed.enc) == ENCAPSULATION_BYTES[sealed.kem]
    whole = sealed.enc + sealed.ciphertext
    assert b"hunter2" not in whole

    def opened(key: ec.EllipticCurvePrivateKey, other: mlkem.MLKEM1024PrivateKey, info: bytes) -> bytes:
        if not hybrid:
            return Suite(KEM.P384, KDF.HKDF_SHA384, AEAD.AES_256_GCM).decrypt(whole, key, info=info)
        both = MLKEM1024P384PrivateKey(other, key)
        return Suite(KEM.MLKEM1024_P384, KDF.HKDF_SHA384, AEAD.AES_256_GCM).decrypt(whole, both, info=info)

    right = binding.secret_info(digest, "db")
    assert opened(keep.key, lattice, right) == b"hunter2"
    for key, other, info in (
        (ec_key("thief"), lattice, right),
        (keep.key, lattice, binding.secret_info(digest, "other")),
        (keep.key, lattice, binding.secret_info(bytes(32), "db")),
        *([(keep.key, mlkem.MLKEM1024PrivateKey.generate(), right)] if hybrid else ()),
    ):
        with pytest.raises(InvalidTag):
            opened(key, other, info)


def test_sizes_of_encapsulations_are_those_of_the_specifications() -> None:
    assert dict(ENCAPSULATION_BYTES) == {
        P384: KEM.P384.enc_length(),
        HYBRID: KEM.MLKEM1024_P384.enc_length(),
    }


def test_a_steward_whose_cryptography_has_no_ml_kem_seals_to_p384(monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent:
        @staticmethod
        def from_public_bytes(data: bytes) -> None:
            raise UnsupportedAlgorithm("ML-KEM is not supported by this version of OpenSSL")

    public = mlkem.MLKEM1024PrivateKey.generate().public_key().public_bytes_raw()
    monkeypatch.setattr(mlkem, "MLKEM1024PublicKey", Absent)
    (sealed,) = seal([Secret("a", b"b", frozenset())], spki(Keep().key), bytes(32), public)
    assert sealed.kem == P384


def test_no_secret_is_sealed_to_a_key_of_another_kind() -> None:
    small = ec.derive_private_key(5, ec.SECP256R1())
    for key in (spki(small), b"junk"):
        with pytest.raises(MalformedError):
            seal([Secret("a", b"b", frozenset())], key, bytes(32))
        assert seal([], key, bytes(32)) == ()
    with pytest.raises(MalformedError):
        seal([Secret("a", b"b", frozenset())], spki(Keep().key), bytes(32), b"\xff" * SEALING_KEY_BYTES)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"csr": 1, "manifest": ""}',
        b'{"csr": "!", "manifest": ""}',
        b'{"csr": "", "manifest": "", "other": 1}',
        b'{"csr": "", "manifest": "", "endorsements": []}',
        b'{"csr": "", "manifest": "", "endorsements": {"x": []}}',
        b'{"csr": "", "manifest": "", "endorsements": {"chain": "x"}}',
        b'{"csr": "", "manifest": "", "endorsements": {"crls": ["","","","","","","","",""]}}',
    ],
)
def test_a_body_that_is_not_as_specified_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedError):
        answer.read_attest(body)


def test_a_body_as_specified_is_read() -> None:
    chain = base64.b64encode(b"one").decode()
    request = answer.read_attest(Keep().body(endorsements={"chain": [chain], "crls": []}))
    assert request.chain == (b"one",)
    assert not request.compatible


def test_the_published_answers_are_der_as_published() -> None:
    issuer, one, two = (der.encode(der.SEQUENCE, bytes([n])) for n in (1, 2, 3))
    path = answer.compatible_answer(answer.PKCS10, issuer, [one])
    assert path == b"\x30\x06" + issuer + one
    bundle = answer.compatible_answer(answer.BUNDLE, issuer, [one, two])
    assert bundle == b"\x30\x0d\x30\x03" + issuer + b"\x30\x06" + one + two


def test_a_bundle_has_a_bound() -> None:
    one = der.encode(der.SEQUENCE, b"")
    assert len(answer.read_compatible(answer.BUNDLE, der.encode(der.SEQUENCE, one * 64))) == 64
    for body in (der.encode(der.SEQUENCE, one * 65), b"\x30\x01\x00", b""):
        with pytest.raises(EnarxError):
            answer.read_compatible(answer.BUNDLE, body)
    with pytest.raises(MalformedError):
        answer.read_compatible("text/plain", b"")
