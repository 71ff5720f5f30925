"""Which requests are granted and which refused, with the reason; the attacks by name."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from enarx.evidence import binding
from enarx.manifest import ManifestFile, StewardPin, Workload
from enarx.sealing import SEALING_KEY_BYTES, SEALING_KEY_OID
from enarx.tenant.policy import parse_policy
from enarx.tenant.policytables import no_files
from enarx.tenant.steward.decide import decide, make_judge
from enarx.tenant.steward.decision import Decision, Request
from tests.evidence.snp.forge import LONG_AGO, Machine, Vendor, ec_key, extension, spki
from tests.tenant.keeps import (
    MEASUREMENT,
    NOW,
    WEB,
    Keep,
    hardware_judge,
    judge,
    machine,
    make_csr,
    manifest,
    policy_text,
    simulator,
)

KVM = binding.KVM_EVIDENCE_OID
SNP = binding.SNP_EVIDENCE_OID


def decided(keep: Keep, *more: str, now: datetime = NOW, **changes: Any) -> Decision:
    return decide(keep.request(), judge(*more, **changes), now)


def refused(decision: Decision, code: str) -> None:
    assert decision.grant is None
    assert decision.error is not None
    assert decision.code == code, decision.error.message
    failed = [rule for rule in decision.rules if not rule.passed]
    assert failed, "a refusal without a failed rule explains nothing"
    assert all(rule.hint for rule in failed)


def test_an_honest_keep_is_granted_a_certificate() -> None:
    decision = decided(Keep())
    assert decision.accepted
    assert decision.grant is not None
    assert decision.grant.workload == "web"
    assert decision.simulated
    assert decision.facts["measurement"] == MEASUREMENT
    assert {
        "request-signature",
        "signature",
        "measurement",
        "key-binding",
        "manifest-binding",
        "steward",
        "workload",
    } <= {rule.name for rule in decision.rules}


def test_the_decision_is_a_pure_function() -> None:
    request, ready = Keep().request(), judge()
    first, second = decide(request, ready, NOW), decide(request, ready, NOW)
    assert first.rules == second.rules
    assert first.facts == second.facts


def test_a_manifest_changed_after_launch_is_refused() -> None:
    keep = Keep(report={"host_data": manifest(args=("--other",)).digest()})
    refused(decided(keep), "manifest-mismatch")


def test_a_manifest_beside_the_csr_must_be_the_one_in_it() -> None:
    keep = Keep()
    other = manifest(args=("x",)).encode()
    refused(decide(keep.request(manifest=other), judge(), NOW), "manifest-mismatch")


def test_a_package_swapped_by_the_host_is_refused() -> None:
    keep = Keep(manifest=manifest(workload=Workload("sha256:" + "66" * 32)))
    refused(decided(keep), "workload-mismatch")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"args": ("--evil",)}, "args-mismatch"),
        ({"env": (("LD_PRELOAD", "x"),)}, "env-mismatch"),
        ({"config": "sha256:" + "77" * 32}, "config-mismatch"),
        ({"files": (ManifestFile("layer", "/etc/x", "sha256:" + "78" * 32),)}, "files-mismatch"),
    ],
)
def test_what_the_policy_does_not_name_must_be_absent_from_the_manifest(changes: dict[str, Any], code: str) -> None:
    refused(decided(Keep(manifest=manifest(**changes))), code)


def test_what_the_policy_names_may_be_in_the_manifest() -> None:
    config, layer = "sha256:" + "77" * 32, "sha256:" + "78" * 32
    keep = Keep(
        manifest=manifest(args=("-v",), env=(("A", "b"),), config=config, files=(ManifestFile("layer", "/l", layer),))
    )
    named = f'[workload.web]\ndigest=["{WEB}"]\nargs=["-v"]\nconfig=["{config}"]\nfiles=["{layer}"]\nenv={{A="b"}}\n'
    waived = f'[workload.web]\ndigest=["{WEB}"]\nargs="any"\nconfig="any"\nfiles="any"\nenv="any"\n'
    whole = f'[workload.web]\nmanifest=["sha256:{keep.manifest.digest().hex()}"]\n' if keep.manifest else ""
    for workload in (
        named,
        waived,
        whole,
        '[workload.web]\ndigest="any"\nargs="any"\nconfig="any"\nfiles="any"\nenv="any"',
    ):
        assert decided(keep, workload=workload).accepted


def test_evidence_replayed_with_a_new_key_is_refused() -> None:
    evidence = Keep().evidence()
    thief = Keep(key=ec_key("thief"))
    csr = make_csr(thief.key, [extension(SNP, evidence), thief.extensions()[1]])
    refused(decide(Request(csr), judge(), NOW), "binding-mismatch")


def test_published_evidence_with_a_key_of_our_own_fails_only_by_its_binding(vectors: Path) -> None:
    """A genuine AMD report: everything else about it is believed, at its time."""
    report = (vectors / "snp" / "milan-v2-virtee.report.bin").read_bytes()
    vcek = (vectors / "snp" / "milan-v2-virtee.vcek.der").read_bytes()
    crl = (vectors / "snp" / "trust" / "crl-milan-2022.der").read_bytes()
    evidence = binding.snp_evidence(report, vcek, [("https://kdsintf.amd.com/vcek/v1/Milan/crl", crl)])
    csr = make_csr(ec_key("keep"), [extension(SNP, evidence)])
    text = '[snp]\nmeasurement = "any"\n'
    decision = decide(
        Request(csr, compatible=True),
        make_judge(parse_policy(text.encode(), "p", no_files)),
        datetime(2023, 5, 3, 19, 23, 43, tzinfo=UTC),
    )
    refused(decision, "binding-mismatch")
    assert [rule.name for rule in decision.rules if not rule.passed] == ["key-binding"]
    assert decision.facts["root"] == "ARK-Milan"


def test_a_request_without_a_current_revocation_list_is_refused_in_the_published_form() -> None:
    vendor = Vendor()
    text = f'[snp]\nmeasurement = ["{MEASUREMENT}"]\n'
    bare = Keep(machine=Machine(vendor), manifest=None)
    refused(decide(bare.request(), hardware_judge(text, vendor), NOW), "crl-missing")
    listed = Keep(machine=Machine(vendor), manifest=None, crls=[vendor.crl()])
    decision = decide(listed.request(), hardware_judge(text, vendor), NOW)
    assert decision.accepted
    assert not decision.simulated
    assert decision.grant is not None
    assert decision.grant.workload == ""


def test_a_bare_guest_must_launch_with_nothing_of_the_hosts() -> None:
    vendor = Vendor()
    text = f'[snp]\nmeasurement = ["{MEASUREMENT}"]\n'
    keep = Keep(machine=Machine(vendor), manifest=None, crls=[vendor.crl()], report={"host_data": b"\1" * 32})
    refused(decide(keep.request(), hardware_judge(text, vendor), NOW), "host-data-mismatch")
    stated = text + f'host_data = ["{"01" * 32}"]\n'
    assert decide(keep.request(), hardware_judge(stated, vendor), NOW).accepted
    family = replace(keep, report={"family_id": b"\2" * 16})
    refused(decide(family.request(), hardware_judge(text, vendor), NOW), "family-id-mismatch")


def test_a_bare_request_is_refused_where_workloads_are_named_and_on_the_new_route() -> None:
    vendor = Vendor()
    keep = Keep(machine=Machine(vendor), manifest=None, crls=[vendor.crl()])
    text = f'[snp]\nmeasurement = ["{MEASUREMENT}"]\n'
    named = text + f'[workload.web]\ndigest = ["{WEB}"]\n'
    refused(decide(keep.request(), hardware_judge(named, vendor), NOW), "manifest-missing")
    refused(decide(keep.request(compatible=False), hardware_judge(text, vendor), NOW), "manifest-missing")


def test_evidence_of_a_debug_keep_is_refused_unless_named() -> None:
    keep = Keep(report={"policy": 0xB0000})
    refused(decided(keep), "debug-enabled")
    allowed = policy_text().replace("[workload.web]", "[simulated.guest_policy]\ndebug = true\n[workload.web]")
    assert decide(keep.request(), make_judge(parse_policy(allowed.encode(), "p", no_files)), NOW).accepted


def test_an_old_tcb_is_refused() -> None:
    floor = "[simulated.minimum_tcb.reported]\nsnp = 25\n[workload.web]"
    text = policy_text().replace("[workload.web]", floor)
    decision = decide(Keep().request(), make_judge(parse_policy(text.encode(), "p", no_files)), NOW)
    refused(decision, next(rule.reason for rule in decision.rules if not rule.passed))
    assert any("tcb" in rule.name for rule in decision.rules if not rule.passed)


def test_simulated_evidence_sent_to_a_policy_that_does_not_name_it_is_refused() -> None:
    text = f'[snp]\nmeasurement = ["{MEASUREMENT}"]\n[workload.web]\ndigest = ["{WEB}"]\n'
    refused(decide(Keep().request(), make_judge(parse_policy(text.encode(), "p", no_files)), NOW), "untrusted-chain")


def test_another_simulators_evidence_is_refused() -> None:
    other = Keep(machine=machine("another"))
    refused(decide(other.request(), judge(), NOW), "untrusted-chain")
    brought = other.request(chain=(simulator("another").ask, simulator("another").ark))
    refused(decide(brought, judge(), NOW), "untrusted-chain")


def test_hardware_is_refused_by_a_policy_for_simulators_alone() -> None:
    vendor = Vendor()
    keep = Keep(machine=Machine(vendor))
    refused(decide(keep.request(), hardware_judge(policy_text(), vendor), NOW), "policy-no-table")


def test_a_revoked_endorsement_is_refused() -> None:
    sim = simulator()
    plan = replace(machine().plan, serial=77)
    keep = Keep(vcek=machine().endorse(plan), crls=[sim.crl(77)])
    refused(decided(keep), "certificate-revoked")


@pytest.mark.parametrize(
    ("moment", "code"),
    [(LONG_AGO - timedelta(days=1), "certificate-not-yet-valid"), (NOW.replace(year=2046), "certificate-expired")],
)
def test_a_clock_before_or_after_validity_refuses(moment: datetime, code: str) -> None:
    refused(decided(Keep(), now=moment), code)


def test_a_stale_revocation_list_is_refused() -> None:
    keep = Keep(crls=[simulator().crl()])
    assert decided(keep).accepted
    refused(decided(keep, now=datetime(2027, 2, 1, tzinfo=UTC)), "collateral-expired")


def test_a_manifest_for_another_steward_is_refused() -> None:
    other = StewardPin("https://other.example", "sha256:" + "12" * 32)
    refused(decided(Keep(manifest=manifest(steward=other))), "steward-mismatch")
    refused(decided(Keep(manifest=manifest(steward=None))), "steward-mismatch")


def test_a_csr_with_two_evidence_extensions_is_refused() -> None:
    keep = Keep()
    twice = make_csr(keep.key, [keep.extensions()[0], *keep.extensions()])
    refused(decide(Request(twice), judge(), NOW), "duplicate-extension")
    kinds = make_csr(keep.key, [extension(KVM, b""), *keep.extensions()])
    refused(decide(Request(kinds), judge(), NOW), "duplicate-extension")


def test_a_csr_with_trailing_bytes_is_refused() -> None:
    refused(decide(Request(Keep().csr() + b"\0"), judge(), NOW), "malformed")


def test_a_csr_of_10_megabytes_is_refused() -> None:
    keep = Keep()
    huge = make_csr(keep.key, [extension(SNP, bytes(10_000_000))])
    refused(decide(Request(huge), judge(), NOW), "too-long")


def test_a_csr_that_is_not_signed_by_its_key_is_refused() -> None:
    keep = Keep()
    stolen = make_csr(ec_key("thief"), keep.extensions(), public_key=spki(keep.key))
    refused(decide(Request(stolen), judge(), NOW), "request-signature")


def test_a_critical_or_unknown_extension_is_refused() -> None:
    keep = Keep()
    evidence, _ = keep.extensions()
    critical = make_csr(keep.key, [(evidence[0], True, evidence[2])])
    refused(decide(Request(critical, compatible=True), judge(), NOW), "unsupported-extension")
    unknown = make_csr(keep.key, [evidence, extension("1.2.3.4", b"")])
    refused(decide(Request(unknown, compatible=True), judge(), NOW), "unsupported-extension")


def test_no_evidence_is_refused() -> None:
    refused(decide(Request(make_csr(ec_key("keep"), [])), judge(), NOW), "evidence-missing")


def test_kvm_is_refused_unless_the_policy_says_so_in_words() -> None:
    key = ec.derive_private_key(7, ec.SECP256R1())
    request = Request(make_csr(key, [extension(KVM, b"")]), compatible=True)

    def empty(text: str, one: Request = request) -> Decision:
        return decide(one, make_judge(parse_policy(text.encode(), "p", no_files)), NOW)

    refused(empty(""), "kvm-not-accepted")
    assert empty("[debug]\nkvm = true\n").accepted
    refused(empty("[debug]\nkvm = true\n", replace(request, compatible=False)), "manifest-missing")
    filled = Request(make_csr(key, [extension(KVM, b"x")]), compatible=True)
    refused(empty("[debug]\nkvm = true\n", filled), "malformed")


@pytest.mark.parametrize(("oid", "name"), [(binding.SGX_EVIDENCE_OID, "sgx"), (binding.TDX_EVIDENCE_OID, "tdx")])
def test_evidence_that_cannot_be_verified_yet_is_refused_by_name(oid: str, name: str) -> None:
    request = Request(make_csr(ec_key("keep"), [extension(oid, b"x")]), compatible=True)
    for policy in (b"", b"[debug]\nkvm = true\n"):
        decision = decide(request, make_judge(parse_policy(policy, "p", no_files)), NOW)
        refused(decision, "technology-unsupported")
        assert decision.technology == name
        assert decision.error is not None and name.upper() in decision.error.message


def test_an_empty_policy_accepts_no_hardware() -> None:
    vendor = Vendor()
    keep = Keep(machine=Machine(vendor), manifest=None, crls=[vendor.crl()])
    refused(decide(keep.request(), hardware_judge("", vendor), NOW), "policy-no-table")


def test_secrets_are_released_to_their_workload_and_to_simulators_only_when_named() -> None:
    secrets = '[[secret]]\nname="a"\nvalue="1"\nworkloads=["web"]\nsimulated=true\n'
    secrets += '[[secret]]\nname="b"\nvalue="2"\nworkloads=["web"]\n'
    secrets += '[[secret]]\nname="c"\nvalue="3"\nworkloads=["db"]\nsimulated=true\n'
    workloads = f'[workload.web]\ndigest=["{WEB}"]\n[workload.db]\ndigest=["sha256:{"55" * 32}"]\n'
    decision = decided(Keep(), secrets, workload=workloads)
    assert decision.grant is not None
    assert [one.name for one in decision.grant.secrets] == ["a"]


def test_a_sealing_key_is_granted_as_it_was_asked_for_and_has_its_size() -> None:
    key = bytes(range(256)) * 6 + bytes(32)
    assert len(key) == SEALING_KEY_BYTES
    decision = decided(Keep(sealing=key))
    assert decision.grant is not None
    assert decision.grant.sealing_key == key
    for wrong in (b"", key[:-1], key + b"\0"):
        refused(decided(Keep(sealing=wrong)), "malformed")
    alone = make_csr(ec_key("keep"), [extension(SEALING_KEY_OID, b"\x04\0")])
    refused(decide(Request(alone), judge(), NOW), "evidence-missing")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_decision_and_never_a_traceback(data: bytes) -> None:
    assert not decide(Request(data), judge(), NOW).accepted


@given(st.integers(0, 6000), st.integers(1, 255))
def test_no_changed_byte_of_a_request_is_accepted(index: int, change: int) -> None:
    honest = _honest_csr()
    altered = bytearray(honest)
    altered[index % len(honest)] ^= change
    assert not decide(Request(bytes(altered)), _JUDGE, NOW).accepted


_CSR: list[bytes] = []
_JUDGE = judge()


def _honest_csr() -> bytes:
    if not _CSR:
        _CSR.append(Keep().csr())
    return _CSR[0]
