"""Keeps on machines of our own making, their requests, and policies that name them.

The vendor of `Simulator` calls itself a simulator, so that a policy can name it the only way there is; a test that
plays hardware hands its vendor's trust to the judge instead.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from enarx.evidence import binding, der
from enarx.evidence.signature import PYCA
from enarx.evidence.snp import Trust
from enarx.evidence.snp.roots import AMD_ROOTS, amd_name
from enarx.manifest import Manifest, StewardPin, Workload
from enarx.sealing import SEALING_KEY_OID
from enarx.tenant.policy import Policy, parse_policy
from enarx.tenant.policytables import no_files
from enarx.tenant.steward.ca import CertificateAuthority, load_authority, make_authority
from enarx.tenant.steward.decide import Judge, make_judge
from enarx.tenant.steward.decision import Request
from tests.evidence.snp.forge import NOW, Extension, Machine, Vendor, ec_key, extension, spki

__all__ = ["NOW", "SOON", "Keep", "Simulator", "authority", "hardware_judge", "judge", "policy", "policy_text"]

SOON = NOW + timedelta(hours=1)
WEB = "sha256:" + "ab" * 32
"""Digest of the module that the policies here call ``web``."""
MEASUREMENT = "ab" * 48
"""What `tests.evidence.snp.forge` launches."""


class Simulator(Vendor):
    """A vendor whose root says that it is a simulator's."""

    def __init__(self, name: str = "simulator") -> None:
        super().__init__(name=name)
        installation = f"{int.from_bytes(name.encode()[:8], 'big'):016x}"
        self.ark_name = amd_name(f"SIMULATED ARK-Milan {installation}")
        self.ask_name = amd_name(f"SIMULATED SEV-Milan {installation}")

    @property
    def pem(self) -> str:
        blocks = (base64.encodebytes(one).decode() for one in (self.ark, self.ask))
        return "".join(f"-----BEGIN CERTIFICATE-----\n{one}-----END CERTIFICATE-----\n" for one in blocks)


@functools.cache
def simulator(name: str = "simulator") -> Simulator:
    return Simulator(name)


@functools.cache
def machine(name: str = "simulator") -> Machine:
    return Machine(simulator(name))


@functools.cache
def authority() -> CertificateAuthority:
    key, certificate = make_authority("Test Steward", NOW - timedelta(days=1))
    return load_authority(certificate, key)


def policy_text(*more: str, workload: str = f'[workload.web]\ndigest = ["{WEB}"]\n', vendor: str = "simulator") -> str:
    """A policy that accepts the simulator's guests and the workload ``web``; ``more`` is appended."""
    simulated = f'[simulated]\ncertificates = """{simulator(vendor).pem}"""\nmeasurement = ["{MEASUREMENT}"]\n'
    return "\n".join((simulated, workload, *more))


def policy(*more: str, **changes: Any) -> Policy:
    return parse_policy(policy_text(*more, **changes).encode(), "policy.toml", no_files)


def judge(*more: str, **changes: Any) -> Judge:
    return make_judge(policy(*more, **changes), authority=authority().spki_digest)


def hardware_judge(text: str, vendor: Vendor) -> Judge:
    """A judge to whom ``vendor`` is a silicon vendor like AMD."""
    read = parse_policy(text.encode(), "policy.toml", no_files)
    trust = Trust((vendor.root, *AMD_ROOTS[1:], *read.simulated_roots))
    return Judge(read, trust, PYCA, authority().spki_digest)


@dataclass
class Keep:
    """A launched Keep: a machine, a manifest, a key; each part can be replaced before it asks for a certificate."""

    machine: Machine = field(default_factory=machine)
    manifest: Manifest | None = field(default_factory=lambda: manifest())
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec_key("keep"))
    report: dict[str, Any] = field(default_factory=dict)
    crls: Sequence[bytes] = ()
    vcek: bytes | None = None
    sealing: bytes | None = None

    def evidence(self) -> bytes:
        """The value of the evidence extension: a report over this key, launched with this manifest."""
        fields: dict[str, Any] = {
            "report_data": binding.report_data(spki(self.key)),
            "host_data": self.manifest.digest() if self.manifest else bytes(32),
        }
        report = self.machine.report_bytes(**(fields | self.report))
        url = "https://kdsintf.amd.com/vcek/v1/Milan/crl"
        return binding.snp_evidence(report, self.vcek or self.machine.certificate, [(url, crl) for crl in self.crls])

    def extensions(self) -> list[Extension]:
        found = [extension(binding.SNP_EVIDENCE_OID, self.evidence())]
        if self.manifest is not None:
            found.append(extension(binding.MANIFEST_OID, binding.manifest_extension(self.manifest.encode())))
        if self.sealing is not None:
            found.append(extension(SEALING_KEY_OID, der.encode(der.OCTET_STRING, self.sealing)))
        return found

    def csr(self) -> bytes:
        return make_csr(self.key, self.extensions())

    def request(self, **changes: Any) -> Request:
        """The request as /v1/attest takes it; without a manifest, as the published Steward does."""
        if self.manifest is None:
            return replace(Request(self.csr(), compatible=True), **changes)
        return replace(Request(self.csr(), manifest=self.manifest.encode()), **changes)

    def body(self, **changes: Any) -> bytes:
        """The body of POST /v1/attest."""
        assert self.manifest is not None
        plain = {
            "csr": base64.b64encode(self.csr()).decode(),
            "manifest": base64.b64encode(self.manifest.encode()).decode(),
            "endorsements": {"chain": [], "crls": []},
        }
        return json.dumps(plain | changes).encode()


def manifest(**changes: Any) -> Manifest:
    """A manifest of ``web`` for the Steward of `authority`."""
    pin = StewardPin("https://steward.example:3000", f"sha256:{authority().spki_digest.hex()}")
    return replace(Manifest(workload=Workload(WEB), steward=pin), **changes)


def make_csr(
    key: ec.EllipticCurvePrivateKey,
    extensions: Sequence[Extension],
    *,
    subject: bytes = b"\x30\x00",
    public_key: bytes | None = None,
    version: int = 0,
    more_attributes: bytes = b"",
) -> bytes:
    """A PKCS#10 request written by hand, so that it can also be wrong."""
    listed = b""
    for oid, critical, value in extensions:
        body = der.encode(der.OID, der.encode_oid(oid)) + (b"\x01\x01\xff" if critical else b"")
        listed += der.encode(der.SEQUENCE, body + der.encode(der.OCTET_STRING, value))
    attribute = der.encode(
        der.SEQUENCE,
        der.encode(der.OID, der.encode_oid("1.2.840.113549.1.9.14"))
        + der.encode(der.SET, der.encode(der.SEQUENCE, listed)),
    )
    info = der.encode(
        der.SEQUENCE,
        der.encode_natural(version)
        + subject
        + (public_key or spki(key))
        + der.encode(0xA0, attribute + more_attributes),
    )
    large = key.curve.name == "secp384r1"
    digest = hashes.SHA384() if large else hashes.SHA256()
    algorithm = der.encode(der.OID, der.encode_oid("1.2.840.10045.4.3.3" if large else "1.2.840.10045.4.3.2"))
    signature = der.encode(der.BIT_STRING, b"\0" + key.sign(info, ec.ECDSA(digest)))
    return der.encode(der.SEQUENCE, info + der.encode(der.SEQUENCE, algorithm) + signature)
