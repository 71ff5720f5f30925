"""Certification requests (PKCS#10, RFC 2986) as facts: what the bytes say and that they are signed by their own key.

Strict DER, one attribute, no extension twice. The keys are those that Keeps have: P-384 and P-256.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from enarx.errors import AuthenticityError, MalformedError
from enarx.evidence import der
from enarx.evidence.certificate import Extension, parse_public_key
from enarx.evidence.signature import Curve, EcKey, Scheme, Verifier

REQUEST_MAX_BYTES: Final = 2 * 1024 * 1024
"""Largest request or bundle that is read (bytes): a manifest may have 1 MiB; those of Keeps have 2 to 8 KiB in all."""
EXTENSIONS_MAX: Final = 8
"""Extensions that one request may ask for (count)."""
BUNDLE_MAX_REQUESTS: Final = 64
"""Requests in one bundle (count)."""

_EXTENSION_REQUEST: Final = der.encode_oid("1.2.840.113549.1.9.14")
_SCHEMES: Final[Mapping[bytes, tuple[Scheme, Curve]]] = MappingProxyType(
    {
        der.encode_oid("1.2.840.10045.4.3.3"): (Scheme.ECDSA_SHA384, Curve.P384),
        der.encode_oid("1.2.840.10045.4.3.2"): (Scheme.ECDSA_SHA256, Curve.P256),
    }
)


@dataclass(frozen=True, slots=True)
class CertificationRequest:
    """What a request says: ``info`` is the signed part, ``spki`` its DER public key; extensions by dotted OID."""

    info: bytes
    spki: bytes
    key: EcKey
    extensions: Mapping[str, Extension]
    scheme: Scheme
    signature: bytes


def parse_request(data: bytes) -> CertificationRequest:
    """Read one DER request, version 1; MalformedError for anything else. The signature is not verified."""
    whole = der.only(data, der.SEQUENCE, REQUEST_MAX_BYTES)
    info = der.expect(data, whole.start, whole.stop, der.SEQUENCE)
    algorithm = der.expect(data, info.stop, whole.stop, der.SEQUENCE)
    signature = der.expect(data, algorithm.stop, whole.stop, der.BIT_STRING)
    if signature.stop != whole.stop:
        raise der.malformed("trailing bytes after the signature")
    version = der.expect(data, info.start, info.stop, der.INTEGER)
    if der.integer(data, version) != 0:
        raise der.malformed("not a version 1 request")
    subject = der.expect(data, version.stop, info.stop, der.SEQUENCE)
    spki = der.expect(data, subject.stop, info.stop, der.SEQUENCE)
    attributes = der.expect(data, spki.stop, info.stop, 0xA0)
    if attributes.stop != info.stop:
        raise der.malformed("trailing bytes after the attributes")
    key = parse_public_key(data[spki.head : spki.stop])
    scheme, curve = _scheme(data, algorithm)
    if not isinstance(key, EcKey) or key.curve is not curve:
        raise MalformedError(
            "the request's key and its signature algorithm do not belong together",
            code="unsupported-algorithm",
            hint="Keeps have keys on P-384 (SHA-384) or P-256 (SHA-256)",
        )
    return CertificationRequest(
        info=data[info.head : info.stop],
        spki=data[spki.head : spki.stop],
        key=key,
        extensions=MappingProxyType(_attributes(data, attributes)),
        scheme=scheme,
        signature=der.bit_string(data, signature),
    )


def verify_request(request: CertificationRequest, verifier: Verifier) -> None:
    """Raise AuthenticityError (``request-signature``) unless the request is signed by the key that it is for."""
    if not verifier.load(request.key, request.scheme)(request.signature, request.info):
        raise AuthenticityError(
            "the certification request is not signed by its own key",
            code="request-signature",
            hint="the request was altered on its way, or its maker does not hold the key",
        )


def is_bundle(data: bytes) -> bool:
    """Whether ``data`` begins as a bundle and not as one request, whose first part begins with its version."""
    try:
        whole = der.expect(data, 0, len(data), der.SEQUENCE)
        first = der.expect(data, whole.start, whole.stop, der.SEQUENCE)
        return der.element(data, first.start, first.stop).tag == der.SEQUENCE
    except MalformedError:
        return False


def split_bundle(data: bytes) -> tuple[bytes, ...]:
    """The requests of a bundle, ``SEQUENCE OF CertificationRequest``; MalformedError otherwise."""
    whole = der.only(data, der.SEQUENCE, REQUEST_MAX_BYTES)
    found: list[bytes] = []
    at = whole.start
    while at < whole.stop:
        if len(found) == BUNDLE_MAX_REQUESTS:
            raise MalformedError(
                f"more than {BUNDLE_MAX_REQUESTS} requests in a bundle", code="too-long", hint="split the bundle"
            )
        one = der.expect(data, at, whole.stop, der.SEQUENCE)
        found.append(data[one.head : one.stop])
        at = one.stop
    return tuple(found)


def _scheme(data: bytes, algorithm: der.Element) -> tuple[Scheme, Curve]:
    name = der.expect(data, algorithm.start, algorithm.stop, der.OID)
    identifier = der.oid(data, name)
    found = _SCHEMES.get(identifier)
    if found is None or name.stop != algorithm.stop:
        raise MalformedError(
            f"signature algorithm {der.dotted_oid(identifier)} or its parameters are not supported in a request",
            code="unsupported-algorithm",
            hint="Keeps sign with ecdsa-with-SHA384 on P-384, or ecdsa-with-SHA256 on P-256",
        )
    return found


def _attributes(data: bytes, attributes: der.Element) -> dict[str, Extension]:
    """The extensions in the one attribute that a request may have, ``extensionRequest`` with one value."""
    if attributes.start == attributes.stop:
        return {}
    one = der.expect(data, attributes.start, attributes.stop, der.SEQUENCE)
    if one.stop != attributes.stop:
        raise der.malformed("more than one attribute")
    kind = der.expect(data, one.start, one.stop, der.OID)
    if der.oid(data, kind) != _EXTENSION_REQUEST:
        raise der.malformed(f"attribute {der.dotted_oid(der.oid(data, kind))} is not a request for extensions")
    values = der.expect(data, kind.stop, one.stop, der.SET)
    listing = der.expect(data, values.start, values.stop, der.SEQUENCE)
    if values.stop != one.stop or listing.stop != values.stop:
        raise der.malformed("not exactly one list of extensions")
    found: dict[str, Extension] = {}
    at = listing.start
    while at < listing.stop:
        extension = der.expect(data, at, listing.stop, der.SEQUENCE)
        oid, read = _extension(data, extension)
        if oid in found:
            raise MalformedError(
                f"extension {oid} appears twice in the request",
                code="duplicate-extension",
                hint="a request states each thing once: which of two is meant would be a guess",
            )
        if len(found) == EXTENSIONS_MAX:
            raise der.malformed("too many extensions")
        found[oid] = read
        at = extension.stop
    return found


def _extension(data: bytes, extension: der.Element) -> tuple[str, Extension]:
    name = der.expect(data, extension.start, extension.stop, der.OID)
    value = der.element(data, name.stop, extension.stop)
    critical = False
    if value.tag == der.BOOLEAN:
        critical = der.boolean(data, value)
        value = der.element(data, value.stop, extension.stop)
    if value.tag != der.OCTET_STRING or value.stop != extension.stop:
        raise der.malformed("an extension's value is not an OCTET STRING")
    return der.dotted_oid(der.oid(data, name)), Extension(critical, data[value.start : value.stop])
