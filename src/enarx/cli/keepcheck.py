"""What a client can find out about a Keep from the certificate that it shows: no Steward is asked.

The certificate carries the evidence that the Steward judged. So a client who knows what to expect checks it himself,
and trusts the Steward's CA for names and dates alone.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx.errors import AuthenticityError, MalformedError
from enarx.evidence.appraisal import Rule
from enarx.evidence.binding import MANIFEST_DIGEST_OID, SNP_EVIDENCE_OID, report_data
from enarx.evidence.snp import AMD_ROOTS, Collateral, Policy, Report, Trust, appraise, authenticate, parse
from enarx.evidence.snp.enarx import parse_evidence, parse_manifest_digest
from enarx.evidence.snp.roots import Root


@dataclass(frozen=True, slots=True)
class KeepFacts:
    """``simulated``: whether no hardware stands behind the evidence. ``rules`` are all checks of it.

    ``manifest``: the digest that both evidence and certificate name.
    """

    report: Report
    simulated: bool
    rules: tuple[Rule, ...]
    manifest: bytes


def check_keep(certificate: bytes, policy: Policy, roots: tuple[Root, ...], now: datetime) -> KeepFacts:
    """Check a Keep's certificate (DER), whose chain the caller has verified: evidence, key, manifest.

    ``roots``: of simulators, beside AMD's. Raises EvidenceError: MalformedError, CollateralError, PolicyError, or
    AuthenticityError (``keep-key``, ``keep-manifest``, and what `authenticate` finds).
    """
    try:
        leaf = x509.load_der_x509_certificate(certificate)
        key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError("the certificate cannot be read", code="keep-certificate") from error
    evidence = parse_evidence(_extension(leaf, SNP_EVIDENCE_OID, "evidence"))
    manifest = parse_manifest_digest(_extension(leaf, MANIFEST_DIGEST_OID, "digest of a manifest"))
    report = parse(evidence.report)
    lists = tuple(one.crl for one in evidence.crls)
    trail: list[Rule] = []
    trust = Trust((*AMD_ROOTS, *roots))
    authentic = authenticate(report, Collateral(evidence.vcek, (), lists), now, trust=trust, trail=trail)
    appraisal = appraise(authentic, policy)
    appraisal.require()
    if not hmac.compare_digest(report.report_data, report_data(key)):
        raise AuthenticityError("the evidence in the certificate is over another key", code="keep-key")
    if not hmac.compare_digest(report.host_data, manifest):
        raise AuthenticityError("the evidence in the certificate is for another manifest", code="keep-manifest")
    return KeepFacts(report, authentic.proof.simulated, (*trail, *appraisal.rules), manifest)


def _extension(certificate: x509.Certificate, oid: str, what: str) -> bytes:
    try:
        value = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid)).value
    except x509.ExtensionNotFound as error:
        raise MalformedError(f"the certificate has no {what}: it is not a Keep's", code="keep-certificate") from error
    if not isinstance(value, x509.UnrecognizedExtension):
        raise MalformedError(f"the certificate's {what} cannot be read", code="keep-certificate")
    return value.value
