"""What a client accepts of the chain that a Keep shows, and what it refuses, with the reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import AuthenticityError, EnarxError, MalformedError, PolicyError
from enarx.evidence import binding
from enarx.manifest import StewardPin, Workload
from enarx.tenant.client import Expectation, Verdict, verify
from enarx.tenant.keepchain import CERTIFICATE_MAX_BYTES, CHAIN_MAX
from enarx.tenant.policy import CertificateRules
from enarx.tenant.steward.ca import CertificateAuthority, load_authority, make_authority
from enarx.tenant.steward.decide import decide
from tests.evidence.snp.forge import ec_key
from tests.tenant import signed as signing
from tests.tenant.keeps import NOW, Keep, authority, judge, manifest, policy, simulator

HOST = "web.example"
RULES = CertificateRules(timedelta(hours=12), (HOST,), "example.org")
OWN_PIN = f"sha256:{authority().spki_digest.hex()}"


def issued(
    keep: Keep | None = None,
    *more: str,
    ca: CertificateAuthority | None = None,
    rules: CertificateRules = RULES,
    now: datetime = NOW,
    **changes: Any,
) -> list[bytes]:
    """The chain of a Keep that an honest Steward certified; ``changes`` are of what it was granted."""
    decision = decide((keep or Keep()).request(), judge(*more), NOW)
    assert decision.grant is not None, decision.error
    ca = ca or authority()
    return [ca.issue(replace(decision.grant, **changes), rules, now).der, ca.der]


def expect(*more: str, manifest_of: Keep | None = None, **changes: Any) -> Expectation:
    """A policy for the simulator's guests and ``web``, with the manifest of an honest Keep unless said otherwise."""
    known = (manifest_of or Keep()).manifest
    assert known is not None
    return Expectation(policy(*more), **{"manifest": known.encode()} | changes)


def accepted(verdict: Verdict) -> None:
    assert verdict.accepted, verdict.error
    assert all(rule.passed for rule in verdict.rules)


def refused(verdict: Verdict, code: str, kind: type[EnarxError] = PolicyError) -> None:
    assert verdict.error is not None
    assert (type(verdict.error), verdict.error.code) == (kind, code), verdict.error.message
    failed = [rule for rule in verdict.rules if not rule.passed]
    assert failed
    assert all(rule.hint for rule in failed)
    assert verdict.as_json()["code"] == code


def test_an_honest_keep_with_the_expected_manifest_is_accepted() -> None:
    verdict = verify(issued(), HOST, expect(), NOW)
    accepted(verdict)
    assert (verdict.simulated, verdict.authority, verdict.workload) == (True, True, "web")
    assert {"signature", "measurement", "key-binding", "manifest-binding", "manifest", "workload"} <= {
        rule.name for rule in verdict.rules
    }
    plain = verdict.as_json()
    assert (plain["accepted"], plain["error"]) == (True, None)
    assert plain["facts"]["names"] == [HOST, "spiffe://example.org/keep/web"]


def test_the_verdict_is_a_pure_function() -> None:
    chain = issued()
    assert verify(chain, HOST, expect(), NOW) == verify(chain, HOST, expect(), NOW)


# --- whose workload it is


def test_a_manifest_without_a_policy_for_workloads_is_enough() -> None:
    verdict = verify(issued(), HOST, replace(expect(), policy=policy(workload="")), NOW)
    accepted(verdict)
    assert verdict.workload == ""


def test_another_launch_than_the_manifest_says_is_refused() -> None:
    other = Keep(manifest=manifest(limits=None, allow=None, steward=StewardPin("https://other.example", OWN_PIN)))
    refused(verify(issued(), HOST, expect(manifest_of=other), NOW), "manifest-mismatch")


def test_a_launch_of_another_workload_is_refused_though_its_manifest_is_given() -> None:
    keep = Keep(manifest=manifest(workload=Workload("sha256:" + "66" * 32)))
    chain = [authority().issue(_grant_of(keep), RULES, NOW).der, authority().der]
    refused(verify(chain, HOST, expect(manifest_of=keep), NOW), "workload-mismatch")


def _grant_of(keep: Keep) -> Any:
    accepting = f'[workload.any]\ndigest = ["{keep.manifest.workload.digest}"]\n' if keep.manifest else ""
    decision = decide(keep.request(), judge(workload=accepting), NOW)
    assert decision.grant is not None
    return decision.grant


