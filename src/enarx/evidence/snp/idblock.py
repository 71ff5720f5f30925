"""ID block and ID authentication information: who answers for an SNP guest, checked by the firmware at launch.

The ID block states what may be launched; the ID key signs it, and an author key may sign the ID key. The digests of
both keys appear in the guest's reports. Source: AMD SEV-SNP Firmware ABI (56860) revision 1.58, SNP_LAUNCH_FINISH (ID
block, ID authentication information structure) and the chapter on digital signatures (ECDSA P-384 with SHA-384).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from enarx.errors import AuthenticityError, MalformedError, UsageError

ID_BLOCK_BYTES: Final = 96
ID_AUTH_BYTES: Final = 4096
PUBLIC_KEY_BYTES: Final = 1028
SIGNATURE_BYTES: Final = 512
ENDORSEMENT_BYTES: Final = SIGNATURE_BYTES + PUBLIC_KEY_BYTES
ID_BLOCK_VERSION: Final = 1
ALGORITHM_P384_SHA384: Final = 1
DEFAULT_POLICY: Final = 0x3_0000
"""Guest policy of an ID block unless given: SMT allowed, the reserved bit that must be one, nothing else."""

_CURVE_P384: Final = 2
_COMPONENT_BYTES: Final = 72  # r, s, x and y are little-endian, padded with zeros to this length
_P384_BYTES: Final = 48
_ID_BLOCK = struct.Struct("<48s16s16sIIQ")  # launch digest, family id, image id, version, guest SVN, policy
_KEY = struct.Struct("<I72s72s880x")  # curve, x, y
_SIGNATURE = struct.Struct("<72s72s368x")  # r, s
_ID_AUTH = struct.Struct(
    "<II56x512s1028s60x512s1028s892x"
)  # algorithms, block signature, ID key, its signature, author
_NO_SIGNATURE: Final = bytes(SIGNATURE_BYTES)
_NO_KEY: Final = bytes(PUBLIC_KEY_BYTES)


@dataclass(frozen=True, slots=True)
class IdBlock:
    """What may be launched; the guest policy must equal the policy of the launch.

    ``launch_digest`` is 48 bytes, ``family_id`` and ``image_id`` 16 bytes each that the guest's owner chooses, all in
    stored order. Raises UsageError (``id-block-field``) for a value that the structure cannot carry.
    """

    launch_digest: bytes
    family_id: bytes = bytes(16)
    image_id: bytes = bytes(16)
    guest_svn: int = 0
    policy: int = DEFAULT_POLICY

    def __post_init__(self) -> None:
        for name, data, size in (
            ("launch digest", self.launch_digest, 48),
            ("family id", self.family_id, 16),
            ("image id", self.image_id, 16),
        ):
            if len(data) != size:
                raise _bad_field(f"a {name} of {len(data)} bytes", f"it has {size} bytes")
        for name, number, bits in (("guest SVN", self.guest_svn, 32), ("guest policy", self.policy, 64)):
            if not 0 <= number < 1 << bits:
                raise _bad_field(f"the {name} {number:#x}", f"it has {bits} bits")

    def to_bytes(self) -> bytes:
        """The 96 bytes that the firmware reads and the ID key signs."""
        return _ID_BLOCK.pack(
            self.launch_digest, self.family_id, self.image_id, ID_BLOCK_VERSION, self.guest_svn, self.policy
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> IdBlock:
        """Parse 96 bytes; raises MalformedError (``id-block``) for another length or version."""
        if len(data) != ID_BLOCK_BYTES:
            raise _malformed("id-block", f"an ID block has {ID_BLOCK_BYTES} bytes, not {len(data)}")
        launch_digest, family_id, image_id, version, guest_svn, policy = _ID_BLOCK.unpack(data)
        if version != ID_BLOCK_VERSION:
            raise _malformed("id-block", f"ID block version {version} is not known, {ID_BLOCK_VERSION} is")
        return cls(launch_digest, family_id, image_id, guest_svn, policy)


@dataclass(frozen=True, slots=True)
class Endorsement:
    """An author key's signature over an ID key: both in the firmware's format (512 and 1028 bytes).

    Made where the author key lives and used where the ID key lives, so that neither has to leave its place.
    """

    signature: bytes
    author_key: bytes

    def to_bytes(self) -> bytes:
        """The 1540 bytes that ``enarx key sev sign`` writes."""
        return self.signature + self.author_key

    @classmethod
    def from_bytes(cls, data: bytes) -> Endorsement:
        """Parse 1540 bytes; raises MalformedError (``id-key-signature``, ``key-format``, ``signature-format``)."""
        if len(data) != ENDORSEMENT_BYTES:
            raise _malformed("id-key-signature", f"an ID key signature has {ENDORSEMENT_BYTES} bytes, not {len(data)}")
        endorsement = cls(data[:SIGNATURE_BYTES], data[SIGNATURE_BYTES:])
        decode_signature(endorsement.signature)
        decode_public_key(endorsement.author_key)
        return endorsement


@dataclass(frozen=True, slots=True)
class IdAuth:
    """ID authentication information, each part in the firmware's format; ``endorsement`` is None without author key."""

    block_signature: bytes
    id_key: bytes
    endorsement: Endorsement | None = None

    def to_bytes(self) -> bytes:
        """The 4096 bytes (one page) that the firmware reads."""
        author = self.endorsement
        return _ID_AUTH.pack(
            ALGORITHM_P384_SHA384,
            ALGORITHM_P384_SHA384 if author else 0,
            self.block_signature,
            self.id_key,
            author.signature if author else _NO_SIGNATURE,
            author.author_key if author else _NO_KEY,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> IdAuth:
        """Parse 4096 bytes; raises MalformedError (``id-auth``) for another length, algorithm or reserved content."""
        if len(data) != ID_AUTH_BYTES:
            raise _malformed("id-auth", f"ID authentication information has {ID_AUTH_BYTES} bytes, not {len(data)}")
        id_algorithm, author_algorithm, block_signature, id_key, key_signature, author_key = _ID_AUTH.unpack(data)
        if id_algorithm != ALGORITHM_P384_SHA384 or author_algorithm not in (0, ALGORITHM_P384_SHA384):
            raise _malformed("id-auth", f"key algorithms {id_algorithm} and {author_algorithm} are not known")
        author = Endorsement(key_signature, author_key) if author_algorithm else None
        parsed = cls(block_signature, id_key, author)
        if parsed.to_bytes() != data:
            raise _malformed("id-auth", "reserved bytes are not zero, or there is an author key without algorithm")
        return parsed


def encode_public_key(key: ec.EllipticCurvePublicKey) -> bytes:
    """A P-384 public key in the firmware's format (1028 bytes); raises UsageError (``key-curve``) for another curve."""
    check_curve(key.curve)
    numbers = key.public_numbers()
    return _KEY.pack(_CURVE_P384, _component(numbers.x), _component(numbers.y))


def decode_public_key(data: bytes) -> ec.EllipticCurvePublicKey:
    """Parse the firmware's format (1028 bytes); raises MalformedError (``key-format``)."""
    if len(data) != PUBLIC_KEY_BYTES:
        raise _malformed("key-format", f"a public key has {PUBLIC_KEY_BYTES} bytes, not {len(data)}")
    curve, x, y = _KEY.unpack(data)
    if curve != _CURVE_P384:
        raise _malformed("key-format", f"curve {curve} is not known, P-384 is {_CURVE_P384}")
    try:
        numbers = ec.EllipticCurvePublicNumbers(
            int.from_bytes(x, "little"), int.from_bytes(y, "little"), ec.SECP384R1()
        )
        key = numbers.public_key()
    except ValueError as error:
        raise _malformed("key-format", "the public key is not a point on P-384") from error
    if encode_public_key(key) != data:
        raise _malformed("key-format", "reserved bytes of the public key are not zero")
    return key


def key_digest(key: ec.EllipticCurvePublicKey) -> bytes:
    """SHA-384 of the key in the firmware's format: ID_KEY_DIGEST or AUTHOR_KEY_DIGEST of a report (48 bytes)."""
    return hashlib.sha384(encode_public_key(key)).digest()


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Sign with ECDSA P-384 and SHA-384, in the firmware's format (512 bytes); raises as ``encode_public_key``."""
    check_curve(key.curve)
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA384())))
    return _SIGNATURE.pack(_component(r), _component(s))


