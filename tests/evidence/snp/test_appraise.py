"""Every rule of a policy: what it accepts, what it refuses, and that it names where the expectation came from."""

from __future__ import annotations

from typing import Any

import pytest

from enarx.evidence.appraisal import Appraisal
from enarx.evidence.snp import GuestPolicyRules, Policy, appraise, authenticate, parse_policy
from enarx.evidence.snp.product import Product
from enarx.evidence.snp.report import Report
from enarx.evidence.snp.semver import parse_requirement
from tests.evidence.snp.forge import NOW, Machine, Vendor

MEASUREMENT = b"\xab" * 48
D, E = b"\1" * 48, b"\2" * 48


def judged(machine: Machine, report: Report, policy: Policy) -> Appraisal:
    return appraise(authenticate(report, machine.collateral, NOW, trust=machine.vendor.trust()), policy)


def reasons(machine: Machine, expectation: Policy, /, **changes: Any) -> list[str]:
    return [rule.reason for rule in judged(machine, machine.report(**changes), expectation).failures]


def test_expected_guest_is_accepted_on_every_product(any_machine: Machine) -> None:
    assert reasons(any_machine, Policy(measurement=(MEASUREMENT,))) == []


def test_default_policy_accepts_nothing(machine: Machine) -> None:
    assert reasons(machine, Policy()) == ["measurement-not-stated"]


def test_policy_of_other_expectations_alone_accepts_nothing(machine: Machine) -> None:
    assert reasons(machine, Policy(host_data=(b"\xcd" * 32,))) == ["measurement-not-stated"]
    assert reasons(machine, Policy(measurement_deny=(D,))) == ["measurement-not-stated"]


@pytest.mark.parametrize(
    ("policy", "changes", "expected"),
    [
        (Policy(measurement=(D,)), {}, ["measurement-mismatch"]),
        (Policy(measurement=(D, MEASUREMENT)), {}, []),
        (Policy(any_measurement=True), {}, []),
        (Policy(any_measurement=True, measurement_deny=(MEASUREMENT,)), {}, ["measurement-denied"]),
        (Policy(measurement=(MEASUREMENT,), measurement_deny=(D,)), {}, []),
        (Policy(id_key_digest=(D,)), {"id_key_digest": D}, []),
        (Policy(id_key_digest=(D,)), {"id_key_digest": E}, ["id-key"]),
        (Policy(id_key_digest=(D,)), {}, ["id-key", "id-block-missing"]),
        (Policy(any_measurement=True, id_key_digest_deny=(D,)), {"id_key_digest": D}, ["id-key-denied"]),
        (Policy(author_key_digest=(D,)), {"flags": 1, "author_key_digest": D, "id_key_digest": E}, []),
        (Policy(author_key_digest=(E,)), {"flags": 1, "author_key_digest": D, "id_key_digest": E}, ["author-key"]),
        (Policy(author_key_digest=(D,)), {}, ["author-key-missing", "author-key", "id-block-missing"]),
        (Policy(author_key_digest=(D,)), {"flags": 1, "author_key_digest": D}, ["id-block-missing"]),
    ],
)
def test_launch_is_identified(policy: Policy, changes: dict[str, Any], expected: list[str], machine: Machine) -> None:
    assert reasons(machine, policy, **changes) == expected


@pytest.mark.parametrize(
    ("policy", "changes", "expected"),
    [
        ({"host_data": (b"\xcd" * 32,)}, {}, []),
        ({"host_data": (bytes(32),)}, {}, ["host-data-mismatch"]),
        ({"host_data": (bytes(32),)}, {"host_data": bytes(32)}, []),
        ({"report_data": b"report data".ljust(64, b"\0")}, {}, []),
        ({"report_data": b"report data".ljust(63, b"\0") + b"\1"}, {}, ["binding-mismatch"]),
        ({"report_data": bytes(64)}, {}, ["binding-mismatch"]),
        ({"family_id": (bytes(16),)}, {}, []),
        ({"family_id": (bytes(16),)}, {"family_id": b"\1" * 16}, ["family-id"]),
        ({"image_id": (b"\1" * 16,)}, {}, ["image-id"]),
        ({"minimum_guest_svn": 3}, {}, []),
        ({"minimum_guest_svn": 4}, {}, ["guest-svn"]),
        ({}, {"vmpl": 1}, ["vmpl"]),
        ({"vmpl": (0, 1)}, {"vmpl": 1}, []),
        ({"vmpl": (1,)}, {}, ["vmpl"]),
        ({"vmpl": ()}, {}, ["vmpl"]),
        ({"minimum_report_version": 3}, {"version": 2}, ["report-version"]),
        ({"signing_key": ("VLEK",)}, {}, ["signing-key"]),
        ({"signing_key": ("VCEK", "VLEK")}, {}, []),
        ({}, {"reserved_4c": b"\1\0\0\0"}, ["reserved-not-zero"]),
        ({"reserved": True}, {"reserved_4c": b"\1\0\0\0"}, []),
        ({}, {"policy": 0x10000}, ["reserved-not-zero"]),
    ],
)
def test_data_and_report(
    policy: dict[str, Any], changes: dict[str, Any], expected: list[str], machine: Machine
) -> None:
    assert reasons(machine, Policy(measurement=(MEASUREMENT,), **policy), **changes) == expected


