"""Public keys and the one-method interface behind which a signature is verified.

A ``Verifier`` turns a public key into a ``VerifyingKey``, a function of signature and message. ``PYCA`` (the
``cryptography`` package) is the default; ``awslc.py`` offers a second one that must be chosen in so many words.
Loading is separate from verifying, so that a cache may hold keys that are ready for use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial
from typing import Protocol, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from enarx.errors import MalformedError

RSA_MIN_BITS = 2048
RSA_MAX_BITS = 8192
"""Modulus sizes (bits) that are verified at all: the cost of a verification grows with the square."""
RSA_MAX_EXPONENT_BITS = 64
"""Public exponent (bits): a modulus-sized one would make a verification as slow as a signature."""
LOADED_RSA_KEYS = 32
"""Loaded RSA keys that are kept (count): roots and intermediates verify one certificate after another."""
LOADED_EC_KEYS = 128
"""Loaded keys of chips that are kept (count): a guest that renews its certificate comes with the same one."""


class Scheme(Enum):
    """Signature schemes that the evidence of a TEE uses. PSS salts are as long as the digest (RFC 4055)."""

    RSA_PSS_SHA256 = "rsa-pss-sha256"
    RSA_PSS_SHA384 = "rsa-pss-sha384"
    RSA_PSS_SHA512 = "rsa-pss-sha512"
    ECDSA_SHA256 = "ecdsa-sha256"
    ECDSA_SHA384 = "ecdsa-sha384"
    ECDSA_SHA512 = "ecdsa-sha512"


class Curve(Enum):
    """NIST curves by name; the value is the coordinate size in bytes."""

    P256 = 32
    P384 = 48
    P521 = 66


@dataclass(frozen=True, slots=True)
class RsaKey:
    """RSA public numbers. ``modulus`` and ``exponent`` are checked against the size limits when loaded."""

    modulus: int
    exponent: int


@dataclass(frozen=True, slots=True)
class EcKey:
    """A point on a NIST curve, affine coordinates as integers. Not checked to be on the curve until loaded."""

    curve: Curve
    x: int
    y: int


PublicKey: TypeAlias = RsaKey | EcKey

VerifyingKey: TypeAlias = Callable[[bytes, bytes], bool]
"""``(signature, message) -> genuine``. ECDSA signatures are DER ``SEQUENCE {r, s}``, RSA ones the bare octets."""


class Verifier(Protocol):
    """Makes a public key ready to verify under a scheme."""

    def load(self, key: PublicKey, scheme: Scheme) -> VerifyingKey:
        """Return the function that verifies; MalformedError when the key is unusable or does not fit the scheme."""
        ...


_DIGESTS: dict[Scheme, hashes.HashAlgorithm] = {
    Scheme.RSA_PSS_SHA256: hashes.SHA256(),
    Scheme.RSA_PSS_SHA384: hashes.SHA384(),
    Scheme.RSA_PSS_SHA512: hashes.SHA512(),
    Scheme.ECDSA_SHA256: hashes.SHA256(),
    Scheme.ECDSA_SHA384: hashes.SHA384(),
    Scheme.ECDSA_SHA512: hashes.SHA512(),
}
_RSA_SCHEMES = frozenset((Scheme.RSA_PSS_SHA256, Scheme.RSA_PSS_SHA384, Scheme.RSA_PSS_SHA512))
_CURVES: dict[Curve, ec.EllipticCurve] = {
    Curve.P256: ec.SECP256R1(),
    Curve.P384: ec.SECP384R1(),
    Curve.P521: ec.SECP521R1(),
}


class _Pyca:
    """Verifies with the ``cryptography`` package (OpenSSL)."""

    def load(self, key: PublicKey, scheme: Scheme) -> VerifyingKey:
        digest = _DIGESTS[scheme]
        if isinstance(key, RsaKey):
            if scheme not in _RSA_SCHEMES:
                raise _unfit(key, scheme)
            check_rsa_size(key)
            pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
            return partial(_verify_rsa, _load_rsa(key), pss, digest)
        if scheme in _RSA_SCHEMES:
            raise _unfit(key, scheme)
        return partial(_verify_ec, _load_ec(key), ec.ECDSA(digest))


PYCA: Verifier = _Pyca()


def check_rsa_size(key: RsaKey) -> None:
    """Refuse moduli and exponents outside the limits above, which no vendor uses."""
    if not RSA_MIN_BITS <= key.modulus.bit_length() <= RSA_MAX_BITS:
        raise MalformedError(
            f"RSA modulus of {key.modulus.bit_length()} bits is outside {RSA_MIN_BITS}..{RSA_MAX_BITS}",
            code="key-size",
            hint="the certificate is not one that a TEE vendor issues",
        )
    if key.exponent < 3 or key.exponent.bit_length() > RSA_MAX_EXPONENT_BITS:
        raise MalformedError("RSA public exponent is out of range", code="key-size", hint="expected 65537")


def _unfit(key: PublicKey, scheme: Scheme) -> MalformedError:
    return MalformedError(
        f"a {type(key).__name__} cannot verify {scheme.value}",
        code="unsupported-algorithm",
        hint="the signature algorithm does not belong to the issuer's key",
    )


@lru_cache(maxsize=LOADED_RSA_KEYS)
def _load_rsa(key: RsaKey) -> rsa.RSAPublicKey:
    """A loaded key remembers what its first verification computed: a sixth of the time of the next ones."""
    try:
        return rsa.RSAPublicNumbers(key.exponent, key.modulus).public_key()
    except ValueError as error:
        raise MalformedError("the RSA public key is not usable", code="key-invalid", hint=str(error)) from error


@lru_cache(maxsize=LOADED_EC_KEYS)
def _load_ec(key: EcKey) -> ec.EllipticCurvePublicKey:
    """Loading takes a twentieth of a verification, and the first verification with a key another twentieth."""
    size = key.curve.value
    try:
        point = b"\x04" + key.x.to_bytes(size, "big") + key.y.to_bytes(size, "big")
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[key.curve], point)
    except (ValueError, OverflowError, UnsupportedAlgorithm) as error:
        raise MalformedError(
            f"the public key is not a point on {key.curve.name}", code="key-invalid", hint=str(error)
        ) from error


def _verify_rsa(
    key: rsa.RSAPublicKey, pss: padding.PSS, digest: hashes.HashAlgorithm, signature: bytes, message: bytes
) -> bool:
    try:
        key.verify(signature, message, pss, digest)
    except InvalidSignature:
        return False
    return True


def _verify_ec(key: ec.EllipticCurvePublicKey, ecdsa: ec.ECDSA, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message, ecdsa)
    except InvalidSignature:
        return False
    return True
