"""Certificates and revocation lists written as AMD writes them, under any name and key.

Format: VCEK and KDS interface specification (57230) chapter 3, and AMD's own certificates where it says nothing: order
of extensions, RSASSA-PSS parameters with the default trailer field spelled out (ARK, ASK) or left out (VCEK, lists).
Writing only, by our own DER writer: libraries refuse to make a certificate with serial number 0, which a VCEK has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from enarx.evidence import der
from enarx.evidence.name import encode_name
from enarx.evidence.snp.endorsement import OID_HARDWARE_ID, OID_PRODUCT_NAME, OID_STRUCT_VERSION, tcb_oids
from enarx.evidence.snp.product import Product

SHA384_BYTES = 48
ARK_SERIAL = 0x10000
ASK_SERIAL = 0x10001
VCEK_SERIAL = 0
"""Serial numbers as on AMD's Milan certificates; every VCEK of AMD has 0."""

_PSS_FIELDS = bytes.fromhex(
    "a00f300d06096086480165030402020500a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130"
)  # SHA-384, MGF1 with SHA-384, a salt of 48 bytes (RFC 4055 3.1)
_PSS_OID = bytes.fromhex("06092a864886f70d01010a")
PSS_SHA384 = der.encode(der.SEQUENCE, _PSS_OID + der.encode(der.SEQUENCE, _PSS_FIELDS))
"""The algorithm of a VCEK and of a list: the trailer field, a default, is left out."""
PSS_SHA384_TRAILER = der.encode(
    der.SEQUENCE, _PSS_OID + der.encode(der.SEQUENCE, _PSS_FIELDS + b"\xa3\x03\x02\x01\x01")
)
"""The algorithm of an ARK and an ASK: the trailer field is spelled out."""

_SOLD_AS = {Product.MILAN: ("Milan-B0", 0), Product.GENOA: ("Genoa", 0), Product.TURIN: ("Turin", 1)}
"""What VCEKs of a product say: product name and structure version."""
_UTC_TIME_ENDS = 2050  # RFC 5280 4.1.2.5

Extension = tuple[str, bool, bytes]
"""Object identifier, criticality, value."""


@dataclass(frozen=True, slots=True)
class CertificatePlan:
    """A certificate before it is signed. Names and ``public_key`` (SubjectPublicKeyInfo) are DER."""

    subject: bytes
    issuer: bytes
    public_key: bytes
    extensions: tuple[Extension, ...]
    serial: int
    not_before: datetime
    not_after: datetime
    algorithm: bytes = PSS_SHA384

    def sign(self, key: rsa.RSAPrivateKey) -> bytes:
        """The DER certificate, signed with the issuer's key."""
        validity = der.encode(der.SEQUENCE, encode_time(self.not_before) + encode_time(self.not_after))
        tbs = der.encode(
            der.SEQUENCE,
            bytes.fromhex("a003020102")  # version 3
            + der.encode_natural(self.serial)
            + self.algorithm
            + self.issuer
            + validity
            + self.subject
            + self.public_key
            + der.encode(0xA3, encode_extensions(self.extensions)),
        )
        return _signed(tbs, self.algorithm, key)

    def without(self, oid: str) -> CertificatePlan:
        """The same without one extension."""
        return replace(self, extensions=tuple(one for one in self.extensions if one[0] != oid))

    def having(self, oid: str, value: bytes, critical: bool = False) -> CertificatePlan:
        """The same with one extension put last, in place of the one that it may have had."""
        return replace(self, extensions=(*self.without(oid).extensions, (oid, critical, value)))


def ark_plan(
    name: bytes, public_key: bytes, *, not_before: datetime, not_after: datetime, crl_url: str = ""
) -> CertificatePlan:
    """A root: self-issued, signs certificates and lists."""
    extensions = (
        ("2.5.29.15", True, bytes.fromhex("03020106")),
        ("2.5.29.14", False, der.encode(der.OCTET_STRING, key_identifier(public_key))),
        ("2.5.29.19", True, bytes.fromhex("30030101ff")),
        *_distribution_point(crl_url),
    )
    return CertificatePlan(name, name, public_key, extensions, ARK_SERIAL, not_before, not_after, PSS_SHA384_TRAILER)


def ask_plan(
    name: bytes,
    ark: CertificatePlan,
    public_key: bytes,
    *,
    not_before: datetime,
    not_after: datetime,
    crl_url: str = "",
) -> CertificatePlan:
    """An intermediate under ``ark``: signs end certificates."""
    extensions = (
        ("2.5.29.14", False, der.encode(der.OCTET_STRING, key_identifier(public_key))),
        ("2.5.29.35", False, _authority_key(ark.public_key)),
        ("2.5.29.19", True, bytes.fromhex("30060101ff020100")),
        ("2.5.29.15", True, bytes.fromhex("03020104")),  # one unused bit, as AMD states it, where DER wants two
        *_distribution_point(crl_url),
    )
    return CertificatePlan(
        name, ark.subject, public_key, extensions, ASK_SERIAL, not_before, not_after, PSS_SHA384_TRAILER
    )


