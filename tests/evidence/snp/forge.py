"""A silicon vendor of our own: ARK, ASK, ASVK, VCEK and VLEK certificates, revocation lists and signed reports.

Everything is written by the simulator's writers and under keys made here, so that tests can break one thing at a time.
The names are AMD's own, which the simulator never uses. RSA keys have 2048 bits: AMD's 4096 take longer to make and
change nothing that is tested with these.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from enarx.evidence import der
from enarx.evidence.snp import Collateral, Report, Root, Trust, parse, root_from_certificates
from enarx.evidence.snp.endorsement import OID_CSP_ID
from enarx.evidence.snp.product import Product
from enarx.evidence.snp.roots import amd_name
from enarx.simulator import certificates
from enarx.simulator.certificates import CertificatePlan, Extension, spki
from enarx.simulator.platform import PLATFORMS, sign_report, unsigned_report

__all__ = ["Extension", "Machine", "Vendor", "ec_key", "extension", "make_crl", "rsa_key", "spki", "text_value"]

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FAR_OFF = datetime(2045, 1, 1, tzinfo=UTC)
ASVK_SERIAL = 0x10101


def extension(oid: str, value: bytes, critical: bool = False) -> Extension:
    return oid, critical, value


def text_value(text: str) -> bytes:
    return der.encode(der.IA5_STRING, text.encode())


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
    extensions: Sequence[Extension] = (),
    entry_extensions: Sequence[Extension] = (),
) -> bytes:
    return certificates.make_crl(
        issuer,
        key,
        revoked or {},
        this_update=this_update,
        next_update=next_update,
        number=7,
        extensions=extensions,
        entry_extensions=entry_extensions,
    )


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
    def ark_plan(self) -> CertificatePlan:
        return certificates.ark_plan(self.ark_name, spki(self.ark_key), not_before=LONG_AGO, not_after=FAR_OFF)

    @property
    def ask_plan(self) -> CertificatePlan:
        return self._intermediate(self.ask_name, self.ask_key)

    @property
    def asvk_plan(self) -> CertificatePlan:
        return replace(self._intermediate(self.asvk_name, self.asvk_key), serial=ASVK_SERIAL)

    def _intermediate(self, name: bytes, key: rsa.RSAPrivateKey) -> CertificatePlan:
        return certificates.ask_plan(name, self.ark_plan, spki(key), not_before=LONG_AGO, not_after=FAR_OFF)

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
    def plan(self) -> CertificatePlan:
        vendor, product, tcb = self.vendor, self.vendor.product, PLATFORMS[self.vendor.product].tcb
        if not self.vlek:
            return certificates.vcek_plan(
                amd_name("SEV-VCEK"),
                vendor.ask_name,
                spki(self.key),
                product=product,
                tcb=tcb,
                hardware_id=self.hardware_id,
                not_before=LONG_AGO,
                not_after=FAR_OFF,
            )
        provider = extension(OID_CSP_ID, text_value("CN=a provider"))
        stated = (*certificates.platform_extensions(product, tcb), provider)
        return CertificatePlan(amd_name("SEV-VLEK"), vendor.asvk_name, spki(self.key), stated, 0, LONG_AGO, FAR_OFF)

    @functools.cached_property
    def certificate(self) -> bytes:
        return self.endorse(self.plan)

    def endorse(self, plan: CertificatePlan) -> bytes:
        return plan.sign(self.vendor.asvk_key if self.vlek else self.vendor.ask_key)

    @property
    def collateral(self) -> Collateral:
        return Collateral(self.certificate, (self.vendor.asvk if self.vlek else self.vendor.ask, self.vendor.ark))

    def report(self, **changes: Any) -> Report:
        """A signed report; ``changes`` are fields of ``Report``, set before signing."""
        chip = bytes(64) if self.vlek else self.hardware_id
        version = changes.get("version", 5)
        platform = replace(PLATFORMS[self.vendor.product], report_version=max(version, 3))
        honest = replace(
            unsigned_report(platform, policy=0x30000, chip_id=chip, report_id=b"\x11" * 32, measurement=b"\xab" * 48),
            guest_svn=3,
            flags=4 if self.vlek else 0,
            report_data=b"report data".ljust(64, b"\0"),
            host_data=b"\xcd" * 32,
        )
        if version == 2:
            honest = replace(honest, cpuid_family=0, cpuid_model=0, cpuid_stepping=0)
        return self.sign(replace(honest, **changes))

    def sign(self, report: Report) -> Report:
        """``report`` with this machine's signature over it."""
        return sign_report(report, self.key)

    def report_bytes(self, **changes: Any) -> bytes:
        encoded = self.report(**changes).encode()
        assert parse(encoded).encode() == encoded
        return encoded


def ecdsa_der(report: Report) -> bytes:
    """The report's signature as ``ECDSA-Sig-Value``, as verifiers take it."""
    return der.encode_ecdsa(int.from_bytes(report.signature_r, "little"), int.from_bytes(report.signature_s, "little"))