@pytest.mark.parametrize(
    ("rules", "guest", "expected"),
    [
        (GuestPolicyRules(), 0x30000 | 1 << 19, ["debug-enabled"]),
        (GuestPolicyRules(debug=True), 0x30000 | 1 << 19, []),
        (GuestPolicyRules(debug=True), 0x30000, []),
        (GuestPolicyRules(), 0x30000 | 1 << 18, ["migration-allowed"]),
        (GuestPolicyRules(migration=True), 0x30000 | 1 << 18, []),
        (GuestPolicyRules(smt=False), 0x30000, ["smt-allowed"]),
        (GuestPolicyRules(smt=False), 0x20000, []),
        (GuestPolicyRules(), 0x30000 | 1 << 21, ["cxl-allowed"]),
        (GuestPolicyRules(cxl=True), 0x30000 | 1 << 21, []),
        (GuestPolicyRules(single_socket=True), 0x30000, ["single_socket"]),
        (GuestPolicyRules(single_socket=True), 0x30000 | 1 << 20, []),
        (GuestPolicyRules(aes_256_xts=True), 0x30000, ["aes_256_xts"]),
        (GuestPolicyRules(aes_256_xts=True), 0x30000 | 1 << 22, []),
        (GuestPolicyRules(rapl_disabled=True), 0x30000, ["rapl_disabled"]),
        (GuestPolicyRules(rapl_disabled=True), 0x30000 | 1 << 23, []),
        (GuestPolicyRules(ciphertext_hiding=True), 0x30000, ["ciphertext_hiding"]),
        (GuestPolicyRules(ciphertext_hiding=True), 0x30000 | 1 << 24, []),
        (GuestPolicyRules(page_swap_disabled=True), 0x30000, ["page_swap_disabled"]),
        (GuestPolicyRules(page_swap_disabled=True), 0x30000 | 1 << 25, []),
        (GuestPolicyRules(abi=parse_requirement(">=1.51")), 0x30133, []),
        (GuestPolicyRules(abi=parse_requirement(">=1.51")), 0x30132, ["abi"]),
        (GuestPolicyRules(), 0x30138, ["abi-supported"]),
        (GuestPolicyRules(), 0x30200, ["abi-supported"]),
        (GuestPolicyRules(), 0x30137, []),
        (GuestPolicyRules(exact_flags=frozenset({"SMT"})), 0x30000, []),
        (GuestPolicyRules(exact_flags=frozenset({"SMT"})), 0x30000 | 1 << 20, ["policy-flags"]),
        (GuestPolicyRules(exact_flags=frozenset({"SMT", "SingleSocket"})), 0x30000, ["policy-flags"]),
    ],
)
def test_guest_policy_bits(rules: GuestPolicyRules, guest: int, expected: list[str], machine: Machine) -> None:
    assert reasons(machine, Policy(measurement=(MEASUREMENT,), guest_policy=rules), policy=guest) == expected


@pytest.mark.parametrize(
    ("policy", "changes", "expected"),
    [
        ({"product": (Product.MILAN,)}, {}, []),
        ({"product": (Product.GENOA, Product.TURIN)}, {}, ["product"]),
        ({"platform": {"ecc": True, "tsme": False, "alias_check_complete": True}}, {}, []),
        ({"platform": {"tsme": True}}, {}, ["platform-tsme"]),
        ({"platform": {"smt": False}}, {}, ["platform-smt"]),
        ({"platform": {"iommu_write_safe": True}}, {"platform_info": 0x65}, []),
        ({"platform_exact": 1}, {"platform_info": 1}, []),
        ({"platform_exact": 1}, {}, ["platform-info-flags"]),
        ({"provisional_firmware": False}, {}, []),
        ({"provisional_firmware": False}, {"current_build": 30}, ["firmware-committed"]),
        ({"provisional_firmware": False}, {"current_tcb_raw": b"\5" + bytes(7)}, ["firmware-committed"]),
    ],
)
def test_platform(policy: dict[str, Any], changes: dict[str, Any], expected: list[str], machine: Machine) -> None:
    assert reasons(machine, Policy(measurement=(MEASUREMENT,), **policy), **changes) == expected


