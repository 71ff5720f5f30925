"""Signatures of SEV up to an accepted root: the platform's certificates, and reports signed by its PEK.

The links (SEV API 55766, appendix B.3 and C.5)::

    ARK --> ARK    ARK --> ASK    ASK --> CEK    CEK --> PEK    OCA --> PEK    OCA --> OCA    PEK --> PDH

SEV certificates carry no dates and AMD publishes no revocation list for them: validity is a matter of the firmware
version that the policy asks for, and of the owner who can make a new PEK and PDH at any time.

Bytes that no signature covers and that are not judged: the contents of an unused signature slot, and the part of an
RSA signature slot beyond the size of the signing key. Nothing reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hmac import compare_digest

from enarx.errors import AuthenticityError, MalformedError
from enarx.evidence.appraisal import Rule
from enarx.evidence.authentic import Authentic, Proof, vouch
from enarx.evidence.sev import signing
from enarx.evidence.sev.authority import authority
from enarx.evidence.sev.certs import CaCertificate, Certificate, SevCertificate, Signature
from enarx.evidence.sev.kinds import ECDH_ALGORITHMS, ECDSA_ALGORITHMS, RSA_ALGORITHMS, Algorithm, Usage
from enarx.evidence.sev.refusals import forged, missing, passed, reserved
from enarx.evidence.sev.report import AttestationReport
from enarx.evidence.sev.roots import AMD_ROOTS, Root
from enarx.evidence.signature import PYCA, Verifier, VerifyingKey

NO_END = datetime.max.replace(tzinfo=UTC)
"""End of validity of something that carries no date."""

ISSUERS: dict[Usage, tuple[Usage, ...]] = {
    Usage.CEK: (Usage.ASK,),
    Usage.OCA: (Usage.OCA,),
    Usage.PEK: (Usage.CEK, Usage.OCA),
    Usage.PDH: (Usage.PEK,),
}
"""Whose signature each certificate must carry, once each and no others."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Certificates sorted by usage, at most one of each, nothing verified."""

    ark: CaCertificate | None = None
    ask: CaCertificate | None = None
    cek: SevCertificate | None = None
    oca: SevCertificate | None = None
    pek: SevCertificate | None = None
    pdh: SevCertificate | None = None


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform's identity: the product it is, and its four certificates."""

    product: str
    pdh: SevCertificate
    pek: SevCertificate
    oca: SevCertificate
    cek: SevCertificate

    @property
    def api(self) -> tuple[int, int]:
        """API version (major, minor) of the firmware that made the PEK."""
        return (self.pek.api_major, self.pek.api_minor)


@dataclass(frozen=True, slots=True)
class _Issuer:
    usage: Usage
    algorithm: Algorithm
    modulus_bits: int
    verify: VerifyingKey


def sort_chain(certificates: Iterable[Certificate]) -> Chain:
    """Sort certificates by usage; raises MalformedError when one is there twice."""
    found: dict[Usage, Certificate] = {}
    for certificate in certificates:
        if certificate.usage in found:
            raise MalformedError(
                f"two {certificate.usage.name} certificates in one chain",
                code="sev-certificate-duplicate",
                hint="give the certificates of one platform",
            )
        found[certificate.usage] = certificate
    ca = {usage: item for usage, item in found.items() if isinstance(item, CaCertificate)}
    sev = {usage: item for usage, item in found.items() if isinstance(item, SevCertificate)}
    return Chain(
        ark=ca.get(Usage.ARK),
        ask=ca.get(Usage.ASK),
        cek=sev.get(Usage.CEK),
        oca=sev.get(Usage.OCA),
        pek=sev.get(Usage.PEK),
        pdh=sev.get(Usage.PDH),
    )


def authenticate(
    certificates: Iterable[Certificate],
    now: datetime,
    roots: Sequence[Root] = AMD_ROOTS,
    verifier: Verifier = PYCA,
) -> Authentic[Platform]:
    """Verify a platform's whole chain: PDH, PEK, OCA and CEK, with ASK and ARK where they are given.

    ASK and ARK may be absent; the embedded keys take their place. Raises MalformedError for bytes that cannot be
    right, CollateralError for a missing certificate, AuthenticityError for a link that does not hold.
    """
    chain = sort_chain(certificates)
    verified = authenticate_chain(chain, now, roots, verifier)
    pdh, pek, oca, cek = (
        _given(chain.pdh, Usage.PDH),
        _given(chain.pek, Usage.PEK),
        _given(chain.oca, Usage.OCA),
        _given(chain.cek, Usage.CEK),
    )
    return vouch(Platform(verified.proof.product, pdh, pek, oca, cek), verified.proof)


def authenticate_chain(
    chain: Chain,
    now: datetime,
    roots: Sequence[Root] = AMD_ROOTS,
    verifier: Verifier = PYCA,
) -> Authentic[Chain]:
    """Verify every link of a chain that may end early, such as ASK and ARK alone, or a CEK.

    Each certificate that is there must have its issuers there, except that embedded keys stand in for ARK and ASK.
    Raises as ``authenticate`` does.
    """
    root, ask, rules = authority(chain.ark, chain.ask, chain.cek, roots, verifier)
    if chain.cek is not None:
        issuer = _Issuer(
            Usage.ASK, signing.ca_algorithm(ask), ask.modulus_bits, signing.ca_verifying_key(ask, verifier)
        )
        rules += _certified(chain.cek, (issuer,))
    if chain.oca is not None:
        _given(chain.pek, Usage.PEK)  # An OCA signs itself; the platform's PEK alone says that it is the owner's.
        rules += _certified(chain.oca, (_itself(chain.oca, verifier),))
    if chain.pek is not None:
        cek, oca = _given(chain.cek, Usage.CEK), _given(chain.oca, Usage.OCA)
        rules += _certified(chain.pek, (_issuer(cek, verifier), _issuer(oca, verifier)))
    if chain.pdh is not None:
        pek = _given(chain.pek, Usage.PEK)
        rules += _certified(chain.pdh, (_issuer(pek, verifier),))
        rules += _agreement_key(chain.pdh)
    proof = Proof(
        technology="sev",
        root=f"ARK-{root.product}",
        signer=_lowest_issuer(chain).name,
        product=root.product,
        verified_at=now,
        not_after=NO_END,
        revocation_checked=False,
        checks=tuple(rules),
        simulated=root.simulated,
    )
    return vouch(chain, proof)


