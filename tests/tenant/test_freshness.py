"""Fresh evidence over one TLS session: what a client accepts, and what somebody in between could make of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import AuthenticityError, EvidenceError, MalformedError, PolicyError
from enarx.evidence import binding
from enarx.keep.attested import Attested
from enarx.tenant.client import Expectation, Verdict, verify
from enarx.tenant.freshness import SessionEvidence, verify_session
from tests.evidence.snp.forge import Machine, ec_key, spki
from tests.tenant import sevlaunches
from tests.tenant.keeps import NOW, Keep, policy, simulator
from tests.tenant.steward import test_sev as sev
from tests.tenant.test_client import HOST, accepted, expect, issued, refused

NONCE, EXPORTER = b"n" * 32, b"e" * 32


def session(
    keep: Keep | None = None,
    *,
    nonce: bytes = NONCE,
    exporter: bytes = EXPORTER,
    others: tuple[bytes, ...] = (),
    machine: Machine | None = None,
    **fields: Any,
) -> SessionEvidence:
    """What the Keep answers in the session with ``exporter``; ``fields`` are of the report."""
    keep = keep or Keep()
    assert keep.manifest is not None
    digests = (*others, binding.session_digest(spki(keep.key), nonce, exporter))
    known = {"report_data": binding.session_report_data(digests), "host_data": keep.manifest.digest()}
    made = machine or keep.machine
    report = made.report_bytes(**(known | fields))
    return SessionEvidence(NONCE, EXPORTER, digests, binding.snp_evidence(report, made.certificate))


def judged(given: SessionEvidence, expected: Expectation | None = None, **changes: Any) -> Verdict:
    expected = expected or expect()
    verdict = verify(issued(), HOST, expected, NOW)
    assert verdict.accepted, verdict.error
    return verify_session(verdict, given, expected, changes.get("now", NOW))


def test_evidence_over_this_session_is_accepted() -> None:
    verdict = judged(session())
    accepted(verdict)
    names = [rule.name for rule in verdict.rules]
    assert {"key-binding", "session-signature", "session-measurement", "session-binding", "session-guest"} <= set(names)
    assert len(names) == len(set(names)) + names.count("root") + names.count("session-root") - 2
    assert verdict.facts["session"]


def test_evidence_over_many_sessions_is_accepted_for_each_of_them() -> None:
    others = tuple(bytes([number]) * binding.SESSION_DIGEST_BYTES for number in range(20))
    accepted(judged(session(others=others)))


def test_relayed_evidence_of_another_session_is_refused() -> None:
    refused(judged(session(exporter=b"r" * 32)), "session-mismatch")


def test_evidence_for_an_older_nonce_is_refused() -> None:
    refused(judged(session(nonce=b"o" * 32)), "session-mismatch")


def test_a_digest_that_the_report_is_not_over_is_refused() -> None:
    """Whoever relays could put the victim's session into the list."""
    relayed = session(exporter=b"r" * 32)
    own = binding.session_digest(spki(Keep().key), NONCE, EXPORTER)
    for digests in ((own,), (*relayed.digests, own), (own, *relayed.digests)):
        refused(judged(replace(relayed, digests=digests)), "session-mismatch")


def test_evidence_over_the_key_is_no_fresh_evidence() -> None:
    refused(judged(session(report_data=binding.report_data(spki(Keep().key)))), "session-mismatch")


def test_evidence_of_another_key_is_refused() -> None:
    refused(judged(session(Keep(key=ec_key("other")))), "session-mismatch")


@pytest.mark.parametrize(
    "lie", [{"report_id": b"\x22" * 32}, {"host_data": b"\x33" * 32}], ids=["another guest", "another launch"]
)
def test_another_guest_than_the_certified_is_refused(lie: dict[str, Any]) -> None:
    refused(judged(session(**lie)), "session-guest")


def test_another_measurement_is_refused_by_the_policy_and_as_another_guest() -> None:
    verdict = judged(session(measurement=b"\xcd" * 48))
    refused(verdict, "measurement-mismatch")
    assert [rule.name for rule in verdict.rules if not rule.passed] == ["session-measurement", "session-guest"]


def test_evidence_of_a_processor_that_nobody_trusts_is_refused() -> None:
    stranger = Machine(simulator("stranger"))
    verdict = judged(session(machine=stranger))
    refused(verdict, "untrusted-chain", AuthenticityError)


