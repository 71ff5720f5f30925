"""A silicon vendor of our own: ARK, ASK, ASVK, VCEK and VLEK certificates, revocation lists and signed reports.

Everything is format-exact and under keys made here, so that tests can break one thing at a time. RSA keys have 2048
bits: AMD's 4096 take seconds to make and change nothing that is tested.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from enarx.evidence import der
from enarx.evidence.snp import Collateral, Report, Root, Trust, parse, root_from_certificates
from enarx.evidence.snp.endorsement import OID_CSP_ID, OID_HARDWARE_ID, OID_PRODUCT_NAME, OID_STRUCT_VERSION, tcb_oids
from enarx.evidence.snp.product import Product
from enarx.evidence.snp.roots import amd_name

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FAR_OFF = datetime(2045, 1, 1, tzinfo=UTC)

CPUID = {Product.MILAN: (0x19, 0x01, 1), Product.GENOA: (0x19, 0x11, 1), Product.TURIN: (0x1A, 0x02, 1)}
TCB = {
    Product.MILAN: bytes((4, 0, 0, 0, 0, 0, 24, 219)),
    Product.GENOA: bytes((10, 0, 0, 0, 0, 0, 23, 84)),
    Product.TURIN: bytes((1, 1, 1, 4, 0, 0, 0, 81)),
}

_PSS_SHA384 = bytes.fromhex(
    "304106092a864886f70d01010a3034a00f300d06096086480165030402020500"
    "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130"
)

Extension = tuple[str, bool, bytes]


def extension(oid: str, value: bytes, critical: bool = False) -> Extension:
    return oid, critical, value


def ca_extensions(*, ark: bool) -> list[Extension]:
    constraints = bytes.fromhex("30030101ff" if ark else "30060101ff020100")
    usage = bytes.fromhex("03020106" if ark else "03020204")
    return [extension("2.5.29.19", constraints, True), extension("2.5.29.15", usage, True)]


def integer_value(value: int) -> bytes:
    return der.encode_natural(value)


def text_value(text: str) -> bytes:
    return der.encode(der.IA5_STRING, text.encode())


def encode_time(moment: datetime) -> bytes:
    if moment.year < 2050:
        return der.encode(der.UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())
    return der.encode(der.GENERALIZED_TIME, moment.strftime("%Y%m%d%H%M%SZ").encode())


def encode_extensions(extensions: Sequence[Extension]) -> bytes:
    listed = b""
    for oid, critical, value in extensions:
        body = der.encode(der.OID, der.encode_oid(oid))
        if critical:
            body += b"\x01\x01\xff"
        listed += der.encode(der.SEQUENCE, body + der.encode(der.OCTET_STRING, value))
    return der.encode(der.SEQUENCE, listed)


def sign_pss(key: rsa.RSAPrivateKey, message: bytes) -> bytes:
    return key.sign(message, padding.PSS(padding.MGF1(hashes.SHA384()), 48), hashes.SHA384())


def signed(tbs: bytes, key: rsa.RSAPrivateKey) -> bytes:
    signature = der.encode(der.BIT_STRING, b"\0" + sign_pss(key, tbs))
    return der.encode(der.SEQUENCE, tbs + _PSS_SHA384 + signature)


@dataclass(frozen=True)
class Plan:
    """A certificate before it is signed; tests replace what they want to break."""

    subject: bytes
    issuer: bytes
    public_key: bytes
    extensions: tuple[Extension, ...]
    serial: int = 0
    not_before: datetime = LONG_AGO
    not_after: datetime = FAR_OFF

    def sign(self, key: rsa.RSAPrivateKey) -> bytes:
        validity = der.encode(der.SEQUENCE, encode_time(self.not_before) + encode_time(self.not_after))
        tbs = der.encode(
            der.SEQUENCE,
            bytes.fromhex("a003020102")
            + der.encode_natural(self.serial)
            + _PSS_SHA384
            + self.issuer
            + validity
            + self.subject
            + self.public_key
            + der.encode(0xA3, encode_extensions(self.extensions)),
        )
        return signed(tbs, key)

    def without(self, oid: str) -> Plan:
        return replace(self, extensions=tuple(one for one in self.extensions if one[0] != oid))

    def having(self, oid: str, value: bytes, critical: bool = False) -> Plan:
        changed = self.without(oid)
        return replace(changed, extensions=(*changed.extensions, extension(oid, value, critical)))


def spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@functools.cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """One key for each name in a test run."""
    return rsa.generate_private_key(65537, 2048)


@functools.cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def make_crl(
    issuer: bytes,
    key: rsa.RSAPrivateKey,
    revoked: Mapping[int, datetime] | None = None,
    *,
    this_update: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    next_update: datetime = datetime(2027, 1, 1, tzinfo=UTC),
    number: int = 7,
    extensions: Sequence[Extension] = (),
    entry_extensions: Sequence[Extension] = (),
) -> bytes:
    entries = b""
    for serial, moment in (revoked or {}).items():
        entry = der.encode_natural(serial) + encode_time(moment)
        if entry_extensions:
            entry += encode_extensions(entry_extensions)
        entries += der.encode(der.SEQUENCE, entry)
    tbs = der.encode(
        der.SEQUENCE,
        der.encode_natural(1)
        + _PSS_SHA384
        + issuer
        + encode_time(this_update)
        + encode_time(next_update)
        + (der.encode(der.SEQUENCE, entries) if entries else b"")
        + der.encode(0xA0, encode_extensions((extension("2.5.29.20", integer_value(number)), *extensions))),
    )
    return signed(tbs, key)


class Vendor:
    """A vendor with one product. ``name`` separates vendors: the same name has the same keys within a test run."""

    def __init__(self, product: Product = Product.MILAN, name: str = "honest") -> None:
        self.product = product
        self.name = name
        self.ark_name = amd_name(f"ARK-{product.value}")
        self.ask_name = amd_name(f"SEV-{product.value}")
        self.asvk_name = amd_name(f"SEV-VLEK-{product.value}")
        self.ark_key = rsa_key(f"{name} ark {product.value}")
        self.ask_key = rsa_key(f"{name} ask {product.value}")
        self.asvk_key = rsa_key(f"{name} asvk {product.value}")

    @property
    def ark_plan(self) -> Plan:
        return Plan(self.ark_name, self.ark_name, spki(self.ark_key), tuple(ca_extensions(ark=True)), serial=0x10000)

    @property
    def ask_plan(self) -> Plan:
        return Plan(self.ask_name, self.ark_name, spki(self.ask_key), tuple(ca_extensions(ark=False)), serial=0x10001)

    @property
    def asvk_plan(self) -> Plan:
        return Plan(self.asvk_name, self.ark_name, spki(self.asvk_key), tuple(ca_extensions(ark=False)), serial=0x10101)

    @functools.cached_property
    def ark(self) -> bytes:
        return self.ark_plan.sign(self.ark_key)

    @functools.cached_property
    def ask(self) -> bytes:
        return self.ask_plan.sign(self.ark_key)

    @functools.cached_property
    def asvk(self) -> bytes:
        return self.asvk_plan.sign(self.ark_key)

    @functools.cached_property
    def root(self) -> Root:
        return root_from_certificates(self.product, self.ark, (self.ask, self.asvk))

    def trust(self, *, cache_entries: int = 0) -> Trust:
        return Trust((self.root,), cache_entries=cache_entries)

    def crl(self, *revoked: int) -> bytes:
        """The ARK's current list of these serial numbers."""
        return make_crl(self.ark_name, self.ark_key, dict.fromkeys(revoked, LONG_AGO))


