"""The ways in which certificates travel together: PEM, DER, a PkiPath, or one after another.

Splitting only: every certificate that comes out is still to be parsed and verified.
"""

from __future__ import annotations

import base64
import binascii
import re

from enarx.errors import MalformedError
from enarx.evidence import der
from enarx.evidence.certificate import CERTIFICATE_MAX_BYTES

BUNDLE_MAX_BYTES = 256 * 1024
"""Largest bundle that is read (bytes)."""
BUNDLE_MAX_CERTIFICATES = 16
"""Certificates in a bundle (count)."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----")


def split_certificates(data: bytes) -> tuple[bytes, ...]:
    """The DER certificates in PEM text, a DER certificate, a PkiPath (X.509 9.1) or concatenated DER, in their order.

    MalformedError when it is none of these, holds nothing, or exceeds the limits above.
    """
    if len(data) > BUNDLE_MAX_BYTES:
        raise MalformedError(
            f"{len(data)} bytes of certificates, more than {BUNDLE_MAX_BYTES}",
            code="too-long",
            hint="give only the certificates of one chain",
        )
    found = _pem(data) if b"-----BEGIN" in data else _der(data)
    if not found:
        raise MalformedError("no certificate in it", code="malformed", hint="expected PEM or DER certificates")
    return tuple(found)


def unwrap_pem(data: bytes, label: str) -> bytes:
    """The one DER object under a PEM label (``X509 CRL``), or ``data`` itself when it is not PEM."""
    if b"-----BEGIN" not in data:
        return data
    if len(data) > 2 * 1024 * 1024:
        raise MalformedError("too much PEM text", code="too-long", hint=f"give one {label}")
    name = re.escape(label.encode())
    blocks = re.findall(rb"-----BEGIN " + name + rb"-----([A-Za-z0-9+/=\s]*)-----END " + name + rb"-----", data)
    if len(blocks) != 1:
        raise MalformedError(f"{len(blocks)} PEM blocks of {label}", code="malformed", hint=f"give one {label}")
    return _decoded(blocks[0])


def _pem(data: bytes) -> list[bytes]:
    found: list[bytes] = []
    for match in _PEM.finditer(data):
        _count(found)
        found.append(_decoded(match.group(1)))
    if data.count(b"-----BEGIN") != len(found):
        raise MalformedError("a PEM block is not a whole certificate", code="malformed", hint="give certificates only")
    return found


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as error:
        raise MalformedError("broken base64 in PEM", code="malformed", hint="the file is damaged") from error


def _der(data: bytes) -> list[bytes]:
    if not data:
        return []
    outer = der.expect(data, 0, len(data), der.SEQUENCE)
    if outer.stop == len(data) and _is_path(data, outer):
        return _sequence(data, outer.start, outer.stop)
    return _sequence(data, 0, len(data))


def _is_path(data: bytes, outer: der.Element) -> bool:
    """A PkiPath holds certificates, so two SEQUENCE heads precede a tbsCertificate; in a certificate only one does."""
    if outer.start == outer.stop:
        return False
    first = der.element(data, outer.start, outer.stop)
    if first.tag != der.SEQUENCE or first.start == first.stop:
        return False
    return der.element(data, first.start, first.stop).tag == der.SEQUENCE


def _sequence(data: bytes, at: int, stop: int) -> list[bytes]:
    found: list[bytes] = []
    while at < stop:
        _count(found)
        one = der.expect(data, at, stop, der.SEQUENCE)
        if one.stop - one.head > CERTIFICATE_MAX_BYTES:
            raise MalformedError("a certificate is too long", code="too-long", hint="give certificates only")
        found.append(data[one.head : one.stop])
        at = one.stop
    return found


def _count(found: list[bytes]) -> None:
    if len(found) >= BUNDLE_MAX_CERTIFICATES:
        raise MalformedError(
            f"more than {BUNDLE_MAX_CERTIFICATES} certificates", code="too-long", hint="give one chain only"
        )
