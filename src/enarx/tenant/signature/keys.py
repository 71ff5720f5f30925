"""Keys that sign packages: Ed25519 (RFC 8032), ECDSA on P-256 with SHA-256 and on P-384 with SHA-384 (FIPS 186-5).

Public halves are PEM of a SubjectPublicKeyInfo (RFC 5280), private ones PEM of PKCS#8 (RFC 5958), encrypted or not;
each file holds one key and nothing else. A key is named by the SHA-256 of its DER SubjectPublicKeyInfo.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from enarx.errors import UsageError
from enarx.evidence.signature import PYCA, Curve, EcKey, Scheme, Verifier, VerifyingKey

KEY_FILE_MAX_BYTES: Final = 16 * 1024
"""Largest file with one key (bytes); they take some 300."""
PASSPHRASE_MAX_BYTES: Final = 1023
"""Longest passphrase (bytes), which is OpenSSL's."""

_ED25519_SIGNATURE_BYTES: Final = 64
_PEM: Final = re.compile(rb"\s*-----BEGIN ([A-Z0-9 ]{1,40})-----([A-Za-z0-9+/=\s]*)-----END \1-----\s*")

Passphrase: TypeAlias = Callable[[], bytes]
"""Asked for only when a key is encrypted; 1 to ``PASSPHRASE_MAX_BYTES`` bytes."""


class Algorithm(Enum):
    """What a key signs with, by the name that users write."""

    ED25519 = "ed25519"
    P256 = "p256"
    P384 = "p384"


_CURVES: Final[Mapping[str, tuple[Algorithm, Curve, Scheme]]] = MappingProxyType(
    {
        "secp256r1": (Algorithm.P256, Curve.P256, Scheme.ECDSA_SHA256),
        "secp384r1": (Algorithm.P384, Curve.P384, Scheme.ECDSA_SHA384),
    }
)
_HASHES: Final[Mapping[Algorithm, hashes.HashAlgorithm]] = MappingProxyType(
    {Algorithm.P256: hashes.SHA256(), Algorithm.P384: hashes.SHA384()}
)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies. ``spki`` is its one DER encoding, so that equal keys are equal however they were written."""

    algorithm: Algorithm
    spki: bytes
    _point: EcKey | None = field(repr=False, compare=False)

    @property
    def id(self) -> str:
        """``sha256:`` and the digest of ``spki``: how verdicts and envelopes name the key."""
        return f"sha256:{hashlib.sha256(self.spki).hexdigest()}"

    def __str__(self) -> str:
        return f"{self.algorithm.value} {self.id}"

    def pem(self) -> bytes:
        """The key as a file holds it."""
        text = base64.b64encode(self.spki)
        lines = b"\n".join(text[at : at + 64] for at in range(0, len(text), 64))
        return b"-----BEGIN PUBLIC KEY-----\n" + lines + b"\n-----END PUBLIC KEY-----\n"

    def may_have_made(self, signature: bytes) -> bool:
        """Whether the length of a signature is one that this key makes: what is not is not worth the arithmetic."""
        if self._point is None:
            return len(signature) == _ED25519_SIGNATURE_BYTES
        return 8 <= len(signature) <= 2 * self._point.curve.value + 8  # DER: SEQUENCE { r, s }

    def ready(self, verifier: Verifier = PYCA) -> VerifyingKey:
        """The function that verifies, ``(signature, message) -> genuine``. ECDSA signatures are DER."""
        if self._point is None:
            return partial(_verify_ed25519, ed25519.Ed25519PublicKey.from_public_bytes(self.spki[-32:]))
        scheme = next(scheme for _, curve, scheme in _CURVES.values() if curve is self._point.curve)
        return verifier.load(self._point, scheme)

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether ``signature`` is this key's over ``message``."""
        return self.may_have_made(signature) and self.ready()(signature, message)


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key that signs; nothing of it but its public half is shown."""

    public: PublicKey
    _key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    def sign(self, message: bytes) -> bytes:
        """The signature over ``message``: 64 bytes of Ed25519, or a DER ECDSA signature."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        return self._key.sign(message, ec.ECDSA(_HASHES[self.public.algorithm]))

    def pem(self, passphrase: bytes | None = None) -> bytes:
        """PKCS#8, encrypted when there is a passphrase: PBES2 with AES-256, 2048 rounds of PBKDF2, as OpenSSL does."""
        encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(_bounded(passphrase))
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def create(algorithm: Algorithm) -> PrivateKey:
    """A new key."""
    if algorithm is Algorithm.ED25519:
        return _private(ed25519.Ed25519PrivateKey.generate())
    return _private(ec.generate_private_key(ec.SECP256R1() if algorithm is Algorithm.P256 else ec.SECP384R1()))


