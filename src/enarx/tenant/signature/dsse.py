"""DSSE envelopes (https://github.com/secure-systems-lab/dsse, protocol and envelope 1.0).

::

    {"payload": BASE64, "payloadType": TYPE, "signatures": [{"keyid": TEXT, "sig": BASE64}, ...]}

A signature is over PAE(payloadType, payload), so one that was made for another type of payload is no signature here.
``keyid`` is a hint that nothing is decided by.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Final

from enarx.errors import MalformedError
from enarx.tenant.signature import strictjson

ENVELOPE_MAX_BYTES: Final = 64 * 1024
"""Largest envelope (bytes); one signature takes some 400."""
SIGNATURES_MAX: Final = 16
"""Signatures in one envelope (count)."""
SIGNATURE_MAX_BYTES: Final = 1024
"""Longest signature (bytes of what ``sig`` encodes)."""
TEXT_MAX_CHARS: Final = 1024
"""Longest ``keyid`` and ``payloadType`` (characters)."""

_TO_STANDARD: Final = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature of an envelope. ``keyid`` is empty when there is none."""

    sig: bytes
    keyid: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An envelope as it was read. Nothing about it is verified."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """The envelope as JSON in one line, base64 in the standard alphabet."""
        value = {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [_plain(one) for one in self.signatures],
        }
        return _json(value)


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed (protocol, Pre-Authentication Encoding): every length is told, so no two pairs encode alike."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def parse(data: bytes) -> Envelope:
    """Read an envelope of at most ``ENVELOPE_MAX_BYTES``; MalformedError (``dsse-...``). Unknown fields are ignored."""
    return _envelope(_load(data))


def add(data: bytes, signature: Signature) -> bytes:
    """The envelope in ``data`` with one more signature; whatever else stands in it is kept. Raises as ``parse``."""
    value = _load(data)
    _envelope(value)
    value["signatures"].append(_plain(signature))
    made = _json(value)
    parse(made)  # the bounds hold for the result, too
    return made


def _load(data: bytes) -> dict[str, Any]:
    if len(data) > ENVELOPE_MAX_BYTES:
        raise _bad("size", f"it has {len(data)} bytes, more than {ENVELOPE_MAX_BYTES}")
    try:
        value = strictjson.loads(data)
    except ValueError as error:
        raise _bad("json", "it is not JSON") from error
    if not isinstance(value, dict) or not {"payload", "payloadType", "signatures"} <= value.keys():
        raise _bad("keys", "it does not have the fields payload, payloadType and signatures")
    return value


def _envelope(value: dict[str, Any]) -> Envelope:
    signatures = value["signatures"]
    if not isinstance(signatures, list) or not 1 <= len(signatures) <= SIGNATURES_MAX:
        raise _bad("signatures", f"it does not have 1 to {SIGNATURES_MAX} signatures")
    return Envelope(
        payload_type=_text(value["payloadType"], "payloadType"),
        payload=_base64(value["payload"], "payload"),
        signatures=tuple(map(_signature, signatures)),
    )


def _signature(value: object) -> Signature:
    if not isinstance(value, dict) or "sig" not in value:
        raise _bad("signatures", "a signature does not have the field sig")
    sig = _base64(value["sig"], "sig")
    if not 1 <= len(sig) <= SIGNATURE_MAX_BYTES:
        raise _bad("signatures", f"a signature of {len(sig)} bytes is not of 1 to {SIGNATURE_MAX_BYTES}")
    return Signature(sig, _text(value.get("keyid") or "", "keyid"))


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or len(value) > TEXT_MAX_CHARS:
        raise _bad("text", f"{what} is not text of at most {TEXT_MAX_CHARS} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _bad("text", f"{what} is not Unicode") from error
    return value


def _base64(value: object, what: str) -> bytes:
    """Either alphabet of RFC 4648, padded, and no second way to write the same bytes."""
    if isinstance(value, str) and value.isascii():
        standard = value.translate(_TO_STANDARD)
        try:
            data = base64.b64decode(standard, validate=True)
        except binascii.Error:
            data = b"\0"
        if base64.b64encode(data).decode() == standard:
            return data
    raise _bad("base64", f"{what} is not base64")


def _plain(signature: Signature) -> dict[str, str]:
    plain = {"keyid": signature.keyid} if signature.keyid else {}
    return plain | {"sig": base64.b64encode(signature.sig).decode()}


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _bad(code: str, what: str) -> MalformedError:
    return MalformedError(
        f"the envelope is not one of DSSE: {what}",
        code=f"dsse-{code}",
        hint="it is what `enarx package sign` writes: hand it over as it was written",
    )