def test_evidence_of_another_chip_of_the_same_vendor_is_refused() -> None:
    """Its guest has another report id, whatever else is the same."""
    other = Machine(simulator(), chip="another chip")
    refused(judged(session(machine=other, report_id=b"\x44" * 32)), "session-guest")


def test_a_report_that_was_altered_is_refused() -> None:
    whole = session()
    broken = whole.evidence[:-200] + bytes([whole.evidence[-200] ^ 1]) + whole.evidence[-199:]
    verdict = judged(replace(whole, evidence=broken))
    assert verdict.error is not None
    assert verdict.error.code == "bad-signature"


def test_expired_endorsements_are_refused() -> None:
    verdict = judged(session(), now=NOW + timedelta(days=365 * 60))
    assert verdict.error is not None
    assert verdict.error.code == "certificate-expired"


@given(st.binary(max_size=2000))
def test_what_is_no_evidence_is_refused_with_a_reason(data: bytes) -> None:
    verdict = judged(replace(session(), evidence=data))
    refused(verdict, verdict.error.code if verdict.error else "", MalformedError)


@given(st.lists(st.binary(max_size=60), max_size=70))
def test_digests_of_any_number_and_size_never_raise(digests: list[bytes]) -> None:
    error = judged(replace(session(), digests=tuple(digests))).error
    assert isinstance(error, EvidenceError)


def test_a_certificate_that_was_refused_stays_refused() -> None:
    expected = expect(authority=bytes(32))
    verdict = verify(issued(), HOST, expected, NOW)
    assert not verdict.accepted
    assert verify_session(verdict, session(), expected, NOW) is verdict


def test_chips_that_are_not_on_the_list_are_refused() -> None:
    """What is left against a host that diverts whole sessions to a genuine Keep of the same launch elsewhere."""
    listed = policy().simulated
    assert listed is not None
    here = replace(policy(), simulated=replace(listed, chip_id=(b"\x01" * 64,)))
    verdict = verify(issued(), HOST, replace(expect(), policy=here), NOW)
    assert isinstance(verdict.error, PolicyError)
    assert "chip-id" in [rule.name for rule in verdict.rules if not rule.passed]


# --- SEV, whose processor makes no reports: the credential of the launch signs


@pytest.fixture(scope="module")
def enrolled() -> Attested:
    return sev.keep()


def sev_session(found: Attested, *, exporter: bytes = EXPORTER, data: bytes | None = None) -> SessionEvidence:
    digests = (binding.session_digest(found.key.spki, NONCE, exporter),)
    made = found.source.attester.attest(data or binding.session_report_data(digests))
    return SessionEvidence(NONCE, EXPORTER, digests, made.report)


def sev_judged(found: Attested, given: SessionEvidence) -> Verdict:
    expected = Expectation(sevlaunches.policy(), sevlaunches.manifest().encode())
    verdict = verify(sev.issued(found), None, expected, sevlaunches.NOW)
    assert verdict.accepted, verdict.error
    return verify_session(verdict, given, expected, sevlaunches.NOW)


def test_a_sev_keep_signs_for_this_session(enrolled: Attested) -> None:
    verdict = sev_judged(enrolled, sev_session(enrolled))
    accepted(verdict)
    assert {"session-enrolment-signature", "session-binding", "session-guest"} <= {rule.name for rule in verdict.rules}


def test_what_a_sev_keep_signed_for_another_session_is_refused(enrolled: Attested) -> None:
    refused(sev_judged(enrolled, sev_session(enrolled, exporter=b"r" * 32)), "session-mismatch")


def test_what_a_sev_keep_signed_for_its_key_is_refused(enrolled: Attested) -> None:
    given = sev_session(enrolled, data=binding.report_data(enrolled.key.spki))
    refused(sev_judged(enrolled, given), "binding-mismatch", AuthenticityError)


def test_another_approved_launch_is_another_guest(enrolled: Attested) -> None:
    other = replace(sev.keep(), key=enrolled.key)
    refused(sev_judged(enrolled, sev_session(other)), "session-guest")


def test_a_report_of_another_technology_than_the_certificates_is_refused(enrolled: Attested) -> None:
    verdict = sev_judged(enrolled, replace(sev_session(enrolled), evidence=session().evidence))
    refused(verdict, "too-long", MalformedError)
    refused(judged(replace(session(), evidence=sev_session(enrolled).evidence)), "malformed", MalformedError)