def test_chip_must_be_on_the_list(any_machine: Machine) -> None:
    own, other = any_machine.hardware_id, bytes(range(1, len(any_machine.hardware_id) + 1))
    assert reasons(any_machine, Policy(measurement=(MEASUREMENT,), chip_id=(other, own))) == []
    assert reasons(any_machine, Policy(measurement=(MEASUREMENT,), chip_id=(own.ljust(64, b"\0"),))) == []
    assert reasons(any_machine, Policy(measurement=(MEASUREMENT,), chip_id=(other,))) == ["chip-id"]


def test_chip_that_is_not_stated_is_on_no_list(cloud_machine: Machine) -> None:
    policy = Policy(measurement=(MEASUREMENT,), chip_id=(bytes(64),))
    assert reasons(cloud_machine, policy) == ["chip-id"]


@pytest.mark.parametrize("which", ["reported", "committed", "launch", "current"])
def test_minimum_tcb_is_judged_component_by_component(which: str, any_machine: Machine) -> None:
    product = any_machine.vendor.product
    components = product.facts.components
    raw = any_machine.report().launch_tcb_raw
    for i, name in enumerate(components):
        if name.startswith("reserved"):
            continue
        for minimum, expected in ((raw[i], []), (raw[i] + 1, ["tcb-too-old"])):
            for key in ((None, which), (product, which)):
                policy = Policy(measurement=(MEASUREMENT,), minimum_tcb={key: {name: minimum}})
                assert reasons(any_machine, policy) == expected


def test_high_component_does_not_make_up_for_a_low_one(machine: Machine) -> None:
    policy = Policy(measurement=(MEASUREMENT,), minimum_tcb={(None, "launch"): {"bootloader": 4, "snp": 24}})
    assert reasons(machine, policy, launch_tcb_raw=bytes((255, 0, 0, 0, 0, 0, 23, 255))) == ["tcb-too-old"]


def test_minimum_for_a_product_replaces_the_general_one(machine: Machine) -> None:
    floors = {(None, "reported"): {"snp": 99}, (Product.MILAN, "reported"): {"snp": 24}}
    assert reasons(machine, Policy(measurement=(MEASUREMENT,), minimum_tcb=floors)) == []
    turin = Machine(Vendor(Product.TURIN))
    assert reasons(turin, Policy(measurement=(MEASUREMENT,), minimum_tcb=floors)) == ["tcb-too-old"]


def test_component_that_the_product_lacks_is_refused_not_skipped(machine: Machine) -> None:
    policy = Policy(measurement=(MEASUREMENT,), minimum_tcb={(None, "reported"): {"fmc": 0}})
    assert reasons(machine, policy) == ["tcb-too-old"]


def test_every_rule_says_what_it_expected_and_where_from(machine: Machine) -> None:
    policy = parse_policy(f'[snp]\nmeasurement = "{D.hex()}"\n[snp.minimum_tcb.reported]\nsnp = 25\n', "policy snp")
    appraisal = judged(machine, machine.report(policy=0xB0000), policy)
    assert [rule.reason for rule in appraisal.failures] == ["measurement-mismatch", "debug-enabled", "tcb-too-old"]
    for rule in appraisal.rules:
        assert rule.expected
        assert rule.seen
        assert rule.source
    for rule in appraisal.failures:
        assert rule.hint
    assert appraisal.failures[0].source == "policy snp measurement"
    assert appraisal.failures[1].source == "built-in (policy snp may state guest_policy.debug)"
    assert appraisal.failures[2].source == "policy snp minimum_tcb.reported"


def test_expectation_that_the_policy_states_is_told_from_a_default(machine: Machine) -> None:
    stated = (
        "simulated = false\nvmpl = 0\n[snp.guest_policy]\ndebug = false\nmigration = false\nsmt = true\ncxl = false\n"
    )
    judged_always = ("root", "vmpl", "debug", "migration", "smt", "cxl")
    for text, built_in in ((stated, False), ("", True), ('policy_flags = ["SMT"]\n', None)):
        policy = parse_policy(f'[snp]\nmeasurement = "{D.hex()}"\n{text}', "policy snp")
        sources = {rule.name: rule.source for rule in judged(machine, machine.report(), policy).rules}
        for name in judged_always:
            expected = name not in ("debug", "smt") if built_in is None else built_in
            assert sources[name].startswith("built-in") is expected, name
    in_code = judged(machine, machine.report(), Policy(measurement=(MEASUREMENT,)))
    assert {rule.name: rule.source for rule in in_code.rules}["vmpl"] == "policy vmpl"
