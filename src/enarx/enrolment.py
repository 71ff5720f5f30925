"""What an approver puts into a SEV guest before it runs: the one definition for both ends.

A SEV or SEV-ES guest cannot ask its processor for a report. So the tenant judges the launch while it happens, and then
injects a credential that this launch alone has: a fresh key on P-384 and the approver's signed word for it (an
*approval*, see ``enarx.evidence.sev.approval``). The Keep proves with the key that it is the launch that the approval
is about. There is no HOST_DATA either: the digest of the manifest that was approved is in the credential.

The credential is one entry of the secret table, which Linux shows as a file of this name::

    magic 8   manifest digest 32   private key 48 (big-endian)   length u32 (little-endian)   approval
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from enarx.errors import MalformedError

ENROLMENT_GUID: Final = "0b63bd04-6f0c-4e3a-94ee-fe0fcff3b05c"
"""The name of the credential in the secret table."""
DIGEST_BYTES: Final = 32
"""Size of a manifest's digest, SHA-256 (bytes)."""
KEY_BYTES: Final = 48
"""Size of a private key on P-384 (bytes)."""
APPROVAL_MAX_BYTES: Final = 2048
"""Largest approval (bytes); they have about 520."""

_MAGIC: Final = b"ENARXSV1"
_HEAD: Final = struct.Struct(f"<8s{DIGEST_BYTES}s{KEY_BYTES}sI")
ENROLMENT_MAX_BYTES: Final = _HEAD.size + APPROVAL_MAX_BYTES
"""Largest credential (bytes)."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A credential. ``approval`` is opaque to the Keep; the private ``key`` is left out of ``repr``."""

    manifest_digest: bytes
    key: bytes = field(repr=False)
    approval: bytes

    def encode(self) -> bytes:
        """The bytes to inject. Raises MalformedError for parts of other sizes than those above."""
        _check(self)
        return _HEAD.pack(_MAGIC, self.manifest_digest, self.key, len(self.approval)) + self.approval


def decode(data: bytes) -> Enrolment:
    """Read a credential; MalformedError (``enrolment-malformed``) for anything but exactly one."""
    if not _HEAD.size < len(data) <= ENROLMENT_MAX_BYTES:
        raise _malformed(f"{len(data)} bytes, not {_HEAD.size + 1} to {ENROLMENT_MAX_BYTES}")
    magic, digest, key, size = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise _malformed("it does not begin as one")
    if size != len(data) - _HEAD.size:
        raise _malformed(f"an approval of {size} bytes is announced, {len(data) - _HEAD.size} follow")
    found = Enrolment(digest, key, data[_HEAD.size :])
    _check(found)
    return found


def _check(enrolment: Enrolment) -> None:
    if len(enrolment.manifest_digest) != DIGEST_BYTES or len(enrolment.key) != KEY_BYTES:
        raise _malformed("digest or key has another size")
    if not 1 <= len(enrolment.approval) <= APPROVAL_MAX_BYTES:
        raise _malformed(f"an approval of {len(enrolment.approval)} bytes, not 1 to {APPROVAL_MAX_BYTES}")


def _malformed(what: str) -> MalformedError:
    return MalformedError(
        f"the injected credential cannot be read: {what}",
        code="enrolment-malformed",
        hint="launch with an approver of a fitting version (`enarx launch approve`)",
    )
