"""A strict, bounded reader of DER (ITU-T X.690), the encoding of certificates and revocation lists.

Definite lengths in their shortest form only, low tag numbers only, nothing after the outermost element. It exists next
to ``cryptography.x509`` because AMD's endorsement certificates carry the serial number 0, which that package announces
it will refuse; and because a certificate is hostile input whose cost should be ours to bound.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from enarx.errors import MalformedError

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OID = 0x06
ENUMERATED = 0x0A
UTF8_STRING = 0x0C
PRINTABLE_STRING = 0x13
IA5_STRING = 0x16
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31

MAX_INTEGER_BYTES = 1028
"""Largest INTEGER that is read (bytes): an 8192-bit modulus with its sign octet, and a little room."""
MAX_OID_BYTES = 64
"""Longest OBJECT IDENTIFIER that is read (encoded bytes)."""


class Element(NamedTuple):
    """One TLV: tag octet, and where its contents begin and end in the buffer. ``head`` is where the tag stands."""

    tag: int
    head: int
    start: int
    stop: int


def malformed(what: str) -> MalformedError:
    """The error for bytes that are not the DER they should be."""
    return MalformedError(
        f"malformed DER: {what}", code="malformed", hint="check that the file is what it claims to be"
    )


_new = tuple.__new__


def element(data: bytes, at: int, stop: int) -> Element:
    """Read the TLV that begins at ``at`` and must end by ``stop``; MalformedError when it does not."""
    start = at + 2
    if start > stop:
        raise malformed("truncated element")
    tag, length = data[at], data[at + 1]
    if tag & 0x1F == 0x1F:
        raise malformed("multi-byte tag")
    if length >= 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4 or start + size > stop:
            raise malformed("length of length out of range")
        length = int.from_bytes(data[start : start + size], "big")
        start += size
        if length < 0x80 or length >> (8 * (size - 1)) == 0:
            raise malformed("length not in its shortest form")
    end = start + length
    if end > stop:
        raise malformed("element is longer than what holds it")
    # Not through the constructor, which takes as long as everything else here; a verification reads some 150 of these.
    return _new(Element, (tag, at, start, end))


def expect(data: bytes, at: int, stop: int, tag: int) -> Element:
    """Like ``element``, for a tag that the format prescribes."""
    start = at + 2
    if start <= stop and data[at] == tag:
        end = start + data[at + 1]
        if end <= stop and data[at + 1] < 0x80:  # most elements are short; the others are left to ``element``
            return _new(Element, (tag, at, start, end))
    found = element(data, at, stop)
    if found.tag != tag:
        raise malformed(f"tag 0x{found.tag:02x} where 0x{tag:02x} was expected")
    return found


def only(data: bytes, tag: int, limit: int) -> Element:
    """The element that must be the whole of ``data``, which may have at most ``limit`` bytes."""
    if len(data) > limit:
        raise MalformedError(
            f"{len(data)} bytes, more than the {limit} that are read", code="too-long", hint="check the file"
        )
    found = expect(data, 0, len(data), tag)
    if found.stop != len(data):
        raise malformed("trailing bytes")
    return found


def integer(data: bytes, found: Element) -> int:
    """The value of an INTEGER of bounded size in its shortest form, two's complement."""
    size = found.stop - found.start
    if found.tag != INTEGER or not 1 <= size <= MAX_INTEGER_BYTES:
        raise malformed("not an INTEGER of acceptable size")
    if size > 1:
        first, second = data[found.start], data[found.start + 1]
        if (first == 0 and second < 0x80) or (first == 0xFF and second >= 0x80):
            raise malformed("INTEGER not in its shortest form")
    return int.from_bytes(data[found.start : found.stop], "big", signed=True)


def natural(data: bytes, found: Element) -> int:
    """An INTEGER that must not be negative."""
    value = integer(data, found)
    if value < 0:
        raise malformed("negative INTEGER")
    return value


def boolean(data: bytes, found: Element) -> bool:
    """The value of a BOOLEAN, which in DER is 00 or FF."""
    if found.tag != BOOLEAN or found.stop - found.start != 1 or data[found.start] not in (0x00, 0xFF):
        raise malformed("not a BOOLEAN")
    return data[found.start] == 0xFF


def oid(data: bytes, found: Element) -> bytes:
    """The contents of an OBJECT IDENTIFIER, checked to be well formed, still encoded."""
    value = data[found.start : found.stop]
    if found.tag != OID or not 1 <= len(value) <= MAX_OID_BYTES or value[-1] & 0x80:
        raise malformed("not an OBJECT IDENTIFIER")
    return value


def bit_string(data: bytes, found: Element) -> bytes:
    """The contents of a BIT STRING of whole octets (keys and signatures have no unused bits)."""
    if found.tag != BIT_STRING or found.stop - found.start < 1 or data[found.start] != 0:
        raise malformed("not a BIT STRING of whole octets")
    return data[found.start + 1 : found.stop]


_EPOCH_DAY = datetime(1970, 1, 1).toordinal()


def time(data: bytes, found: Element) -> int:
    """A UTCTime or GeneralizedTime as seconds since 1970, in the one form RFC 5280 4.1.2.5 permits (Zulu, seconds)."""
    text = data[found.start : found.stop]
    digits = text[:-1]
    if text[-1:] != b"Z" or not digits.isdigit():
        raise malformed("time is not in the Zulu form")
    if found.tag == UTC_TIME and len(digits) == 12:
        year = int(digits[:2])
        year += 1900 if year >= 50 else 2000
    elif found.tag == GENERALIZED_TIME and len(digits) == 14:
        year = int(digits[:4])
    else:
        raise malformed("not a time")
    minutes, second = divmod(int(digits[-10:]), 100)
    hours, minute = divmod(minutes, 100)
    days, hour = divmod(hours, 100)
    month, day = divmod(days, 100)
    try:
        moment = datetime(year, month, day, hour, minute, second)
    except ValueError as error:
        raise malformed("impossible date") from error
    return (moment.toordinal() - _EPOCH_DAY) * 86_400 + hour * 3_600 + minute * 60 + second


def encode_oid(dotted: str) -> bytes:
    """The encoded contents of an OBJECT IDENTIFIER written with dots, for constants."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    out = bytearray()
    for arc in (first * 40 + second, *rest):
        group = [arc & 0x7F]
        while arc := arc >> 7:
            group.append(0x80 | arc & 0x7F)
        out += bytes(reversed(group))
    return bytes(out)


def dotted_oid(encoded: bytes) -> str:
    """An encoded OBJECT IDENTIFIER written with dots, for messages."""
    arcs: list[int] = []
    arc = 0
    for octet in encoded:
        arc = arc << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    if not arcs:
        return ""
    first = min(arcs[0] // 40, 2)
    return ".".join(str(value) for value in (first, arcs[0] - 40 * first, *arcs[1:]))


def encode(tag: int, contents: bytes) -> bytes:
    """One TLV with the shortest definite length."""
    size = len(contents)
    if size < 0x80:
        return bytes((tag, size)) + contents
    width = (size.bit_length() + 7) // 8
    return bytes((tag, 0x80 | width)) + size.to_bytes(width, "big") + contents


def encode_natural(value: int) -> bytes:
    """A non-negative INTEGER with its tag and length."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def encode_ecdsa(r: int, s: int) -> bytes:
    """``ECDSA-Sig-Value`` (RFC 3279 2.2.3) of non-negative r and s."""
    return encode(SEQUENCE, encode_natural(r) + encode_natural(s))