def test_a_manifest_that_the_policy_names_as_a_whole_needs_no_copy() -> None:
    digest = manifest().digest().hex()
    named = Expectation(policy(workload=f'[workload.site]\nmanifest = ["sha256:{digest}"]\n'))
    verdict = verify(issued(), HOST, named, NOW)
    accepted(verdict)
    assert (verdict.workload, verdict.authority) == ("site", False)
    other = Expectation(policy(workload=f'[workload.site]\nmanifest = ["sha256:{"00" * 32}"]\n'))
    refused(verify(issued(), HOST, other, NOW), "workload-unknown")


def test_host_data_in_the_policy_names_a_launch() -> None:
    def stated(digest: str) -> Expectation:
        text = f'host_data = ["{digest}"]\n'
        return Expectation(policy(workload=text))

    accepted(verify(issued(), HOST, stated(manifest().digest().hex()), NOW))
    refused(verify(issued(), HOST, stated("11" * 32), NOW), "host-data-mismatch")


def test_the_steward_vouches_where_the_client_trusts_its_ca() -> None:
    trusting = Expectation(policy(), authority=authority().spki_digest)
    verdict = verify(issued(), HOST, trusting, NOW)
    accepted(verdict)
    assert verdict.rules[-1].source == "the Steward, which certified it"


def test_a_launch_that_nobody_knows_is_refused() -> None:
    refused(verify(issued(), HOST, Expectation(policy()), NOW), "workload-unknown")


# --- the evidence in the certificate


def test_evidence_of_another_keep_in_the_certificate_is_refused() -> None:
    """The certificate of a Steward that was deceived, or is malicious: evidence is over the key or worth nothing."""
    theirs = Keep(key=ec_key("thief"))
    chain = issued(evidence=(binding.SNP_EVIDENCE_OID, theirs.evidence()))
    refused(verify(chain, HOST, expect(), NOW), "binding-mismatch")


def test_a_certificate_for_another_manifest_than_the_evidence_is_refused() -> None:
    refused(verify(issued(manifest_digest=bytes(32)), HOST, expect(), NOW), "manifest-mismatch")


def test_evidence_of_a_debug_keep_is_refused() -> None:
    keep = Keep(report={"policy": 0xB0000})
    chain = issued(evidence=(binding.SNP_EVIDENCE_OID, keep.evidence()))
    refused(verify(chain, HOST, expect(), NOW), "debug-enabled")


def test_simulated_evidence_is_refused_by_a_policy_that_does_not_name_it() -> None:
    strict = replace(expect(), policy=policy(vendor="another"))
    refused(verify(issued(), HOST, strict, NOW), "untrusted-chain", AuthenticityError)


def test_a_processor_that_is_revoked_is_refused() -> None:
    sim = simulator()
    listed = replace(expect(), crls=(sim.crl(int.from_bytes(b"\1", "big")),))
    accepted(verify(issued(), HOST, listed, NOW))
    serial = x509.load_der_x509_certificate(sim.ask).serial_number
    withdrawn = replace(expect(), crls=(sim.crl(serial),))
    refused(verify(issued(), HOST, withdrawn, NOW), "certificate-revoked", AuthenticityError)


def test_a_certificate_that_is_not_a_keeps_is_malformed() -> None:
    _, chain = authority().issue_service((HOST,), NOW)
    ders = [one.public_bytes(x509_der()) for one in x509.load_pem_x509_certificates(chain)]
    refused(verify(ders, HOST, expect(), NOW), "keep-certificate", MalformedError)


def x509_der() -> Any:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER


# --- who issued it, for which name, until when


def test_a_certificate_under_another_ca_is_refused() -> None:
    other = load_authority(*reversed(make_authority("Test Steward", NOW - timedelta(days=1))))
    for chain in (issued(ca=other), [issued(ca=other)[0], authority().der], issued()[:1]):
        verdict = verify(chain, HOST, expect(), NOW)
        assert verdict.error is not None
        assert verdict.error.code in ("certificate-ca", "certificate-chain")
        assert isinstance(verdict.error, AuthenticityError)


def test_a_ca_that_the_client_names_must_fit_as_well_as_the_manifests() -> None:
    refused(verify(issued(), HOST, replace(expect(), authority=bytes(32)), NOW), "certificate-ca", AuthenticityError)


@pytest.mark.parametrize("host", ["other.example", "web.example.evil.example", "127.0.0.1", "::1"])
def test_a_certificate_for_another_name_is_refused(host: str) -> None:
    refused(verify(issued(), host, expect(), NOW), "certificate-name", AuthenticityError)


def test_a_name_in_capitals_is_the_same_name() -> None:
    accepted(verify(issued(), "WEB.example", expect(), NOW))


