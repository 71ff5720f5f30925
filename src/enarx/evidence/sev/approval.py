"""An approval: the signed word of a tenant's approver that it verified one SEV launch, and which key it gave to it.

A SEV guest has no reports, so what was verified once, at launch, is carried on in this form. Whoever believes the
approver judges the launch again by a policy of its own, as often as it likes. All integers are little-endian::

    body       magic 8   flags u32 (bit 0: SIMULATED)   product 16   firmware 3   zero 1   policy u32
               launch digest 32   measurement 48   SHA-256 of the OCA certificate 32   manifest digest 32
               enrolment key 97 (uncompressed point on P-384)   zero 3   approved u64   until u64 (Unix time, seconds)
    approval   body   length u16   approver's SubjectPublicKeyInfo   length u16   ECDSA signature (DER)

The signature is over a label, the body and the approver's key, with the digest of that key's curve.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from enarx.errors import MalformedError
from enarx.evidence.certificate import parse_public_key
from enarx.evidence.sev.guest_policy import GuestPolicy
from enarx.evidence.sev.report import DIGEST_BYTES, MEASUREMENT_BYTES, FirmwareVersion, Launch, LaunchMeasurement
from enarx.evidence.signature import Curve, EcKey, Scheme, Verifier

APPROVAL_MAX_BYTES: Final = 2048
"""Largest approval (bytes), as in ``enarx.enrolment``."""
POINT_BYTES: Final = 97
"""Size of an uncompressed point on P-384 (bytes; SEC 1, 2.3.3)."""
SIMULATED: Final = 1 << 0

_MAGIC: Final = b"ENARXAP1"
_LABEL: Final = b"enarx sev approval v1\0"
_BODY: Final = struct.Struct(f"<8sI16s3sxI{DIGEST_BYTES}s{MEASUREMENT_BYTES}s32s32s{POINT_BYTES}s3xQQ")
_LENGTH: Final = struct.Struct("<H")
_TIME_MAX: Final = 1 << 40  # seconds: beyond what a datetime can say, and well inside what arithmetic on it can
_SCHEMES: Final = {Curve.P384: Scheme.ECDSA_SHA384, Curve.P256: Scheme.ECDSA_SHA256}


@dataclass(frozen=True, slots=True)
class Approval:
    """What an approver says: ``launch`` was verified, was for the manifest with this digest, and got this key.

    ``key`` is the enrolment key's point (97 bytes). ``until`` is when the approval ends. Nothing of it is verified.
    """

    launch: Launch
    manifest_digest: bytes
    key: bytes
    approved: datetime
    until: datetime
    simulated: bool

    def body(self) -> bytes:
        """The fixed part of the encoding."""
        launch = self.launch
        return _BODY.pack(
            _MAGIC,
            SIMULATED if self.simulated else 0,
            launch.product.encode("ascii"),
            launch.firmware.to_bytes(),
            launch.policy.value,
            launch.digest,
            launch.measurement.to_bytes(),
            launch.owner_sha256,
            self.manifest_digest,
            self.key,
            int(self.approved.timestamp()),
            int(self.until.timestamp()),
        )


@dataclass(frozen=True, slots=True)
class SignedApproval:
    """An approval and whose word it is: ``spki`` (DER) and ``signature`` over ``signed``. Nothing is verified."""

    approval: Approval
    spki: bytes
    signature: bytes
    signed: bytes

    @property
    def approver(self) -> bytes:
        """SHA-256 of the approver's SubjectPublicKeyInfo, by which policies name it."""
        return hashlib.sha256(self.spki).digest()


def sign_approval(approval: Approval, spki: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """The approval, signed: ``sign`` makes an ECDSA signature (DER) with the key of ``spki``, by its curve's digest."""
    body = approval.body()
    if _parse_body(body) != approval:  # so that nothing is ever signed that would be read otherwise
        raise ValueError("the approval has no exact encoding")
    signature = sign(_LABEL + body + spki)
    return body + _LENGTH.pack(len(spki)) + spki + _LENGTH.pack(len(signature)) + signature


def parse_approval(data: bytes) -> SignedApproval:
    """Read a signed approval; MalformedError (``approval-malformed``) for anything but exactly one."""
    if not _BODY.size < len(data) <= APPROVAL_MAX_BYTES:
        raise _malformed(f"it has {len(data)} bytes")
    body = data[: _BODY.size]
    spki, rest = _take(data[_BODY.size :])
    signature, rest = _take(rest)
    if rest:
        raise _malformed(f"{len(rest)} bytes follow it")
    approval = _parse_body(body)
    if approval.body() != body:
        raise _malformed("its encoding is not the one that its contents have")
    return SignedApproval(approval, spki, signature, _LABEL + body + spki)


def is_signed(found: SignedApproval, verifier: Verifier) -> bool:
    """Whether the signature is the approver's own. Raises MalformedError for a key that cannot be used."""
    key = parse_public_key(found.spki)
    if not isinstance(key, EcKey) or key.curve not in _SCHEMES:
        raise _malformed("the approver's key is not on P-384 or P-256")
    return verifier.load(key, _SCHEMES[key.curve])(found.signature, found.signed)


def enrolment_key(approval: Approval) -> EcKey:
    """The key of the launch; that it is a point on its curve is found out when it is loaded."""
    point, half = approval.key, POINT_BYTES // 2
    return EcKey(Curve.P384, int.from_bytes(point[1 : 1 + half], "big"), int.from_bytes(point[1 + half :], "big"))


def _parse_body(body: bytes) -> Approval:
    magic, flags, product, firmware, policy, digest, measurement, owner, manifest, key, approved, until = _BODY.unpack(
        body
    )
    if magic != _MAGIC or flags & ~SIMULATED:
        raise _malformed("it is none, or of a later version")
    if key[0] != 4:
        raise _malformed("its key is not an uncompressed point")
    if not approved <= until < _TIME_MAX:
        raise _malformed("it has no period in which it is valid")
    try:
        times = (datetime.fromtimestamp(approved, UTC), datetime.fromtimestamp(until, UTC))
        name = product.rstrip(b"\0").decode("ascii")
    except (UnicodeDecodeError, OverflowError, ValueError, OSError) as error:
        raise _malformed("its product or its period is not one") from error
    if not name or not name.isprintable():
        raise _malformed("it names no product")
    launch = Launch(
        product=name,
        firmware=FirmwareVersion(*firmware),
        policy=GuestPolicy(policy),
        digest=digest,
        measurement=LaunchMeasurement.from_bytes(measurement),
        owner_sha256=owner,
    )
    return Approval(launch, manifest, key, *times, bool(flags & SIMULATED))


def _take(data: bytes) -> tuple[bytes, bytes]:
    if len(data) < _LENGTH.size:
        raise _malformed("it is cut off")
    (size,) = _LENGTH.unpack_from(data)
    rest = data[_LENGTH.size :]
    if not 1 <= size <= len(rest):
        raise _malformed(f"{size} bytes are announced, {len(rest)} are there")
    return rest[:size], rest[size:]


def _malformed(what: str) -> MalformedError:
    return MalformedError(
        f"the approval of a SEV launch is malformed: {what}",
        code="approval-malformed",
        hint="it was altered, or made by an approver of another version",
    )
