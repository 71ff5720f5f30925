"""Distinguished names of certificates as text (RFC 5280 4.1.2.4); compared they are as encoded, never as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from enarx.evidence import der

NAME_MAX_BYTES = 8 * 1024
"""Longest encoded name that is read (bytes)."""
NAME_MAX_ATTRIBUTES = 32
"""Relative names in one distinguished name (count)."""
NAMES_KEPT = 64
"""Common names that are kept (count): a vendor has few, and one verification asks for each of them several times."""

OID_COMMON_NAME = der.encode_oid("2.5.4.3")
_SHORT = {
    OID_COMMON_NAME: "CN",
    der.encode_oid("2.5.4.6"): "C",
    der.encode_oid("2.5.4.7"): "L",
    der.encode_oid("2.5.4.8"): "ST",
    der.encode_oid("2.5.4.10"): "O",
    der.encode_oid("2.5.4.11"): "OU",
}
_ESCAPED = frozenset('\\,+"<>;#')


def encode_name(parts: Iterable[tuple[str, int, str]]) -> bytes:
    """An encoded distinguished name of one attribute after another: (object identifier, DER tag, text)."""
    names = b""
    for kind, tag, text in parts:
        pair = der.encode(der.OID, der.encode_oid(kind)) + der.encode(tag, text.encode())
        names += der.encode(der.SET, der.encode(der.SEQUENCE, pair))
    return der.encode(der.SEQUENCE, names)


@lru_cache(maxsize=NAMES_KEPT)
def common_name(name: bytes) -> str:
    """The common name of an encoded distinguished name, empty when it has none; MalformedError for a broken name.

    It is for people and goes into messages: what would not print, such as a terminal's control sequences, is ``?``.
    """
    found = ""
    for identifier, text in _attributes(name):
        if identifier == OID_COMMON_NAME and text is not None:
            found = _printable(text)
    return found


def distinguished_name(name: bytes) -> str:
    """An encoded distinguished name as RFC 4514 writes it, last attribute first; MalformedError for a broken name.

    A value that is no text of a known kind is shown as ``#``; attributes without a short name by their identifier.
    """
    parts = [
        f"{_SHORT.get(identifier) or der.dotted_oid(identifier)}={'#' if text is None else _escape(text)}"
        for identifier, text in _attributes(name)
    ]
    return ",".join(reversed(parts))


def _attributes(name: bytes) -> Iterator[tuple[bytes, str | None]]:
    whole = der.only(name, der.SEQUENCE, NAME_MAX_BYTES)
    at = whole.start
    for _ in range(NAME_MAX_ATTRIBUTES):
        if at == whole.stop:
            return
        group = der.expect(name, at, whole.stop, der.SET)
        pair = der.expect(name, group.start, group.stop, der.SEQUENCE)
        kind = der.expect(name, pair.start, pair.stop, der.OID)
        value = der.element(name, kind.stop, pair.stop)
        text: str | None = None
        if value.tag in (der.UTF8_STRING, der.PRINTABLE_STRING):
            try:
                text = name[value.start : value.stop].decode()
            except UnicodeDecodeError as error:
                raise der.malformed("a name is not UTF-8") from error
        yield der.oid(name, kind), text
        at = group.stop
    raise der.malformed("too many relative names")


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text)


def _escape(text: str) -> str:
    return "".join(f"\\{one}" if one in _ESCAPED else one if one.isprintable() else "\\?" for one in text)
