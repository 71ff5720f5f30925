"""Is this report genuine: signed by the key of a platform that AMD endorses, for the platform and TCB that it states?

``authenticate`` is the only way to an ``Authentic[Report]``. It checks the algorithm and the key that the report says
it was signed with, the certificate chain, the P-384 signature, and then that certificate and report speak of the same
product, TCB and chip. Sources: 56860 chapter 7.3 and tables 23, 139 to 141; 57230 chapter 3.
"""

from __future__ import annotations

from datetime import UTC, datetime

from enarx.errors import AuthenticityError, EvidenceError
from enarx.evidence import der
from enarx.evidence.appraisal import Rule
from enarx.evidence.authentic import Authentic, Proof, vouch
from enarx.evidence.chain import seconds
from enarx.evidence.snp.abi import ALGORITHM_ECDSA_P384_SHA384, SIGNED_BY_NONE, SIGNED_BY_VCEK, SIGNED_BY_VLEK, SIGNERS
from enarx.evidence.snp.endorsement import Endorsement, Kind
from enarx.evidence.snp.keychain import verify_chain
from enarx.evidence.snp.product import Product
from enarx.evidence.snp.report import Report
from enarx.evidence.snp.trust import AMD, Collateral, Trust, VerifiedChain

_SCALAR_BYTES = 48
"""Bytes of a P-384 scalar in the 72-byte fields R and S; the rest is zero (56860 table 141)."""
_PADDING = bytes(24)
_RESERVED = bytes(368)
_ZERO_CHIP = bytes(64)
_ZERO_DIGEST = bytes(48)

_SIGNED = {kind: Rule("signing-key", True, "VCEK or VLEK", kind.name, "report flags") for kind in Kind}
_KINDS = {SIGNED_BY_VCEK: Kind.VCEK, SIGNED_BY_VLEK: Kind.VLEK}


def authenticate(
    report: Report,
    collateral: Collateral,
    now: datetime,
    *,
    trust: Trust = AMD,
    require_crl: bool = False,
    trail: list[Rule] | None = None,
) -> Authentic[Report]:
    """Verify a report against its collateral as of ``now``, which must carry its time zone.

    ``trail``, when given, receives every check in order, also the one that failed. Raises AuthenticityError when the
    report is not genuine, CollateralError when a certificate or list is missing or has expired, MalformedError when
    one cannot be read.
    """
    checks: list[Rule] = [] if trail is None else trail
    at = seconds(now)
    try:
        kind = _check_signer(report, checks)
        chain = verify_chain(collateral, at, trust, require_crl=require_crl, trail=checks)
        endorsement, passed = chain.endorsement, chain.passed
        _check_kind(kind, endorsement, checks)
        checks.append(passed.kind)
        _check_signature(report, chain, checks)
        checks.append(passed.signature)
        _check_product(report, endorsement, checks)
        _check_tcb(report, endorsement, checks)
        checks.append(passed.tcb)
        _check_chip(report, endorsement, checks)
        checks.append(passed.chip_id)
        _check_contents(report, checks)
    except EvidenceError as error:
        if not checks or checks[-1].passed:
            checks.append(Rule(error.code, False, "genuine", error.message, "authentication", error.hint))
        raise
    return vouch(
        report,
        Proof(
            technology="snp",
            root=chain.root.ark.name,
            signer=endorsement.kind.name,
            product=endorsement.product.value,
            verified_at=now.astimezone(UTC),
            not_after=datetime.fromtimestamp(chain.not_after, UTC),
            revocation_checked=chain.revocation_checked,
            checks=tuple(checks),
            simulated=chain.root.simulated,
        ),
    )


def _refuse(checks: list[Rule], rule: Rule, message: str) -> AuthenticityError:
    checks.append(rule)
    return AuthenticityError(message, code=rule.reason, hint=rule.hint)


def _check_signer(report: Report, checks: list[Rule]) -> Kind:
    """SIGNATURE_ALGO, SIGNING_KEY and MASK_CHIP_KEY: can this report be signed at all, and by which kind of key?"""
    if report.signature_algorithm != ALGORITHM_ECDSA_P384_SHA384:
        raise _refuse(
            checks,
            Rule(
                "algorithm",
                False,
                "1 (ECDSA P-384 with SHA-384)",
                str(report.signature_algorithm),
                "56860 table 139",
                "the report was altered, or comes from firmware newer than this verifier",
                "unsupported-algorithm",
            ),
            f"signature algorithm {report.signature_algorithm} is not supported",
        )
    stated = report.signing_key
    kind = _KINDS.get(stated)
    seen = SIGNERS.get(stated, f"reserved value {stated}")
    if kind is None:
        raise _refuse(
            checks,
            Rule(
                "signing-key",
                False,
                "VCEK or VLEK",
                seen,
                "report flags",
                "the platform is configured not to sign reports (MASK_CHIP_KEY); ask its operator to change that",
                "report-not-signed" if stated == SIGNED_BY_NONE else "signing-key",
            ),
            f"the report says that it was signed by: {seen}",
        )
    if kind is Kind.VCEK and report.chip_key_masked:
        raise _refuse(
            checks,
            Rule(
                "signing-key",
                False,
                "a chip key that is not masked",
                "MASK_CHIP_KEY",
                "report flags",
                "firmware signs nothing with a masked chip key; the platform needs a VLEK or MASK_CHIP_KEY off",
                "chip-key-masked",
            ),
            "the report claims the chip's key and says that the chip's key is masked",
        )
    checks.append(_SIGNED[kind])
    return kind


