"""Secrets sealed to the attested key: HPKE (RFC 9180), base mode, DHKEM(P-384, HKDF-SHA384), AES-256-GCM.

The key that a secret is sealed to is the one that the evidence is over, so only the Keep that attested can open it. The
manifest and the secret's name are bound into ``info`` (``enarx.evidence.binding.secret_info``): a sealed secret cannot
be passed off as another one, or as meant for another launch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import load_der_public_key

from enarx.errors import MalformedError
from enarx.evidence.binding import secret_info
from enarx.tenant.policy import Secret

ENCAPSULATION_BYTES: Final = 97
"""Size of the encapsulated key: an uncompressed point on P-384 (RFC 9180 7.1, Nenc)."""


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """``enc`` is the encapsulated key (97 bytes), ``ciphertext`` ends with the tag (16 bytes)."""

    name: str
    enc: bytes
    ciphertext: bytes


def seal(secrets: Iterable[Secret], spki: bytes, manifest_digest: bytes) -> tuple[SealedSecret, ...]:
    """Seal each secret to the P-384 key ``spki`` (DER). MalformedError when the key is of another kind."""
    suite = Suite(KEM.P384, KDF.HKDF_SHA384, AEAD.AES_256_GCM)
    try:
        key = load_der_public_key(spki)
        sealed = [
            (one.name, suite.encrypt(one.value, key, info=secret_info(manifest_digest, one.name)))  # type: ignore[arg-type]
            for one in secrets
        ]
    except (ValueError, TypeError) as error:
        raise MalformedError(
            "secrets cannot be sealed to the request's key", code="key-invalid", hint="Keeps have keys on P-384"
        ) from error
    return tuple(SealedSecret(name, out[:ENCAPSULATION_BYTES], out[ENCAPSULATION_BYTES:]) for name, out in sealed)
