"""Secrets sealed to the attested key: HPKE, with ML-KEM-1024 beside P-384 where both ends have it (``enarx.sealing``).

The key that a secret is sealed to is the one that the evidence is over, so only the Keep that attested can open it. The
manifest and the secret's name are bound into ``info`` (``enarx.evidence.binding.secret_info``): a sealed secret cannot
be passed off as another one, or as meant for another launch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, mlkem
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM1024P384PublicKey, Suite
from cryptography.hazmat.primitives.serialization import load_der_public_key

from enarx.errors import MalformedError
from enarx.evidence.binding import secret_info
from enarx.sealing import ENCAPSULATION_BYTES, HYBRID, P384
from enarx.tenant.policy import Secret


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """``kem`` is how ``enc``, the encapsulated key, was made; ``ciphertext`` ends with the tag (16 bytes)."""

    name: str
    kem: str
    enc: bytes
    ciphertext: bytes


def seal(
    secrets: Iterable[Secret], spki: bytes, manifest_digest: bytes, sealing_key: bytes | None = None
) -> tuple[SealedSecret, ...]:
    """Seal each secret to the P-384 key ``spki`` (DER), and to ``sealing_key`` with it when the request has one.

    MalformedError (``key-invalid``) when a key is of another kind.
    """
    wanted = tuple(secrets)
    if not wanted:
        return ()
    try:
        key = load_der_public_key(spki)
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
            raise ValueError("not on P-384")
        kem, suite, to = _encapsulation(key, sealing_key)
        size = ENCAPSULATION_BYTES[kem]
        sealed: list[SealedSecret] = []
        for one in wanted:
            out = suite.encrypt(one.value, to, info=secret_info(manifest_digest, one.name))
            sealed.append(SealedSecret(one.name, kem, out[:size], out[size:]))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError(
            "secrets cannot be sealed to the request's key", code="key-invalid", hint="Keeps have keys on P-384"
        ) from error
    return tuple(sealed)


def _encapsulation(
    key: ec.EllipticCurvePublicKey, sealing_key: bytes | None
) -> tuple[str, Suite, ec.EllipticCurvePublicKey | MLKEM1024P384PublicKey]:
    """The best encapsulation that both ends have. Raises ValueError for a sealing key that is none."""
    if sealing_key is not None:
        try:
            lattice = mlkem.MLKEM1024PublicKey.from_public_bytes(sealing_key)
        except UnsupportedAlgorithm:  # an OpenSSL before 3.5 is at work here: P-384 alone, as the answer says
            pass
        else:
            return HYBRID, Suite(KEM.MLKEM1024_P384, *_REST), MLKEM1024P384PublicKey(lattice, key)
    return P384, Suite(KEM.P384, *_REST), key


_REST = (KDF.HKDF_SHA384, AEAD.AES_256_GCM)