def vcek_plan(
    name: bytes,
    issuer: bytes,
    public_key: bytes,
    *,
    product: Product,
    tcb: bytes,
    hardware_id: bytes,
    not_before: datetime,
    not_after: datetime,
) -> CertificatePlan:
    """The endorsement of a chip at a TCB (8 bytes as stored); ``hardware_id`` has the product's size."""
    extensions = (*platform_extensions(product, tcb), (OID_HARDWARE_ID, False, hardware_id))
    return CertificatePlan(name, issuer, public_key, extensions, VCEK_SERIAL, not_before, not_after)


def platform_extensions(product: Product, tcb: bytes) -> tuple[Extension, ...]:
    """What VCEK and VLEK certificates say alike: product and TCB (57230 tables 8 to 10)."""
    sold_as, version = _SOLD_AS[product]
    parts = zip(tcb_oids(product), tcb, strict=True)
    return (
        (OID_STRUCT_VERSION, False, der.encode_natural(version)),
        (OID_PRODUCT_NAME, False, der.encode(der.IA5_STRING, sold_as.encode())),
        *((oid, False, der.encode_natural(value)) for oid, value in parts),
    )


def make_crl(
    issuer: bytes,
    key: rsa.RSAPrivateKey,
    revoked: Mapping[int, datetime],
    *,
    this_update: datetime,
    next_update: datetime,
    number: int,
    extensions: Sequence[Extension] = (),
    entry_extensions: Sequence[Extension] = (),
) -> bytes:
    """The DER revocation list (version 2) of the authority called ``issuer`` with ``key``: serial number -> since when.

    ``extensions`` follow AKI and CRL number, ``entry_extensions`` go into every entry.
    """
    entries = b""
    for serial, moment in revoked.items():
        entry = der.encode_natural(serial) + encode_time(moment)
        if entry_extensions:
            entry += encode_extensions(entry_extensions)
        entries += der.encode(der.SEQUENCE, entry)
    stated = (
        ("2.5.29.35", False, _authority_key(spki(key))),
        ("2.5.29.20", False, der.encode_natural(number)),
        *extensions,
    )
    tbs = der.encode(
        der.SEQUENCE,
        der.encode_natural(1)
        + PSS_SHA384
        + issuer
        + encode_time(this_update)
        + encode_time(next_update)
        + (der.encode(der.SEQUENCE, entries) if entries else b"")
        + der.encode(0xA0, encode_extensions(stated)),
    )
    return _signed(tbs, PSS_SHA384, key)


def simulated_name(common_name: str) -> bytes:
    """A distinguished name of the shape of AMD's (57230 table 4) that says what it is, encoded."""
    parts = (
        ("2.5.4.11", der.UTF8_STRING, "SIMULATED"),
        ("2.5.4.6", der.PRINTABLE_STRING, "XX"),
        ("2.5.4.7", der.UTF8_STRING, "SIMULATED"),
        ("2.5.4.8", der.UTF8_STRING, "SIMULATED"),
        ("2.5.4.10", der.UTF8_STRING, "SIMULATED, no processor"),
        ("2.5.4.3", der.UTF8_STRING, common_name),
    )
    return encode_name(parts)


def encode_time(moment: datetime) -> bytes:
    """UTCTime until 2049, GeneralizedTime after; ``moment`` is in UTC."""
    if moment.year < _UTC_TIME_ENDS:
        return der.encode(der.UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())
    return der.encode(der.GENERALIZED_TIME, moment.strftime("%Y%m%d%H%M%SZ").encode())


def encode_extensions(extensions: Sequence[Extension]) -> bytes:
    """``Extensions`` (RFC 5280 4.1)."""
    listed = b""
    for oid, critical, value in extensions:
        body = der.encode(der.OID, der.encode_oid(oid))
        if critical:
            body += b"\x01\x01\xff"
        listed += der.encode(der.SEQUENCE, body + der.encode(der.OCTET_STRING, value))
    return der.encode(der.SEQUENCE, listed)


def spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """The DER SubjectPublicKeyInfo of a key pair."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_identifier(public_key: bytes) -> bytes:
    """SHA-1 of the key's BIT STRING contents, the identifier of RFC 5280 4.2.1.2 (1): a name, not a proof."""
    whole = der.expect(public_key, 0, len(public_key), der.SEQUENCE)
    algorithm = der.expect(public_key, whole.start, whole.stop, der.SEQUENCE)
    bits = der.expect(public_key, algorithm.stop, whole.stop, der.BIT_STRING)
    return hashlib.sha1(der.bit_string(public_key, bits), usedforsecurity=False).digest()


def _authority_key(public_key: bytes) -> bytes:
    return der.encode(der.SEQUENCE, der.encode(0x80, key_identifier(public_key)))


def _distribution_point(url: str) -> tuple[Extension, ...]:
    if not url:
        return ()
    names = der.encode(0xA0, der.encode(0xA0, der.encode(0x86, url.encode("ascii"))))
    return (("2.5.29.31", False, der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, names))),)


def _signed(tbs: bytes, algorithm: bytes, key: rsa.RSAPrivateKey) -> bytes:
    signature = key.sign(tbs, padding.PSS(padding.MGF1(hashes.SHA384()), SHA384_BYTES), hashes.SHA384())
    return der.encode(der.SEQUENCE, tbs + algorithm + der.encode(der.BIT_STRING, b"\0" + signature))
