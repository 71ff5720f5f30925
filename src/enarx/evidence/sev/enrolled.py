"""A SEV Keep at run time: its approval by an accepted approver, and its own key vouched for by the enrolment key.

The chain, from the tenant's own decision down: the policy names the approver's key; that key signed the approval; the
approval names the enrolment key, which was injected into the launch that the approval describes and nowhere else; the
enrolment key signed the caller's 64 bytes (``binding.sev_statement``), as a processor would have put them in a report.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Final

from enarx.errors import AuthenticityError, MalformedError
from enarx.evidence import der
from enarx.evidence.appraisal import Rule
from enarx.evidence.authentic import Authentic, Proof, vouch
from enarx.evidence.binding import sev_statement
from enarx.evidence.sev.approval import (
    APPROVAL_MAX_BYTES,
    SignedApproval,
    enrolment_key,
    is_signed,
    parse_approval,
)
from enarx.evidence.sev.report import Launch
from enarx.evidence.signature import Scheme, Verifier

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""How far the approver's clock may be ahead of the verifier's."""
SIGNATURE_MAX_BYTES: Final = 128
"""Largest signature that is read (bytes); ECDSA on P-384 in DER has 104 at most."""


@dataclass(frozen=True, slots=True)
class SevEvidence:
    """The two parts of the evidence extension: an approval, and the enrolment key's signature. Not verified."""

    approval: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class EnrolledKeep:
    """A Keep that was launched as ``launch`` says, with the manifest whose SHA-256 is ``host_data``.

    ``report_data`` (64 bytes) is what the Keep put forward, ``approval`` the SHA-256 of the approval.
    """

    launch: Launch
    host_data: bytes
    report_data: bytes
    approved: datetime
    approval: bytes


def parse_sev_evidence(value: bytes) -> SevEvidence:
    """Read the value of the SEV evidence extension (``binding.SEV_EVIDENCE_OID``); MalformedError."""
    whole = der.only(value, der.SEQUENCE, APPROVAL_MAX_BYTES + SIGNATURE_MAX_BYTES + 16)
    approval = der.expect(value, whole.start, whole.stop, der.OCTET_STRING)
    signature = der.expect(value, approval.stop, whole.stop, der.OCTET_STRING)
    if signature.stop != whole.stop:
        raise der.malformed("trailing bytes after the signature")
    if signature.stop - signature.start > SIGNATURE_MAX_BYTES:
        raise der.malformed(f"a signature of {signature.stop - signature.start} bytes")
    return SevEvidence(value[approval.start : approval.stop], value[signature.start : signature.stop])


def authenticate_keep(
    evidence: SevEvidence,
    report_data: bytes,
    approvers: Collection[bytes],
    now: datetime,
    *,
    verifier: Verifier,
    trail: list[Rule] | None = None,
) -> Authentic[EnrolledKeep]:
    """Verify evidence of a Keep over ``report_data`` (64 bytes), as of ``now``.

    ``approvers`` are SHA-256 digests of SubjectPublicKeyInfos; none accepts nothing. The checks made so far are added
    to ``trail`` also when a later one fails. Raises MalformedError, or AuthenticityError (``untrusted-approver``,
    ``bad-signature``, ``approval-expired``, ``approval-early``, ``binding-mismatch``).
    """
    checks = trail if trail is not None else []
    begun = len(checks)
    signed = parse_approval(evidence.approval)
    _check_approver(signed, approvers, verifier, checks)
    _check_period(signed, now, checks)
    approval = signed.approval
    try:
        verify = verifier.load(enrolment_key(approval), Scheme.ECDSA_SHA384)
    except MalformedError as error:
        raise AuthenticityError(
            "the key in the approval is not a point on its curve",
            code="key-invalid",
            hint="the approver is at fault: no key has this public part",
        ) from error
    if not verify(evidence.signature, sev_statement(report_data, evidence.approval)):
        raise AuthenticityError(
            "the key is not vouched for by the launch that was approved",
            code="binding-mismatch",
            hint="the evidence was made for another key: it was replayed, or the request was altered",
        )
    checks.append(Rule("enrolment-signature", True, "by the launch's key", "valid", "approval"))
    launch = approval.launch
    proof = Proof(
        technology="sev",
        root=f"approver sha256:{signed.approver.hex()}",
        signer="enrolment key",
        product=launch.product,
        verified_at=now,
        not_after=approval.until,
        revocation_checked=False,
        checks=tuple(checks[begun:]),
        simulated=approval.simulated,
    )
    keep = EnrolledKeep(
        launch=launch,
        host_data=approval.manifest_digest,
        report_data=report_data,
        approved=approval.approved,
        approval=hashlib.sha256(evidence.approval).digest(),
    )
    return vouch(keep, proof)


def launch_of(keep: Authentic[EnrolledKeep]) -> Authentic[Launch]:
    """The launch of an authentic Keep, for ``appraise``."""
    return vouch(keep.value.launch, keep.proof)


def _check_approver(
    signed: SignedApproval, approvers: Collection[bytes], verifier: Verifier, checks: list[Rule]
) -> None:
    if not any(compare_digest(signed.approver, one) for one in approvers):
        raise AuthenticityError(
            f"the launch was approved by sha256:{signed.approver.hex()}, whose word is not accepted",
            code="untrusted-approver",
            hint="name the approver's key in the policy: [sev] approvers",
        )
    if not is_signed(signed, verifier):
        raise AuthenticityError(
            "the approval is not signed by the approver that it names",
            code="bad-signature",
            hint="the approval was altered",
        )
    seen = f"sha256:{signed.approver.hex()}"
    checks.append(Rule("approver-signature", True, "an accepted approver", seen, "policy approvers"))


def _check_period(signed: SignedApproval, now: datetime, checks: list[Rule]) -> None:
    approval = signed.approval
    if now > approval.until:
        raise AuthenticityError(
            f"the approval of this launch ended at {approval.until:%Y-%m-%dT%H:%M:%SZ}",
            code="approval-expired",
            hint="launch the Keep anew: a SEV launch is approved for a limited time",
        )
    if approval.approved > now + CLOCK_TOLERANCE:
        raise AuthenticityError(
            f"the launch is said to be approved at {approval.approved:%Y-%m-%dT%H:%M:%SZ}, which is yet to come",
            code="approval-early",
            hint="the approver's clock or this one is wrong",
        )
    seen = f"{approval.approved:%Y-%m-%dT%H:%M:%SZ} to {approval.until:%Y-%m-%dT%H:%M:%SZ}"
    checks.append(Rule("approval-time", True, "current", seen, "approval"))
