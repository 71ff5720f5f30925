"""SEV Keeps before their Steward and their clients: what an approval is worth there, and what it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from enarx.errors import ConfigError, EvidenceError
from enarx.evidence import binding
from enarx.evidence.reference import LaunchValue, format_reference_values
from enarx.host.sev.simulated import launch
from enarx.keep.attested import Attested, attest, attest_request
from enarx.keep.attester_enrolled import EnrolledAttester, injected_area
from enarx.keep.attester_simulated import Source
from enarx.keep.steward import Answer, accept
from enarx.tenant.client import Expectation, Verdict, verify
from enarx.tenant.policy import Policy, parse_policy
from enarx.tenant.policytables import no_files
from enarx.tenant.steward.answer import attest_answer, read_attest
from enarx.tenant.steward.decide import decide, make_judge
from enarx.tenant.steward.decision import Decision, Grant
from enarx.tenant.steward.ear import trustworthiness
from tests.tenant.sevlaunches import NOW, DirectApprover, Files, authority, manifest, platform, policy, qemu

SECRET = '[[secret]]\nname = "s"\nvalue = "v"\nworkloads = ["web"]\n'


def keep(approver: DirectApprover | None = None, handed: bytes | None = None) -> Attested:
    """A Keep of an approved launch; ``handed`` is the manifest that the host hands over."""
    launched = manifest().encode()
    area = launch(qemu(), approver or DirectApprover(), Files().contents(), launched, ())
    source = Source("simulated-secret", EnrolledAttester(injected_area(lambda: area)))
    return attest(launched if handed is None else handed, [source])


@pytest.fixture(scope="module")
def honest() -> Attested:
    return keep()


def decided(
    found: Attested, judged: Policy | None = None, *, now: datetime = NOW, ca: bytes | None = authority().spki_digest
) -> Decision:
    return decide(read_attest(attest_request(found)), make_judge(judged or policy(), authority=ca), now)


def refused(decision: Decision, code: str) -> None:
    assert decision.grant is None
    assert decision.code == code, decision.error
    assert any(not rule.passed and rule.hint for rule in decision.rules)


def granted(decision: Decision) -> Grant:
    assert decision.grant is not None, decision.error
    return decision.grant


def seen(chain: Sequence[bytes], judged: Policy, **expected: Any) -> Verdict:
    return verify(chain, None, Expectation(judged, **expected), NOW)


def issued(found: Attested) -> tuple[bytes, bytes]:
    made = authority().issue(granted(decided(found)), policy().certificate, NOW)
    return made.der, authority().der


# --- the Steward


def test_keep_of_an_approved_launch_is_granted_a_certificate(honest: Attested) -> None:
    decision = decided(honest, policy(rest=f"{SECRET}simulated = true\n"))
    grant = granted(decision)
    assert (decision.technology, decision.simulated, grant.workload) == ("sev", True, "web")
    assert grant.evidence[0] == binding.SEV_EVIDENCE_OID
    assert [one.name for one in grant.secrets] == ["s"]
    assert decision.facts["measurement"] == Files().digest()
    assert decision.facts["approved"] == NOW.isoformat()
    assert trustworthiness(decision)["hardware"] == 97


def test_keep_believes_the_answer_that_it_gets(honest: Attested) -> None:
    body = attest_answer(issued(honest), "a.b.c", ())
    found = accept(honest, Answer(200, "application/json", body), NOW)
    assert found.certified.chain == issued_like(found.certified.chain)
    other = keep()
    with pytest.raises(EvidenceError) as raised:
        accept(other, Answer(200, "application/json", body), NOW)
    assert raised.value.code == "certificate-key"


def issued_like(chain: Sequence[bytes]) -> tuple[bytes, ...]:
    leaf = x509.load_der_x509_certificate(chain[0])
    oids = {one.oid.dotted_string for one in leaf.extensions}
    assert {binding.SEV_EVIDENCE_OID, binding.MANIFEST_DIGEST_OID} <= oids
    assert binding.SNP_EVIDENCE_OID not in oids
    return tuple(chain)


def test_secrets_for_hardware_are_not_for_simulated_launches(honest: Attested) -> None:
    assert granted(decided(honest, policy(rest=SECRET))).secrets == ()


def test_certificate_never_outlives_the_approval() -> None:
    approver = DirectApprover(policy(more='approval = "2h"'))
    found = keep(approver)
    made = authority().issue(granted(decided(found)), policy().certificate, NOW)
    assert made.not_after == NOW + timedelta(hours=2)
    refused(decided(found, now=NOW + timedelta(hours=3)), "approval-expired")


def test_host_cannot_hand_over_another_manifest_than_was_approved() -> None:
    with pytest.raises(EvidenceError) as raised:
        keep(handed=manifest("sha256:" + "cd" * 32).encode())
    assert raised.value.code == "manifest-not-attested"


def test_manifest_exchanged_on_the_way_to_the_steward_is_refused(honest: Attested) -> None:
    other = manifest("sha256:" + "cd" * 32)
    lying = replace(honest, manifest=other, manifest_bytes=other.encode())
    refused(decided(lying), "manifest-mismatch")


def test_credential_for_one_key_is_of_no_use_for_another(honest: Attested) -> None:
    refused(decided(replace(honest, key=keep().key)), "binding-mismatch")


def test_approver_that_the_policy_does_not_name_is_not_believed(honest: Attested) -> None:
    pinned = f'approvers = ["sha256:{"11" * 32}"]'
    refused(decided(honest, policy(more=pinned)), "untrusted-approver")
    named = f'approvers = ["sha256:{authority().spki_digest.hex()}"]'
    assert granted(decided(honest, policy(more=named), ca=None))
    refused(decided(honest, ca=None), "untrusted-approver")


def test_launch_that_todays_policy_no_longer_accepts_gets_no_certificate(honest: Attested) -> None:
    refused(decided(honest, policy("ab" * 32)), "measurement-mismatch")
    refused(decided(honest, policy(more='minimum_api = "1.56"')), "firmware-outdated")


def test_simulated_launch_is_never_taken_for_one_of_hardware(honest: Attested) -> None:
    text = f'[sev]\nlaunch_digests = ["{Files().digest()}"]\n[workload.web]\ndigest = ["sha256:{"ab" * 32}"]\n'
    refused(decided(honest, parse_policy(text.encode(), "policy.toml", no_files)), "policy-no-table")


def test_request_without_a_manifest_is_refused(honest: Attested) -> None:
    request = read_attest(attest_request(honest))
    bare = replace(request, csr=_without_manifest(honest), manifest=None, compatible=True)
    unlisted = replace(policy(), workloads=())
    refused(decide(bare, make_judge(unlisted, authority=authority().spki_digest), NOW), "manifest-missing")


def _without_manifest(found: Attested) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(binding.SEV_EVIDENCE_OID), found.evidence.report)
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(extension, critical=False)
    return builder.sign(found.key.private, hashes.SHA384()).public_bytes(Encoding.DER)


# --- the client


def test_client_verifies_the_launch_again(honest: Attested) -> None:
    verdict = seen(issued(honest), policy(), authority=authority().spki_digest)
    assert verdict.accepted, verdict.error
    assert verdict.simulated
    assert verdict.facts["measurement"] == Files().digest()


def test_client_with_the_manifest_needs_no_other_word(honest: Attested) -> None:
    verdict = seen(issued(honest), policy(), manifest=manifest().encode())
    assert verdict.accepted, verdict.error
    assert verdict.workload == "web"


def test_client_refuses_what_its_own_policy_does(honest: Attested) -> None:
    for judged, given, code in (
        (policy("ab" * 32), authority().spki_digest, "measurement-mismatch"),
        (policy(), None, "untrusted-approver"),
        (policy(), b"\x01" * 32, "untrusted-approver"),
    ):
        verdict = seen(issued(honest), judged, authority=given)
        assert verdict.error is not None
        assert verdict.error.code == code


# --- the policy


def test_policy_may_include_the_reference_values_of_an_image() -> None:
    digest = Files().digest()
    values = [LaunchValue("sev-es", bytes.fromhex(digest), "EPYC-v4", 1), LaunchValue("snp", b"\x01" * 48, "EPYC", 1)]
    files = {"values.toml": format_reference_values(values, "test"), "sev.root": platform().root}
    text = '[simulated_sev]\nroot = "sev.root"\ninclude = "values.toml"\n'
    found = parse_policy(text.encode(), "policy.toml", lambda name, limit, private: files[name])
    assert found.simulated_sev is not None
    assert found.simulated_sev.policy.launch_digests == {bytes.fromhex(digest)}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[sev]\n", "sev-policy-digest"),
        ("[sev]\nlaunch_digests = []\n", "sev-policy-digest"),
        ('[sev]\nlaunch_digests = "ab"\n', "config-value"),
        ('[sev]\nlaunch_digests = ["zz"]\n', "config-value"),
        (f'[sev]\nlaunch_digests = ["{"ab" * 48}"]\n', "sev-policy-digest"),
        ('[sev]\nmisspelt = 1\nlaunch_digests = ["aa"]\n', "config-unknown-key"),
        (f'[sev]\nroot = "x"\nlaunch_digests = ["{"ab" * 32}"]\n', "policy-value"),
        (f'[simulated_sev]\nlaunch_digests = ["{"ab" * 32}"]\n', "policy-value"),
        (f'[simulated_sev]\nroot = "bad"\nlaunch_digests = ["{"ab" * 32}"]\n', "simulated-root"),
        (f'[sev]\napprovers = ["11"]\nlaunch_digests = ["{"ab" * 32}"]\n', "policy-value"),
        (f'[sev]\napproval = "9000h"\nlaunch_digests = ["{"ab" * 32}"]\n', "policy-value"),
        ('[sev]\ninclude = "bad"\n', "reference-syntax"),
        ('[sev]\ninclude = "empty"\n', "reference-value"),
        ("[sev]\ninclude = []\n", "policy-include"),
        ("[sev]\ninclude = [3]\n", "policy-include"),
        ("sev = 3\n", "config-type"),
    ],
)
def test_table_that_is_wrong_is_refused_and_says_where(text: str, code: str) -> None:
    def read(name: str, limit: int, private: bool) -> bytes:
        return {"bad": b"\xff\xfe", "empty": b"[snp]\n"}[name]

    with pytest.raises(ConfigError) as raised:
        parse_policy(text.encode(), "policy.toml", read)
    assert raised.value.code == code, raised.value.message
    assert raised.value.message.startswith("policy.toml:")