def _check_kind(kind: Kind, endorsement: Endorsement, checks: list[Rule]) -> None:
    if endorsement.kind is not kind:
        raise _refuse(
            checks,
            Rule(
                "endorsement-kind",
                False,
                kind.name,
                endorsement.kind.name,
                "report flags",
                f"give the {kind.name} certificate of the platform",
                "wrong-endorsement",
            ),
            f"the report says it was signed by the {kind.name}, the certificate is for a {endorsement.kind.name}",
        )


def _check_signature(report: Report, chain: VerifiedChain, checks: list[Rule]) -> None:
    r, s = report.signature_r, report.signature_s
    # Bytes that no signature covers: were they free, one report would have many encodings.
    clean = r[_SCALAR_BYTES:] == _PADDING and s[_SCALAR_BYTES:] == _PADDING and report.reserved_330 == _RESERVED
    if not clean or not chain.verify_report(
        der.encode_ecdsa(int.from_bytes(r, "little"), int.from_bytes(s, "little")), report.signed()
    ):
        raise _refuse(
            checks,
            Rule(
                "signature",
                False,
                "valid",
                "invalid" if clean else "not zero where the format demands it",
                f"key of the {chain.endorsement.kind.name}",
                "the report was altered, or it belongs to another chip or TCB than the certificate",
                "bad-signature",
            ),
            f"the report's signature does not verify under the {chain.endorsement.kind.name}",
        )


def _check_product(report: Report, endorsement: Endorsement, checks: list[Rule]) -> None:
    """Firmware states its CPUID since version 3; version 2 is older than Turin."""
    expected = endorsement.product
    if report.has_cpuid:
        passed = report.product is expected
        seen = f"family {report.cpuid_family:#x} model {report.cpuid_model:#x}"
    else:
        passed = expected is not Product.TURIN
        seen = "not stated by version 2"
    rule = Rule(
        "product",
        passed,
        expected.value,
        seen,
        "certificate, product name",
        "" if passed else "report and certificate are of different products",
        "" if passed else "product-mismatch",
    )
    if not passed:
        raise _refuse(checks, rule, f"the certificate is for {expected.value}, the report says {seen}")
    checks.append(rule)


def _check_tcb(report: Report, endorsement: Endorsement, checks: list[Rule]) -> None:
    if report.reported_tcb_raw != endorsement.tcb.raw:
        seen = str(report.reported_tcb)
        raise _refuse(
            checks,
            Rule(
                "tcb",
                False,
                str(endorsement.tcb),
                seen,
                f"{endorsement.kind.name} extensions 1.3.6.1.4.1.3704.1.3",
                "fetch the certificate for exactly this reported TCB",
                "tcb-mismatch",
            ),
            f"the certificate is for TCB {endorsement.tcb}, the report states {seen}",
        )


def _check_chip(report: Report, endorsement: Endorsement, checks: list[Rule]) -> None:
    """CHIP_ID against hwID; Turin's hwID has 8 bytes and the rest of CHIP_ID is zero. A VLEK names no chip."""
    hardware_id = endorsement.hardware_id
    if hardware_id is None:
        return
    if report.chip_id != hardware_id.ljust(len(_ZERO_CHIP), b"\0"):
        masked = report.chip_id == _ZERO_CHIP
        raise _refuse(
            checks,
            Rule(
                "chip-id",
                False,
                hardware_id.hex(),
                "masked (all zero)" if masked else report.chip_id.hex(),
                "VCEK extension 1.3.6.1.4.1.3704.1.4",
                "ask the operator to turn MASK_CHIP_ID off" if masked else "fetch the certificate of this very chip",
                "chip-id-masked" if masked else "chip-id-mismatch",
            ),
            "the report does not name its chip" if masked else "the certificate belongs to another chip",
        )


def _check_contents(report: Report, checks: list[Rule]) -> None:
    """What no genuine firmware reports: a launch that measured nothing, an author key that is and is not there."""
    if report.measurement == _ZERO_DIGEST:
        raise _refuse(
            checks,
            Rule(
                "measurement-present",
                False,
                "a launch digest",
                "all zero",
                "56860 table 23",
                "zero is no measurement; the guest was not launched as SEV-SNP guests are",
                "measurement-zero",
            ),
            "the measurement is all zero",
        )
    if report.author_key_enabled is (report.author_key_digest == _ZERO_DIGEST):
        raise _refuse(
            checks,
            Rule(
                "author-key",
                False,
                "a digest exactly when AUTHOR_KEY_EN is set",
                f"AUTHOR_KEY_EN={int(report.author_key_enabled)} with digest {report.author_key_digest.hex()}",
                "56860 table 23",
                "the report contradicts itself",
                "author-key-inconsistent",
            ),
            "AUTHOR_KEY_EN and AUTHOR_KEY_DIGEST contradict each other",
        )
    checks.append(Rule("measurement-present", True, "a launch digest", report.measurement.hex(), "56860 table 23"))