def decode_signature(data: bytes) -> bytes:
    """The firmware's format (512 bytes) as DER; raises MalformedError (``signature-format``)."""
    if len(data) != SIGNATURE_BYTES:
        raise _malformed("signature-format", f"a signature has {SIGNATURE_BYTES} bytes, not {len(data)}")
    r, s = _SIGNATURE.unpack(data)
    if _SIGNATURE.pack(r, s) != data or any(r[_P384_BYTES:]) or any(s[_P384_BYTES:]):
        raise _malformed("signature-format", "the signature's padding is not zero")
    return encode_dss_signature(int.from_bytes(r, "little"), int.from_bytes(s, "little"))


def endorse(author_key: ec.EllipticCurvePrivateKey, id_key: ec.EllipticCurvePublicKey) -> Endorsement:
    """Sign an ID key with an author key."""
    return Endorsement(sign(author_key, encode_public_key(id_key)), encode_public_key(author_key.public_key()))


def authorize(block: IdBlock, id_key: ec.EllipticCurvePrivateKey, endorsement: Endorsement | None = None) -> IdAuth:
    """Sign an ID block; ``endorsement`` is an author's over this ID key.

    Raises AuthenticityError (``id-key-signature``) when the endorsement is for another key: the firmware would refuse
    the launch, with less to say.
    """
    auth = IdAuth(sign(id_key, block.to_bytes()), encode_public_key(id_key.public_key()), endorsement)
    verify(block, auth)
    return auth


def verify(block: IdBlock, auth: IdAuth) -> None:
    """Check an ID block as the firmware does at launch.

    Raises MalformedError, or AuthenticityError: ``id-block-signature``, ``id-key-signature``.
    """
    id_key = decode_public_key(auth.id_key)
    _check(
        id_key, auth.block_signature, block.to_bytes(), "id-block-signature", "the ID key did not sign this ID block"
    )
    if auth.endorsement is not None:
        author = decode_public_key(auth.endorsement.author_key)
        _check(
            author,
            auth.endorsement.signature,
            auth.id_key,
            "id-key-signature",
            "the author key did not sign this ID key",
        )


def check_curve(curve: ec.EllipticCurve) -> None:
    """Refuse a key that is not on P-384, the one curve of the firmware (UsageError, ``key-curve``)."""
    if not isinstance(curve, ec.SECP384R1):
        raise UsageError(
            f"the key is on {curve.name}, the firmware knows P-384 only",
            code="key-curve",
            hint="make one with: enarx key sev create --out KEY",
        )


def _check(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes, code: str, message: str) -> None:
    try:
        key.verify(decode_signature(signature), data, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as error:
        raise AuthenticityError(message, code=code, hint="sign again with the key that belongs to it") from error


def _component(number: int) -> bytes:
    return number.to_bytes(_COMPONENT_BYTES, "little")


def _bad_field(what: str, limit: str) -> UsageError:
    return UsageError(f"{what} does not fit an ID block", code="id-block-field", hint=limit)


def _malformed(code: str, message: str) -> MalformedError:
    return MalformedError(message, code=code, hint="the data are damaged, or not what they are taken for")