def authenticate_report(
    report: AttestationReport,
    platform: Authentic[Platform],
    mnonce: bytes,
    now: datetime,
    verifier: Verifier = PYCA,
) -> Authentic[AttestationReport]:
    """Verify an ATTESTATION report: signed by this platform's PEK over the nonce that was asked with.

    Raises AuthenticityError for a wrong signature or nonce.
    """
    pek = platform.value.pek
    if (report.signature_usage, report.signature_algorithm) != (Usage.PEK, pek.algorithm):
        raise forged("the report does not name the PEK as its signer")
    if report.reserved:
        raise reserved("the report")
    if not signing.verifying_key(pek, verifier)(signing.ecdsa_octets(report.r, report.s), report.signed):
        raise forged("the report is not signed by this platform's PEK")
    if not compare_digest(report.mnonce, mnonce):
        raise AuthenticityError(
            "the report answers another nonce", code="nonce-mismatch", hint="ask again; this report is a replay"
        )
    proof = platform.proof
    rules = (*proof.checks, passed("report-signature", "PEK"), passed("report-nonce", "the nonce asked with"))
    return vouch(
        report,
        Proof("sev", proof.root, "PEK", proof.product, now, proof.not_after, False, rules, proof.simulated),
    )


def _issuer(certificate: SevCertificate, verifier: Verifier) -> _Issuer:
    bits = certificate.rsa_key.modulus_bits if certificate.algorithm in RSA_ALGORITHMS else 0
    return _Issuer(certificate.usage, certificate.algorithm, bits, signing.verifying_key(certificate, verifier))


def _itself(oca: SevCertificate, verifier: Verifier) -> _Issuer:
    """The OCA as its own issuer. An altered key is mostly no point on its curve: then it did not sign itself."""
    try:
        return _issuer(oca, verifier)
    except MalformedError as error:
        if oca.algorithm in ECDSA_ALGORITHMS and error.code == "key-invalid":
            raise forged("the OCA is not signed by the OCA: its key is not a point on its curve") from error
        raise


def _certified(subject: SevCertificate, issuers: tuple[_Issuer, ...]) -> list[Rule]:
    """Check that the subject carries a good signature of every issuer, and no other."""
    name = subject.usage.name
    waiting = {issuer.usage: issuer for issuer in issuers}
    rules: list[Rule] = []
    for slot in subject.signatures:
        if (slot.usage is Usage.INVALID) != (slot.algorithm is Algorithm.INVALID):
            raise MalformedError(
                f"a signature slot of the {name} is neither used nor unused",
                code="malformed",
                hint="export the certificates again",
            )
        if not slot.present:
            continue
        issuer = waiting.pop(slot.usage, None)
        if issuer is None:
            raise forged(f"the {name} carries a signature of {slot.usage.name}, which does not belong there")
        _check_slot(subject, slot, issuer)
        rules.append(passed(f"{name}-signature-{issuer.usage.name}".lower(), issuer.usage.name))
    if waiting:
        raise forged(f"the {name} is not signed by {' and '.join(usage.name for usage in waiting)}")
    _require_reserved(subject)
    return rules


def _check_slot(subject: SevCertificate, slot: Signature, issuer: _Issuer) -> None:
    name = subject.usage.name
    if slot.algorithm is not issuer.algorithm:
        raise forged(f"the {name} claims {slot.algorithm.name}, the {issuer.usage.name} signs {issuer.algorithm.name}")
    if not issuer.verify(signing.octets(slot, issuer.modulus_bits), subject.body):
        raise forged(f"the {name} is not signed by the {issuer.usage.name}")
    if slot.algorithm not in RSA_ALGORITHMS and any(slot.ecdsa_reserved):
        raise reserved(f"the signature of the {name}")


def _agreement_key(pdh: SevCertificate) -> list[Rule]:
    if pdh.algorithm not in ECDH_ALGORITHMS:
        raise MalformedError(
            f"the PDH key is for {pdh.algorithm.name}, not for key agreement",
            code="unsupported-algorithm",
            hint="the certificate is not one that SEV firmware issues",
        )
    signing.ecdh_key(pdh)
    return [passed("pdh-key", "a point on its curve")]


def _require_reserved(certificate: SevCertificate) -> None:
    spare = certificate.reserved
    if certificate.algorithm not in RSA_ALGORITHMS:
        spare += certificate.ecc_key.reserved
    if any(spare):
        raise reserved(f"the {certificate.usage.name}")


def _given(certificate: SevCertificate | None, usage: Usage) -> SevCertificate:
    if certificate is None:
        raise missing(usage)
    return certificate


def _lowest_issuer(chain: Chain) -> Usage:
    if chain.pdh is not None:
        return Usage.PEK
    if chain.pek is not None:
        return Usage.CEK
    return Usage.ASK if chain.cek is not None else Usage.ARK
