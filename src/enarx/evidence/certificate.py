"""X.509 certificates and revocation lists as facts: what the bytes say, no judgement (RFC 5280).

Read with our own strict DER reader, so that AMD's endorsement certificates (serial number 0, no key identifiers) load
whatever ``cryptography`` decides about them. Whether a certificate is to be believed is ``chain.py``'s business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from enarx.errors import MalformedError
from enarx.evidence import der
from enarx.evidence.algorithm import signature_scheme
from enarx.evidence.signature import Curve, EcKey, PublicKey, RsaKey, Scheme, check_rsa_size

CERTIFICATE_MAX_BYTES = 8 * 1024
"""Largest certificate that is read (bytes). AMD's have 1.3 to 1.7 KiB, Intel's PCK 1.3 KiB."""
CERTIFICATE_MAX_EXTENSIONS = 64
"""Extensions in one certificate or list (count)."""
CRL_MAX_BYTES = 1024 * 1024
"""Largest revocation list that is read (bytes)."""
CRL_MAX_ENTRIES = 50_000
"""Revoked certificates in one list (count)."""

OID_BASIC_CONSTRAINTS = der.encode_oid("2.5.29.19")
OID_KEY_USAGE = der.encode_oid("2.5.29.15")
OID_SUBJECT_KEY_IDENTIFIER = der.encode_oid("2.5.29.14")
OID_AUTHORITY_KEY_IDENTIFIER = der.encode_oid("2.5.29.35")
OID_CRL_DISTRIBUTION_POINTS = der.encode_oid("2.5.29.31")
OID_CRL_NUMBER = der.encode_oid("2.5.29.20")

_OID_RSA = der.encode_oid("1.2.840.113549.1.1.1")
_OID_EC = der.encode_oid("1.2.840.10045.2.1")
_CURVES = {
    der.encode_oid("1.2.840.10045.3.1.7"): Curve.P256,
    der.encode_oid("1.3.132.0.34"): Curve.P384,
    der.encode_oid("1.3.132.0.35"): Curve.P521,
}


class Extension(NamedTuple):
    """An extension's criticality and the contents of its OCTET STRING."""

    critical: bool
    value: bytes


_new = tuple.__new__