def parse_public(pem: bytes) -> PublicKey:
    """The public key in a PEM file; UsageError (``key-file``, ``key-type``)."""
    label, der = _unwrap(pem)
    if label != b"PUBLIC KEY":
        hint = "name the public half: enarx key package public KEY" if b"PRIVATE" in label else _HINT
        raise UsageError(f"not a public key but a PEM block of {label.decode()}", code="key-file", hint=hint)
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError("the public key cannot be read", code="key-file", hint=_HINT) from error
    return _public(key)


def parse_private(pem: bytes, passphrase: Passphrase) -> PrivateKey:
    """The private key in a PEM file; UsageError (``key-file``, ``key-type``, ``key-passphrase``)."""
    label, der = _unwrap(pem)
    if label not in (b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY"):
        hint = "convert it: openssl pkcs8 -topk8 -in KEY" if b"PRIVATE" in label else _HINT
        raise UsageError(f"not a PKCS#8 key but a PEM block of {label.decode()}", code="key-file", hint=hint)
    encrypted = label.startswith(b"ENCRYPTED")
    password = _bounded(passphrase()) if encrypted else None
    try:
        key = load_der_private_key(der, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if encrypted:
            raise UsageError(
                "the private key cannot be decrypted with this passphrase",
                code="key-passphrase",
                hint="it is the passphrase of another key, or the file is damaged",
            ) from error
        raise UsageError("the private key cannot be read", code="key-file", hint=_HINT) from error
    return _private(key)


_HINT: Final = "make a key with: enarx key package create --out KEY"


def _unwrap(pem: bytes) -> tuple[bytes, bytes]:
    """Label and bytes of the one PEM block (RFC 7468) that a file consists of."""
    match = _PEM.fullmatch(pem) if len(pem) <= KEY_FILE_MAX_BYTES else None
    if match is None:
        raise UsageError("not one key in PEM form", code="key-file", hint=_HINT)
    try:
        return match[1], base64.b64decode(b"".join(match[2].split()), validate=True)
    except binascii.Error as error:
        raise UsageError("broken base64 in the PEM block", code="key-file", hint="the file is damaged") from error


def _public(key: object) -> PublicKey:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return PublicKey(Algorithm.ED25519, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), None)
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise _unfit()
    algorithm, curve, _ = _CURVES[key.curve.name]
    numbers = key.public_numbers()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(algorithm, spki, EcKey(curve, numbers.x, numbers.y))


def _private(key: object) -> PrivateKey:
    if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise _unfit()
    return PrivateKey(_public(key.public_key()), key)


def _unfit() -> UsageError:
    hint = "use Ed25519, P-256 or P-384"
    return UsageError("keys of this type do not sign packages", code="key-type", hint=hint)


def _bounded(passphrase: bytes) -> bytes:
    if not 1 <= len(passphrase) <= PASSPHRASE_MAX_BYTES:
        raise UsageError(
            f"a passphrase of {len(passphrase)} bytes",
            code="key-passphrase",
            hint=f"1 to {PASSPHRASE_MAX_BYTES} bytes; a line end after it does not count",
        )
    return passphrase


def _verify_ed25519(key: ed25519.Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