class Machine:
    """A platform of a vendor: its chip, its endorsement, and reports that its firmware signs."""

    def __init__(self, vendor: Vendor, *, chip: str = "chip", vlek: bool = False) -> None:
        self.vendor = vendor
        self.vlek = vlek
        self.key = ec_key(f"{vendor.name} {chip} {vlek}")
        size = vendor.product.facts.hardware_id_bytes
        self.hardware_id = (chip.encode() * 64)[:size]

    @property
    def plan(self) -> Plan:
        product = self.vendor.product
        tcb = TCB[product]
        extensions = [
            extension(OID_STRUCT_VERSION, integer_value(0)),
            extension(OID_PRODUCT_NAME, text_value(product.value)),
            *(extension(oid, integer_value(tcb[i])) for i, oid in enumerate(tcb_oids(product))),
        ]
        if self.vlek:
            extensions.append(extension(OID_CSP_ID, text_value("CN=a provider")))
            return Plan(amd_name("SEV-VLEK"), self.vendor.asvk_name, spki(self.key), tuple(extensions))
        extensions.append(extension(OID_HARDWARE_ID, self.hardware_id))
        return Plan(amd_name("SEV-VCEK"), self.vendor.ask_name, spki(self.key), tuple(extensions))

    @functools.cached_property
    def certificate(self) -> bytes:
        return self.endorse(self.plan)

    def endorse(self, plan: Plan) -> bytes:
        return plan.sign(self.vendor.asvk_key if self.vlek else self.vendor.ask_key)

    @property
    def collateral(self) -> Collateral:
        return Collateral(self.certificate, (self.vendor.asvk if self.vlek else self.vendor.ask, self.vendor.ark))

    def report(self, **changes: Any) -> Report:
        """A signed report; ``changes`` are fields of ``Report``, set before signing."""
        product = self.vendor.product
        family, model, stepping = CPUID[product]
        chip = bytes(64) if self.vlek else self.hardware_id.ljust(64, b"\0")
        version = changes.get("version", 5)
        tcb = TCB[product]
        honest = Report(
            version=5,
            guest_svn=3,
            policy=0x30000,
            family_id=bytes(16),
            image_id=bytes(16),
            vmpl=0,
            signature_algorithm=1,
            current_tcb_raw=tcb,
            platform_info=0x25,
            flags=4 if self.vlek else 0,
            reserved_4c=bytes(4),
            report_data=b"report data".ljust(64, b"\0"),
            measurement=b"\xab" * 48,
            host_data=b"\xcd" * 32,
            id_key_digest=bytes(48),
            author_key_digest=bytes(48),
            report_id=b"\x11" * 32,
            report_id_ma=b"\xff" * 32,
            reported_tcb_raw=tcb,
            cpuid_family=family if version != 2 else 0,
            cpuid_model=model if version != 2 else 0,
            cpuid_stepping=stepping if version != 2 else 0,
            reserved_18b=bytes(21),
            chip_id=chip,
            committed_tcb_raw=tcb,
            current_build=29,
            current_minor=55,
            current_major=1,
            reserved_1eb=0,
            committed_build=29,
            committed_minor=55,
            committed_major=1,
            reserved_1ef=0,
            launch_tcb_raw=tcb,
            launch_mit_vector=1 if version == 5 else 0,
            current_mit_vector=1 if version == 5 else 0,
            reserved_208=bytes(152),
            signature_r=bytes(72),
            signature_s=bytes(72),
            reserved_330=bytes(368),
        )
        return self.sign(replace(honest, **changes))

    def sign(self, report: Report) -> Report:
        """``report`` with this machine's signature over it."""
        r, s = decode_dss_signature(self.key.sign(report.signed(), ec.ECDSA(hashes.SHA384())))
        return replace(report, signature_r=r.to_bytes(72, "little"), signature_s=s.to_bytes(72, "little"))

    def report_bytes(self, **changes: Any) -> bytes:
        encoded = self.report(**changes).encode()
        assert parse(encoded).encode() == encoded
        return encoded


def ecdsa_der(report: Report) -> bytes:
    """The report's signature as ``ECDSA-Sig-Value``, as verifiers take it."""
    return der.encode_ecdsa(int.from_bytes(report.signature_r, "little"), int.from_bytes(report.signature_s, "little"))