Extensions = Mapping[bytes, Extension]
"""Extensions by encoded object identifier."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What an X.509 v3 certificate says.

    ``tbs`` is the signed part, ``issuer`` and ``subject`` are names as encoded, times are seconds since 1970 (UTC,
    both ends inclusive), ``scheme`` is the algorithm of the issuer's ``signature``.
    """

    encoded: bytes
    tbs: bytes
    serial: int
    issuer: bytes
    subject: bytes
    not_before: int
    not_after: int
    key: PublicKey
    extensions: Extensions
    scheme: Scheme
    signature: bytes

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the whole certificate, its usual fingerprint."""
        return hashlib.sha256(self.encoded).digest()


@dataclass(frozen=True, slots=True)
class RevocationList:
    """What an X.509 v2 CRL says: ``revoked`` maps serial numbers to the second of their revocation."""

    encoded: bytes
    tbs: bytes
    issuer: bytes
    this_update: int
    next_update: int
    number: int | None
    revoked: Mapping[int, int]
    scheme: Scheme
    signature: bytes


def parse_certificate(data: bytes) -> Certificate:
    """Read one DER certificate; MalformedError for anything else (RFC 5280 4.1)."""
    whole = der.only(data, der.SEQUENCE, CERTIFICATE_MAX_BYTES)
    tbs, algorithm, signature = _signed(data, whole)
    at = tbs.start
    version = der.expect(data, at, tbs.stop, 0xA0)
    if der.integer(data, der.expect(data, version.start, version.stop, der.INTEGER)) != 2 or (
        version.stop - version.start != 3
    ):
        raise der.malformed("not a version 3 certificate")
    serial = der.expect(data, version.stop, tbs.stop, der.INTEGER)
    inner = der.expect(data, serial.stop, tbs.stop, der.SEQUENCE)
    if data[inner.head : inner.stop] != data[algorithm.head : algorithm.stop]:
        raise der.malformed("the signature algorithm differs inside and outside the signed part")
    issuer = der.expect(data, inner.stop, tbs.stop, der.SEQUENCE)
    validity = der.expect(data, issuer.stop, tbs.stop, der.SEQUENCE)
    not_before = der.element(data, validity.start, validity.stop)
    not_after = der.element(data, not_before.stop, validity.stop)
    if not_after.stop != validity.stop:
        raise der.malformed("trailing bytes in the validity")
    subject = der.expect(data, validity.stop, tbs.stop, der.SEQUENCE)
    key = der.expect(data, subject.stop, tbs.stop, der.SEQUENCE)
    wrapper = der.expect(data, key.stop, tbs.stop, 0xA3)
    if wrapper.stop != tbs.stop:
        raise der.malformed("trailing bytes after the extensions")
    return Certificate(
        encoded=data,
        tbs=data[tbs.head : tbs.stop],
        serial=der.natural(data, serial),
        issuer=data[issuer.head : issuer.stop],
        subject=data[subject.head : subject.stop],
        not_before=der.time(data, not_before),
        not_after=der.time(data, not_after),
        key=parse_public_key(data[key.head : key.stop]),
        extensions=_extensions(data, wrapper),
        scheme=signature_scheme(data, algorithm),
        signature=signature,
    )


def parse_crl(data: bytes) -> RevocationList:
    """Read one DER certificate revocation list, version 2 with a next update (RFC 5280 5.1); MalformedError."""
    whole = der.only(data, der.SEQUENCE, CRL_MAX_BYTES)
    tbs, algorithm, signature = _signed(data, whole)
    version = der.expect(data, tbs.start, tbs.stop, der.INTEGER)
    if der.integer(data, version) != 1:
        raise der.malformed("not a version 2 revocation list")
    inner = der.expect(data, version.stop, tbs.stop, der.SEQUENCE)
    if data[inner.head : inner.stop] != data[algorithm.head : algorithm.stop]:
        raise der.malformed("the signature algorithm differs inside and outside the signed part")
    issuer = der.expect(data, inner.stop, tbs.stop, der.SEQUENCE)
    this_update = der.element(data, issuer.stop, tbs.stop)
    next_update = der.element(data, this_update.stop, tbs.stop)
    at = next_update.stop
    revoked: dict[int, int] = {}
    if at < tbs.stop and data[at] == der.SEQUENCE:
        entries = der.expect(data, at, tbs.stop, der.SEQUENCE)
        revoked = _revoked(data, entries)
        at = entries.stop
    extensions: Extensions = {}
    if at < tbs.stop:
        wrapper = der.expect(data, at, tbs.stop, 0xA0)
        if wrapper.stop != tbs.stop:
            raise der.malformed("trailing bytes after the extensions")
        extensions = _extensions(data, wrapper)
    return RevocationList(
        encoded=data,
        tbs=data[tbs.head : tbs.stop],
        issuer=data[issuer.head : issuer.stop],
        this_update=der.time(data, this_update),
        next_update=der.time(data, next_update),
        number=_crl_number(extensions),
        revoked=MappingProxyType(revoked),
        scheme=signature_scheme(data, algorithm),
        signature=signature,
    )


def parse_public_key(data: bytes) -> PublicKey:
    """Read a DER SubjectPublicKeyInfo: RSA, or an uncompressed point on P-256, P-384 or P-521 (RFC 3279, 5480)."""
    whole = der.only(data, der.SEQUENCE, CERTIFICATE_MAX_BYTES)
    algorithm = der.expect(data, whole.start, whole.stop, der.SEQUENCE)
    bits = der.expect(data, algorithm.stop, whole.stop, der.BIT_STRING)
    if bits.stop != whole.stop:
        raise der.malformed("trailing bytes after the public key")
    name = der.expect(data, algorithm.start, algorithm.stop, der.OID)
    parameters = data[name.stop : algorithm.stop]
    key = der.bit_string(data, bits)
    identifier = der.oid(data, name)
    if identifier == _OID_RSA and parameters == b"\x05\x00":
        return _rsa_key(key)
    if identifier == _OID_EC:
        curve = _CURVES.get(der.oid(parameters, der.only(parameters, der.OID, der.MAX_OID_BYTES)))
        if curve is not None:
            size = curve.value
            if len(key) != 1 + 2 * size or key[0] != 4:
                raise der.malformed("not an uncompressed point of the curve's size")
            return EcKey(curve, int.from_bytes(key[1 : 1 + size], "big"), int.from_bytes(key[1 + size :], "big"))
    raise MalformedError(
        f"public key algorithm {der.dotted_oid(identifier)} is not one that TEE vendors use",
        code="unsupported-algorithm",
        hint="expected RSA, or EC on P-256, P-384 or P-521",
    )


def _signed(data: bytes, whole: der.Element) -> tuple[der.Element, der.Element, bytes]:
    tbs = der.expect(data, whole.start, whole.stop, der.SEQUENCE)
    algorithm = der.expect(data, tbs.stop, whole.stop, der.SEQUENCE)
    signature = der.expect(data, algorithm.stop, whole.stop, der.BIT_STRING)
    if signature.stop != whole.stop:
        raise der.malformed("trailing bytes after the signature")
    return tbs, algorithm, der.bit_string(data, signature)


def _extensions(data: bytes, wrapper: der.Element) -> Extensions:
    listing = der.expect(data, wrapper.start, wrapper.stop, der.SEQUENCE)
    if listing.stop != wrapper.stop:
        raise der.malformed("trailing bytes after the list of extensions")
    found: dict[bytes, Extension] = {}
    at = listing.start
    while at < listing.stop:
        if len(found) >= CERTIFICATE_MAX_EXTENSIONS:
            raise der.malformed("too many extensions")
        one = der.expect(data, at, listing.stop, der.SEQUENCE)
        name = der.expect(data, one.start, one.stop, der.OID)
        value = der.element(data, name.stop, one.stop)
        critical = False
        if value.tag == der.BOOLEAN:
            critical = der.boolean(data, value)
            value = der.element(data, value.stop, one.stop)
        if value.tag != der.OCTET_STRING or value.stop != one.stop:
            raise der.malformed("an extension's value is not an OCTET STRING")
        identifier = der.oid(data, name)
        if identifier in found:
            raise der.malformed(f"extension {der.dotted_oid(identifier)} appears twice")
        found[identifier] = _new(Extension, (critical, data[value.start : value.stop]))
        at = one.stop
    return MappingProxyType(found)


def _revoked(data: bytes, entries: der.Element) -> dict[int, int]:
    found: dict[int, int] = {}
    at = entries.start
    while at < entries.stop:
        if len(found) >= CRL_MAX_ENTRIES:
            raise MalformedError(
                f"the revocation list names more than {CRL_MAX_ENTRIES} certificates",
                code="too-long",
                hint="this is not a TEE vendor's revocation list",
            )
        entry = der.expect(data, at, entries.stop, der.SEQUENCE)
        serial = der.expect(data, entry.start, entry.stop, der.INTEGER)
        moment = der.element(data, serial.stop, entry.stop)
        if moment.stop != entry.stop:
            _check_entry_extensions(data, moment.stop, entry.stop)
        found[der.natural(data, serial)] = der.time(data, moment)
        at = entry.stop
    return found


def _check_entry_extensions(data: bytes, at: int, stop: int) -> None:
    """Entry extensions may say why; one that changes whose certificate is meant (critical) cannot be passed over."""
    listing = der.expect(data, at, stop, der.SEQUENCE)
    if listing.stop != stop:
        raise der.malformed("trailing bytes in a revocation entry")
    at = listing.start
    while at < stop:
        one = der.expect(data, at, stop, der.SEQUENCE)
        name = der.expect(data, one.start, one.stop, der.OID)
        value = der.element(data, name.stop, one.stop)
        if value.tag == der.BOOLEAN and der.boolean(data, value):
            raise MalformedError(
                f"critical extension {der.dotted_oid(data[name.start : name.stop])} in a revocation entry",
                code="unsupported-extension",
                hint="indirect revocation lists are not supported",
            )
        at = one.stop


def _crl_number(extensions: Extensions) -> int | None:
    number: int | None = None
    for identifier, extension in extensions.items():
        if identifier == OID_CRL_NUMBER:
            value = extension.value
            number = der.natural(value, der.only(value, der.INTEGER, der.MAX_INTEGER_BYTES))
        elif extension.critical and identifier != OID_AUTHORITY_KEY_IDENTIFIER:
            raise MalformedError(
                f"critical extension {der.dotted_oid(identifier)} in a revocation list",
                code="unsupported-extension",
                hint="delta and indirect revocation lists are not supported",
            )
    return number


def _rsa_key(encoded: bytes) -> RsaKey:
    whole = der.only(encoded, der.SEQUENCE, CERTIFICATE_MAX_BYTES)
    modulus = der.expect(encoded, whole.start, whole.stop, der.INTEGER)
    exponent = der.expect(encoded, modulus.stop, whole.stop, der.INTEGER)
    if exponent.stop != whole.stop:
        raise der.malformed("trailing bytes after the RSA key")
    key = RsaKey(der.natural(encoded, modulus), der.natural(encoded, exponent))
    check_rsa_size(key)
    return key