def test_without_a_host_any_name_will_do() -> None:
    accepted(verify(issued(), None, expect(), NOW))
    only_uri = CertificateRules(timedelta(hours=1), (), "example.org")
    accepted(verify(issued(rules=only_uri), None, expect(), NOW))
    refused(verify(issued(rules=only_uri), HOST, expect(), NOW), "certificate-name", AuthenticityError)


@pytest.mark.parametrize(
    ("moment", "code"),
    [(NOW - timedelta(minutes=6), "certificate-not-yet-valid"), (NOW + timedelta(hours=13), "certificate-expired")],
)
@pytest.mark.parametrize("trusting", [True, False])
def test_a_clock_before_or_after_validity_refuses(moment: datetime, code: str, trusting: bool) -> None:
    wanted = expect() if trusting else Expectation(policy(workload=f'host_data = ["{manifest().digest().hex()}"]\n'))
    verdict = verify(issued(), HOST, wanted, moment)
    refused(verdict, code)
    assert not verdict.authority


def test_a_certificate_that_its_steward_revoked_is_refused() -> None:
    chain = issued()
    serial = f"{x509.load_der_x509_certificate(chain[0]).serial_number:032x}"
    clean = authority().revocation_list([("01", NOW)], 1, NOW)
    verdict = verify(chain, HOST, replace(expect(), crls=(clean,)), NOW)
    accepted(verdict)
    assert any(rule.seen == "not on the Steward's current list" for rule in verdict.rules)
    revoked = authority().revocation_list([(serial, NOW)], 2, NOW)
    refused(verify(chain, HOST, replace(expect(), crls=(revoked,)), NOW), "certificate-revoked", AuthenticityError)


def test_a_revocation_list_that_is_stale_or_forged_is_refused() -> None:
    stale = authority().revocation_list([], 1, NOW - timedelta(hours=25))
    verdict = verify(issued(), HOST, replace(expect(), crls=(stale,)), NOW)
    assert verdict.error is not None
    assert (verdict.error.code, verdict.error.exit_status) == ("collateral-expired", 6)
    other = load_authority(*reversed(make_authority("Test Steward", NOW - timedelta(days=1))))
    forged = other.revocation_list([], 1, NOW)
    refused(verify(issued(), HOST, replace(expect(), crls=(forged,)), NOW), "crl-signature", AuthenticityError)


# --- hostile bytes


def test_a_certificate_of_another_version_or_with_serial_0_is_malformed() -> None:
    version = bytes.fromhex("a003020102")
    honest = issued()[0]
    at = honest.index(version) + len(version)
    size = honest[at + 1]
    for odd in (
        honest.replace(version, version[:-1] + b"\x09", 1),
        honest[: at + 2] + bytes(size) + honest[at + 2 + size :],
    ):
        verdict = verify([odd, issued()[1]], HOST, expect(), NOW)
        assert isinstance(verdict.error, MalformedError)


def test_chains_are_bounded() -> None:
    one = issued()
    for shown in ([], one * CHAIN_MAX, [bytes(CERTIFICATE_MAX_BYTES + 1)], [b"junk"], [one[0][:-1], one[1]]):
        verdict = verify(shown, HOST, expect(), NOW)
        assert isinstance(verdict.error, MalformedError)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_verdict_and_never_a_traceback(data: bytes) -> None:
    assert not verify([data], HOST, _EXPECT, NOW).accepted
    assert not verify(_CHAIN, HOST, replace(_EXPECT, manifest=data), NOW).accepted
    verify(_CHAIN, HOST, replace(_EXPECT, crls=(data,)), NOW)


@given(st.integers(0, 6000), st.integers(1, 255))
def test_no_changed_byte_of_a_certificate_is_accepted(index: int, change: int) -> None:
    altered = bytearray(_CHAIN[0])
    altered[index % len(altered)] ^= change
    assert not verify([bytes(altered), _CHAIN[1]], HOST, _EXPECT, NOW).accepted


_CHAIN = issued()
_EXPECT = expect()


def test_a_policy_that_asks_who_signed_is_given_the_signature() -> None:
    keep = signing.keep()
    assert keep.manifest is not None
    chain = [authority().issue(_grant_of(keep), RULES, NOW).der, authority().der]
    expected = Expectation(policy(workload=signing.signed_by("web")), keep.manifest.encode())
    refused(verify(chain, HOST, expected, NOW), "signature-missing")
    assert not verify(chain, HOST, replace(expected, signatures=(signing.envelope("b"),)), NOW).accepted
    signed = verify(chain, HOST, replace(expected, signatures=(signing.envelope("web"),)), NOW)
    accepted(signed)
    assert signed.workload == "web"
