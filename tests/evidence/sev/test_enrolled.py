"""Approvals and the Keeps that they vouch for: read strictly, believed of named approvers, for a time, over one key."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from enarx.enrolment import APPROVAL_MAX_BYTES
from enarx.errors import EvidenceError, MalformedError
from enarx.evidence.appraisal import Rule
from enarx.evidence.binding import report_data, sev_evidence, sev_statement
from enarx.evidence.sev import approval as module
from enarx.evidence.sev.appraise import Policy, appraise
from enarx.evidence.sev.approval import Approval, parse_approval, sign_approval
from enarx.evidence.sev.enrolled import (
    CLOCK_TOLERANCE,
    SIGNATURE_MAX_BYTES,
    SevEvidence,
    authenticate_keep,
    launch_of,
    parse_sev_evidence,
)
from enarx.evidence.sev.guest_policy import GuestPolicy
from enarx.evidence.sev.report import FirmwareVersion, Launch, LaunchMeasurement
from enarx.evidence.signature import PYCA

NOW = datetime(2026, 6, 1, tzinfo=UTC)
APPROVER = ec.generate_private_key(ec.SECP384R1())
ENROLMENT = ec.generate_private_key(ec.SECP384R1())
KEEP = ec.generate_private_key(ec.SECP384R1())


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


LAUNCH = Launch(
    product="Milan",
    firmware=FirmwareVersion(1, 55, 21),
    policy=GuestPolicy.of(),
    digest=b"\x01" * 32,
    measurement=LaunchMeasurement(b"\x02" * 32, b"\x03" * 16),
    owner_sha256=b"\x04" * 32,
)
STATED = Approval(LAUNCH, b"\x05" * 32, point(ENROLMENT), NOW, NOW + timedelta(days=30), simulated=False)
DATA = report_data(spki(KEEP))


def digest(key: ec.EllipticCurvePrivateKey) -> bytes:
    import hashlib

    return hashlib.sha256(spki(key)).digest()


def signed(stated: Approval = STATED, key: ec.EllipticCurvePrivateKey = APPROVER, of: bytes | None = None) -> bytes:
    algorithm = hashes.SHA384() if key.curve.name == "secp384r1" else hashes.SHA256()
    return sign_approval(stated, of or spki(key), lambda message: key.sign(message, ec.ECDSA(algorithm)))


SIGNED = signed()


def evidence(approval: bytes, key: ec.EllipticCurvePrivateKey = ENROLMENT, data: bytes = DATA) -> SevEvidence:
    signature = key.sign(sev_statement(data, approval), ec.ECDSA(hashes.SHA384()))
    return parse_sev_evidence(sev_evidence(approval, signature))


def refused(
    found: SevEvidence, data: bytes = DATA, now: datetime = NOW, approvers: tuple[bytes, ...] | None = None
) -> str:
    believed = (digest(APPROVER),) if approvers is None else approvers
    with pytest.raises(EvidenceError) as raised:
        authenticate_keep(found, data, believed, now, verifier=PYCA)
    assert raised.value.hint
    return raised.value.code


def test_keep_of_an_approved_launch_is_authentic() -> None:
    trail: list[Rule] = []
    keep = authenticate_keep(evidence(signed()), DATA, (digest(APPROVER),), NOW, verifier=PYCA, trail=trail)
    assert (keep.value.launch, keep.value.host_data, keep.value.report_data) == (LAUNCH, b"\x05" * 32, DATA)
    assert (keep.proof.not_after, keep.proof.simulated, keep.proof.product) == (STATED.until, False, "Milan")
    assert keep.proof.root == f"approver sha256:{digest(APPROVER).hex()}"
    assert tuple(trail) == keep.proof.checks
    assert [rule.name for rule in trail] == ["approver-signature", "approval-time", "enrolment-signature"]


def test_launch_is_judged_again_by_whoever_believes_the_approver() -> None:
    keep = authenticate_keep(evidence(signed()), DATA, (digest(APPROVER),), NOW, verifier=PYCA)
    accepting = Policy(frozenset((LAUNCH.digest,)))
    assert appraise(launch_of(keep), accepting).accepted
    assert not appraise(launch_of(keep), replace(accepting, minimum_api=(1, 56))).accepted
    assert not appraise(launch_of(keep), Policy(frozenset((b"\x09" * 32,)))).accepted


def test_simulated_launch_says_so() -> None:
    keep = authenticate_keep(
        evidence(signed(replace(STATED, simulated=True))), DATA, (digest(APPROVER),), NOW, verifier=PYCA
    )
    assert keep.proof.simulated
    assert appraise(launch_of(keep), Policy(frozenset((LAUNCH.digest,)))).simulated


def test_approver_on_p256_is_believed_as_well() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    found = evidence(signed(key=key))
    assert authenticate_keep(found, DATA, (digest(key),), NOW, verifier=PYCA).value.launch == LAUNCH


def test_nobody_is_believed_who_is_not_named() -> None:
    assert refused(evidence(signed()), approvers=()) == "untrusted-approver"
    stranger = ec.generate_private_key(ec.SECP384R1())
    assert refused(evidence(signed(key=stranger))) == "untrusted-approver"


def test_stranger_who_calls_himself_the_approver_is_found_out() -> None:
    stranger = ec.generate_private_key(ec.SECP384R1())
    assert refused(evidence(signed(key=stranger, of=spki(APPROVER)))) == "bad-signature"


def test_approval_for_another_key_vouches_for_nothing() -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    assert refused(evidence(signed(), key=other)) == "binding-mismatch"


def test_evidence_of_another_keep_is_not_this_ones() -> None:
    assert refused(evidence(signed(), data=bytes(64))) == "binding-mismatch"
    assert refused(evidence(signed()), data=bytes(64)) == "binding-mismatch"


def test_signature_made_under_one_approval_is_none_under_another() -> None:
    first, second = signed(), signed(replace(STATED, manifest_digest=b"\x06" * 32))
    mixed = SevEvidence(second, evidence(first).signature)
    assert refused(mixed) == "binding-mismatch"


def test_approval_is_for_a_time() -> None:
    found = evidence(signed())
    assert refused(found, now=STATED.until + timedelta(seconds=1)) == "approval-expired"
    assert refused(found, now=NOW - CLOCK_TOLERANCE - timedelta(seconds=1)) == "approval-early"
    for now in (NOW - CLOCK_TOLERANCE, STATED.until):
        authenticate_keep(found, DATA, (digest(APPROVER),), now, verifier=PYCA)


def test_key_that_is_no_point_is_refused() -> None:
    assert refused(evidence(signed(replace(STATED, key=b"\x04" + b"\x01" * 96)))) == "key-invalid"


@pytest.mark.parametrize("at", range(0, 336, 7))
def test_every_byte_of_an_approval_is_signed(at: int) -> None:
    encoded = bytearray(signed())
    encoded[at] ^= 1
    assert refused(evidence(bytes(encoded))) in (
        "bad-signature", "approval-malformed", "approval-early", "untrusted-approver",
    )  # fmt: skip


@given(st.data())
def test_altered_approval_is_refused(data: st.DataObject) -> None:
    encoded = bytearray(SIGNED)
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(EvidenceError):
        authenticate_keep(evidence(bytes(encoded)), DATA, (digest(APPROVER),), NOW, verifier=PYCA)


@given(st.one_of(st.binary(max_size=400), st.binary(max_size=64).map(lambda tail: SIGNED + tail)))
def test_any_bytes_are_an_approval_or_refused(data: bytes) -> None:
    try:
        found = parse_approval(data)
    except MalformedError as error:
        assert error.code == "approval-malformed"
    else:
        assert data.startswith(found.approval.body())


def test_approval_reads_back_as_it_was_signed() -> None:
    found = parse_approval(signed())
    assert found.approval == STATED
    assert found.spki == spki(APPROVER)
    assert len(signed()) < 700 < APPROVAL_MAX_BYTES == module.APPROVAL_MAX_BYTES


@pytest.mark.parametrize(
    "bad",
    [
        replace(STATED, until=NOW - timedelta(seconds=1)),
        replace(STATED, launch=replace(LAUNCH, product="")),
        replace(STATED, launch=replace(LAUNCH, product="a\n")),
        replace(STATED, key=b"\x02" + bytes(96)),
    ],
)
def test_approval_that_would_be_refused_is_never_signed(bad: Approval) -> None:
    with pytest.raises(MalformedError):
        signed(bad)


def test_approval_that_would_be_read_otherwise_is_never_signed() -> None:
    with pytest.raises(ValueError, match="exact"):
        signed(replace(STATED, launch=replace(LAUNCH, product="a product with a long name")))


@given(st.binary(max_size=200))
def test_any_bytes_are_evidence_or_refused(data: bytes) -> None:
    try:
        found = parse_sev_evidence(data)
    except MalformedError:
        return
    assert sev_evidence(found.approval, found.signature) == data


def test_evidence_is_bounded() -> None:
    parse_sev_evidence(sev_evidence(bytes(APPROVAL_MAX_BYTES), bytes(SIGNATURE_MAX_BYTES)))
    for approval, signature in ((0, SIGNATURE_MAX_BYTES + 1), (APPROVAL_MAX_BYTES + 200, 0)):
        with pytest.raises(MalformedError):
            parse_sev_evidence(sev_evidence(bytes(approval), bytes(signature)))
    with pytest.raises(MalformedError):
        parse_sev_evidence(sev_evidence(b"a", b"b")[:-1])
    with pytest.raises(MalformedError):
        sev_statement(bytes(63), b"")
