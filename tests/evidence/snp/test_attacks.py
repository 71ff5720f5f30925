"""Attacks on the verifier, each stopped by the check that is meant to stop it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from enarx.errors import AuthenticityError, CollateralError, EvidenceError, MalformedError
from enarx.evidence import der
from enarx.evidence.snp import AMD, Collateral, GuestPolicyRules, Policy, Trust, appraise, authenticate, parse
from enarx.evidence.snp.endorsement import OID_CSP_ID, OID_HARDWARE_ID, OID_PRODUCT_NAME, OID_STRUCT_VERSION, tcb_oids
from enarx.evidence.snp.product import Product
from enarx.evidence.snp.report import Report
from enarx.evidence.snp.roots import AMD_ROOTS, amd_name
from tests.evidence.snp.forge import (
    FAR_OFF,
    LONG_AGO,
    NOW,
    Machine,
    Vendor,
    extension,
    make_crl,
    text_value,
)


def refused(
    report: Report, collateral: Collateral, trust: Trust, now: datetime = NOW, *, require_crl: bool = False
) -> EvidenceError:
    with pytest.raises(EvidenceError) as caught:
        authenticate(report, collateral, now, trust=trust, require_crl=require_crl)
    return caught.value


def test_honest_machines_of_every_product_are_authentic(any_machine: Machine) -> None:
    authentic = authenticate(any_machine.report(), any_machine.collateral, NOW, trust=any_machine.vendor.trust())
    assert authentic.proof.product == any_machine.vendor.product.value
    assert authentic.proof.signer == "VCEK"


def test_vcek_verifies_with_no_chain_at_hand(any_machine: Machine) -> None:
    alone = Collateral(any_machine.certificate)
    assert authenticate(any_machine.report(), alone, NOW, trust=any_machine.vendor.trust()).proof.signer == "VCEK"


def test_vlek_machine_is_authentic_by_its_own_chain(cloud_machine: Machine) -> None:
    trust = cloud_machine.vendor.trust()
    assert authenticate(cloud_machine.report(), cloud_machine.collateral, NOW, trust=trust).proof.signer == "VLEK"
    alone = Collateral(cloud_machine.certificate)
    assert authenticate(cloud_machine.report(), alone, NOW, trust=trust).proof.signer == "VLEK"


# Roots and chains


def test_self_made_root_is_refused_by_amds(machine: Machine) -> None:
    for collateral in (machine.collateral, Collateral(machine.certificate)):
        error = refused(machine.report(), collateral, AMD)
        assert isinstance(error, AuthenticityError)
        assert error.code in ("untrusted-chain", "bad-signature")
    assert refused(machine.report(), machine.collateral, AMD).code == "untrusted-chain"


def test_self_made_root_under_the_same_name_is_refused(machine: Machine) -> None:
    impostor = Machine(Vendor(name="impostor"))
    error = refused(impostor.report(), impostor.collateral, machine.vendor.trust())
    assert error.code == "untrusted-chain"
    assert "self-made" in error.message


def test_self_made_intermediate_below_the_true_root_is_refused(machine: Machine) -> None:
    vendor, impostor = machine.vendor, Vendor(name="impostor")
    forged = Machine(impostor)
    chain = (impostor.ask, vendor.ark)
    assert refused(forged.report(), Collateral(forged.certificate, chain), vendor.trust()).code == "bad-signature"


def test_vcek_of_an_impostor_is_refused_without_a_chain(machine: Machine) -> None:
    forged = Machine(Vendor(name="impostor"))
    assert refused(forged.report(), Collateral(forged.certificate), machine.vendor.trust()).code == "bad-signature"


def test_chain_without_the_issuer_is_refused_even_if_the_root_knows_it(machine: Machine) -> None:
    vendor = machine.vendor
    for chain in ((vendor.ark,), (vendor.asvk, vendor.ark), (machine.certificate,)):
        error = refused(machine.report(), Collateral(machine.certificate, chain), vendor.trust())
        assert error.code == "untrusted-chain"


def test_endorsement_that_the_root_itself_issued_is_refused(machine: Machine) -> None:
    vendor = machine.vendor
    direct = replace(machine.plan, issuer=vendor.ark_name).sign(vendor.ark_key)
    for chain in ((), (vendor.ark,), (vendor.ask, vendor.ark)):
        assert refused(machine.report(), Collateral(direct, chain), vendor.trust()).code == "untrusted-chain"


def test_wrong_product_chain_is_refused(machine: Machine) -> None:
    genoa = Vendor(Product.GENOA)
    trust = Trust((machine.vendor.root, genoa.root))
    error = refused(machine.report(), Collateral(machine.certificate, (genoa.ask, genoa.ark)), trust)
    assert error.code == "untrusted-chain"


def test_certificate_for_another_product_under_this_root_is_refused(machine: Machine) -> None:
    plan = machine.plan.having(OID_PRODUCT_NAME, text_value("Genoa"))
    collateral = replace(machine.collateral, endorsement=machine.endorse(plan))
    assert refused(machine.report(), collateral, machine.vendor.trust()).code == "product-mismatch"


def test_report_of_another_product_is_refused(machine: Machine) -> None:
    genoa = machine.report(cpuid_model=0x11)
    assert refused(genoa, machine.collateral, machine.vendor.trust()).code == "product-mismatch"
    unknown = machine.report(cpuid_family=0x1B)
    assert refused(unknown, machine.collateral, machine.vendor.trust()).code == "product-mismatch"


def test_version_2_report_cannot_come_from_turin() -> None:
    turin = Machine(Vendor(Product.TURIN))
    report = turin.report(version=2)
    assert refused(report, turin.collateral, turin.vendor.trust()).code == "product-mismatch"


def test_vlek_issued_by_the_ask_is_refused(machine: Machine) -> None:
    cloud = Machine(machine.vendor, vlek=True)
    crossed = replace(cloud.plan, issuer=machine.vendor.ask_name).sign(machine.vendor.ask_key)
    for chain in ((), machine.collateral.chain):
        error = refused(cloud.report(), Collateral(crossed, chain), machine.vendor.trust())
        assert error.code == "untrusted-chain"


def test_vcek_issued_by_the_asvk_is_refused(machine: Machine) -> None:
    vendor = machine.vendor
    crossed = replace(machine.plan, issuer=vendor.asvk_name).sign(vendor.asvk_key)
    for chain in ((), (vendor.asvk, vendor.ark)):
        assert refused(machine.report(), Collateral(crossed, chain), vendor.trust()).code == "untrusted-chain"


def test_vcek_cannot_act_as_an_authority(machine: Machine) -> None:
    """A chain of ARK, ASK, and an 'ASK' that is an end certificate."""
    vendor = machine.vendor
    end = replace(vendor.ask_plan, extensions=()).sign(vendor.ark_key)
    error = refused(machine.report(), Collateral(machine.certificate, (end, vendor.ark)), vendor.trust())
    assert error.code == "untrusted-chain"
    no_signing = vendor.ask_plan.having("2.5.29.15", bytes.fromhex("03020780"), critical=True).sign(vendor.ark_key)
    error = refused(machine.report(), Collateral(machine.certificate, (no_signing, vendor.ark)), vendor.trust())
    assert error.code == "untrusted-chain"


def test_critical_extension_that_is_not_understood_is_refused(machine: Machine) -> None:
    plan = machine.plan.having("1.2.3.4", b"\x05\x00", critical=True)
    collateral = replace(machine.collateral, endorsement=machine.endorse(plan))
    assert refused(machine.report(), collateral, machine.vendor.trust()).code == "unsupported-extension"
    harmless = machine.endorse(machine.plan.having("1.2.3.4", b"\x05\x00"))
    authenticate(machine.report(), replace(machine.collateral, endorsement=harmless), NOW, trust=machine.vendor.trust())


def test_ask_given_as_the_endorsement_is_refused(machine: Machine) -> None:
    vendor = machine.vendor
    error = refused(machine.report(), Collateral(vendor.ask, (vendor.ask, vendor.ark)), vendor.trust())
    assert error.code == "untrusted-chain"


# The report's signature


def test_vcek_of_another_chip_is_refused(machine: Machine) -> None:
    other = Machine(machine.vendor, chip="another chip")
    assert refused(machine.report(), other.collateral, machine.vendor.trust()).code == "bad-signature"


def test_certificate_of_this_key_for_another_chip_is_refused(machine: Machine) -> None:
    plan = machine.plan.having(OID_HARDWARE_ID, bytes(range(64)))
    collateral = replace(machine.collateral, endorsement=machine.endorse(plan))
    assert refused(machine.report(), collateral, machine.vendor.trust()).code == "chip-id-mismatch"


def test_turin_chip_id_with_something_behind_its_eight_bytes_is_refused() -> None:
    turin = Machine(Vendor(Product.TURIN))
    chip = turin.hardware_id.ljust(63, b"\0") + b"\1"
    assert refused(turin.report(chip_id=chip), turin.collateral, turin.vendor.trust()).code == "chip-id-mismatch"


def test_masked_chip_id_is_not_taken_for_the_certificates_chip(machine: Machine) -> None:
    report = machine.report(chip_id=bytes(64))
    assert refused(report, machine.collateral, machine.vendor.trust()).code == "chip-id-masked"


def test_all_zero_hardware_id_is_not_taken_for_a_masked_chip(machine: Machine) -> None:
    plan = machine.plan.having(OID_HARDWARE_ID, bytes(64))
    collateral = replace(machine.collateral, endorsement=machine.endorse(plan))
    assert refused(machine.report(), collateral, machine.vendor.trust()).code == "chip-id-mismatch"


@pytest.mark.parametrize("component", range(8))
def test_certificate_of_an_older_tcb_is_refused_in_every_component(component: int, any_machine: Machine) -> None:
    product = any_machine.vendor.product
    newer = bytearray(any_machine.report().reported_tcb_raw)
    newer[component] += 1
    report = any_machine.report(reported_tcb_raw=bytes(newer))
    assert refused(report, any_machine.collateral, any_machine.vendor.trust()).code == "tcb-mismatch"
    plan = any_machine.plan.having(tcb_oids(product)[component], der.encode_natural(newer[component]))
    collateral = replace(any_machine.collateral, endorsement=any_machine.endorse(plan))
    authenticate(report, collateral, NOW, trust=any_machine.vendor.trust())


@pytest.mark.parametrize(
    "oid", [OID_STRUCT_VERSION, OID_PRODUCT_NAME, OID_HARDWARE_ID, *tcb_oids(Product.MILAN)], ids=str
)
def test_vcek_without_an_expected_extension_is_refused(oid: str, machine: Machine) -> None:
    collateral = replace(machine.collateral, endorsement=machine.endorse(machine.plan.without(oid)))
    error = refused(machine.report(), collateral, machine.vendor.trust())
    assert error.code == "missing-extension"
    assert oid in error.message


def test_vlek_without_its_provider_is_refused(cloud_machine: Machine) -> None:
    collateral = replace(
        cloud_machine.collateral, endorsement=cloud_machine.endorse(cloud_machine.plan.without(OID_CSP_ID))
    )
    assert refused(cloud_machine.report(), collateral, cloud_machine.vendor.trust()).code == "missing-extension"


def test_turin_certificate_without_fmc_is_refused() -> None:
    turin = Machine(Vendor(Product.TURIN))
    plan = turin.plan.without(tcb_oids(Product.TURIN)[0])
    collateral = replace(turin.collateral, endorsement=turin.endorse(plan))
    assert refused(turin.report(), collateral, turin.vendor.trust()).code == "missing-extension"


def test_swapped_r_and_s_are_refused(machine: Machine) -> None:
    report = machine.report()
    swapped = replace(report, signature_r=report.signature_s, signature_s=report.signature_r)
    assert refused(swapped, machine.collateral, machine.vendor.trust()).code == "bad-signature"


def test_big_endian_r_and_s_are_refused(machine: Machine) -> None:
    report = machine.report()
    turned = replace(
        report,
        signature_r=report.signature_r[47::-1].ljust(72, b"\0"),
        signature_s=report.signature_s[47::-1].ljust(72, b"\0"),
    )
    assert refused(turned, machine.collateral, machine.vendor.trust()).code == "bad-signature"


@pytest.mark.parametrize("r", [0, 1, 2**384 - 1])
@pytest.mark.parametrize("s", [0, 1, 2**384 - 1])
def test_degenerate_signatures_are_refused(r: int, s: int, machine: Machine) -> None:
    report = replace(machine.report(), signature_r=r.to_bytes(72, "little"), signature_s=s.to_bytes(72, "little"))
    assert refused(report, machine.collateral, machine.vendor.trust()).code == "bad-signature"


def test_unsigned_bytes_cannot_carry_anything(machine: Machine) -> None:
    report = machine.report()
    for changed in (
        replace(report, signature_r=report.signature_r[:71] + b"\1"),
        replace(report, signature_s=report.signature_s[:48] + b"\1" + bytes(23)),
        replace(report, reserved_330=bytes(367) + b"\1"),
    ):
        error = refused(changed, machine.collateral, machine.vendor.trust())
        assert error.code == "bad-signature"


def test_unknown_signature_algorithm_is_refused(machine: Machine) -> None:
    for algorithm in (0, 2, 3, 0xFFFFFFFF):
        report = machine.report(signature_algorithm=algorithm)
        assert refused(report, machine.collateral, machine.vendor.trust()).code == "unsupported-algorithm"


@pytest.mark.parametrize(
    ("flags", "code"), [(7 << 2, "report-not-signed"), (2 << 2, "signing-key"), (2, "chip-key-masked")]
)
def test_report_that_says_it_is_not_signed_by_a_known_key_is_refused(flags: int, code: str, machine: Machine) -> None:
    assert refused(machine.report(flags=flags), machine.collateral, machine.vendor.trust()).code == code


def test_masked_chip_key_does_not_matter_to_a_vlek(cloud_machine: Machine) -> None:
    authenticate(cloud_machine.report(flags=6), cloud_machine.collateral, NOW, trust=cloud_machine.vendor.trust())


def test_vcek_report_with_a_vlek_certificate_is_refused(machine: Machine, cloud_machine: Machine) -> None:
    error = refused(machine.report(), cloud_machine.collateral, machine.vendor.trust())
    assert error.code == "wrong-endorsement"
    error = refused(cloud_machine.report(), machine.collateral, machine.vendor.trust())
    assert error.code == "wrong-endorsement"


def test_all_zero_measurement_is_refused(machine: Machine) -> None:
    report = machine.report(measurement=bytes(48))
    assert refused(report, machine.collateral, machine.vendor.trust()).code == "measurement-zero"


def test_author_key_that_is_and_is_not_there_is_refused(machine: Machine) -> None:
    for report in (machine.report(flags=1), machine.report(author_key_digest=b"\1" * 48)):
        error = refused(report, machine.collateral, machine.vendor.trust())
        assert error.code == "author-key-inconsistent"


@pytest.mark.parametrize("change", [-1184, -1, 1, 1184])
def test_truncated_and_over_long_reports_do_not_parse(change: int, machine: Machine) -> None:
    encoded = machine.report_bytes()
    with pytest.raises(MalformedError):
        parse(encoded[:change] if change < 0 else encoded + bytes(change))


# Time


def test_expired_and_not_yet_valid_certificates_are_refused(machine: Machine) -> None:
    plan = replace(
        machine.plan, not_before=datetime(2025, 1, 1, tzinfo=UTC), not_after=datetime(2027, 1, 1, tzinfo=UTC)
    )
    collateral = replace(machine.collateral, endorsement=machine.endorse(plan))
    report, trust = machine.report(), machine.vendor.trust()
    second = timedelta(seconds=1)
    early = refused(report, collateral, trust, plan.not_before - second)
    late = refused(report, collateral, trust, plan.not_after + second)
    assert (early.code, early.exit_status) == ("certificate-not-yet-valid", 4)
    assert (late.code, late.exit_status) == ("certificate-expired", 6)
    for moment in (plan.not_before, plan.not_after):
        authenticate(report, collateral, moment, trust=trust)


def test_expired_root_and_intermediate_are_refused(machine: Machine) -> None:
    report, trust = machine.report(), machine.vendor.trust()
    second = timedelta(seconds=1)
    assert refused(report, machine.collateral, trust, FAR_OFF + second).code == "certificate-expired"
    assert refused(report, machine.collateral, trust, LONG_AGO - second).code == "certificate-not-yet-valid"
    short = replace(machine.vendor.ask_plan, not_after=datetime(2025, 1, 1, tzinfo=UTC)).sign(machine.vendor.ark_key)
    chain = (short, machine.vendor.ark)
    assert refused(report, replace(machine.collateral, chain=chain), trust).code == "certificate-expired"


def test_time_without_a_zone_is_not_guessed(machine: Machine) -> None:
    with pytest.raises(ValueError, match="zone"):
        authenticate(machine.report(), machine.collateral, datetime(2026, 1, 1), trust=machine.vendor.trust())


# Revocation


def test_revoked_ask_is_refused(machine: Machine) -> None:
    vendor = machine.vendor
    for chain in (machine.collateral.chain, ()):
        collateral = Collateral(machine.certificate, chain, (vendor.crl(0x10001),))
        error = refused(machine.report(), collateral, vendor.trust())
        assert (error.code, error.exit_status) == ("certificate-revoked", 4)


def test_revoked_vcek_is_refused_by_the_list_of_the_ark(machine: Machine) -> None:
    vendor = machine.vendor
    endorsement = machine.endorse(replace(machine.plan, serial=0x77))
    collateral = Collateral(endorsement, machine.collateral.chain, (vendor.crl(0x77),))
    assert refused(machine.report(), collateral, vendor.trust()).code == "certificate-revoked"


def test_revoked_vcek_is_refused_by_the_list_of_its_ask(machine: Machine) -> None:
    vendor = machine.vendor
    signing_lists = vendor.ask_plan.having("2.5.29.15", bytes.fromhex("03020106"), critical=True).sign(vendor.ark_key)
    endorsement = machine.endorse(replace(machine.plan, serial=0x77))
    crl = make_crl(vendor.ask_name, vendor.ask_key, {0x77: LONG_AGO})
    collateral = Collateral(endorsement, (signing_lists, vendor.ark), (crl,))
    assert refused(machine.report(), collateral, vendor.trust()).code == "certificate-revoked"


def test_list_by_an_ask_that_may_not_issue_lists_is_refused(machine: Machine) -> None:
    crl = make_crl(machine.vendor.ask_name, machine.vendor.ask_key)
    error = refused(machine.report(), replace(machine.collateral, crls=(crl,)), machine.vendor.trust())
    assert error.code == "untrusted-chain"


def test_list_that_revokes_others_does_no_harm(machine: Machine) -> None:
    collateral = replace(machine.collateral, crls=(machine.vendor.crl(0x10002, 0x555),))
    proof = authenticate(machine.report(), collateral, NOW, trust=machine.vendor.trust()).proof
    assert proof.revocation_checked
    assert proof.not_after == datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_missing_crl_is_refused_when_one_is_required(machine: Machine) -> None:
    foreign = Vendor(Product.GENOA)
    for crls in ((), (foreign.crl(),)):
        collateral = replace(machine.collateral, crls=crls)
        error = refused(machine.report(), collateral, machine.vendor.trust(), require_crl=True)
        assert isinstance(error, CollateralError)
        assert error.code == "crl-missing"
    collateral = replace(machine.collateral, crls=(machine.vendor.crl(),))
    authenticate(machine.report(), collateral, NOW, trust=machine.vendor.trust(), require_crl=True)


def test_policy_that_requires_a_crl_refuses_evidence_verified_without(machine: Machine) -> None:
    policy = Policy(measurement=(machine.report().measurement,), require_crl=True)
    authentic = authenticate(machine.report(), machine.collateral, NOW, trust=machine.vendor.trust())
    assert [rule.reason for rule in appraise(authentic, policy).failures] == ["crl-missing"]


def test_stale_and_future_lists_are_refused(machine: Machine) -> None:
    vendor = machine.vendor
    for begin, end, code in (
        (datetime(2025, 1, 1, tzinfo=UTC), NOW, "collateral-expired"),
        (NOW + timedelta(seconds=1), FAR_OFF, "collateral-not-yet-valid"),
    ):
        crl = make_crl(vendor.ark_name, vendor.ark_key, this_update=begin, next_update=end)
        error = refused(machine.report(), replace(machine.collateral, crls=(crl,)), vendor.trust())
        assert (error.code, error.exit_status) == (code, 6)


@pytest.mark.parametrize("serial", [0x10001, 0], ids=["ASK", "VCEK"])
def test_what_a_stale_list_names_stays_revoked(serial: int, machine: Machine) -> None:
    """A host that holds back the current list does not bring back what an older one took."""
    vendor = machine.vendor
    begin, end = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC)
    crl = make_crl(vendor.ark_name, vendor.ark_key, {serial: LONG_AGO}, this_update=begin, next_update=end)
    error = refused(machine.report(), replace(machine.collateral, crls=(crl,)), vendor.trust())
    assert (error.code, error.exit_status) == ("certificate-revoked", 4)
    impostor = Vendor(name="impostor").ark_key
    forged = make_crl(vendor.ark_name, impostor, {serial: LONG_AGO}, this_update=begin, next_update=end)
    error = refused(machine.report(), replace(machine.collateral, crls=(forged,)), vendor.trust())
    assert error.code == "bad-collateral-signature"


def test_revocation_after_the_time_of_judgement_is_not_told_by_a_list_of_the_future(machine: Machine) -> None:
    vendor, later = machine.vendor, NOW + timedelta(days=1)
    crl = make_crl(vendor.ark_name, vendor.ark_key, {0x10001: later}, this_update=later, next_update=FAR_OFF)
    error = refused(machine.report(), replace(machine.collateral, crls=(crl,)), vendor.trust())
    assert error.code == "collateral-not-yet-valid"


def test_list_signed_by_somebody_else_is_refused(machine: Machine) -> None:
    crl = make_crl(machine.vendor.ark_name, Vendor(name="impostor").ark_key)
    error = refused(machine.report(), replace(machine.collateral, crls=(crl,)), machine.vendor.trust())
    assert error.code == "bad-collateral-signature"


def test_list_whose_entries_name_other_issuers_is_refused(machine: Machine) -> None:
    vendor = machine.vendor
    crl = make_crl(
        vendor.ark_name,
        vendor.ark_key,
        {0x10001: LONG_AGO},
        entry_extensions=(extension("2.5.29.29", b"\x30\x00", True),),
    )
    with pytest.raises(MalformedError) as caught:
        authenticate(machine.report(), replace(machine.collateral, crls=(crl,)), NOW, trust=vendor.trust())
    assert caught.value.code == "unsupported-extension"


def test_genoas_first_ask_stays_revoked_with_no_list_at_hand() -> None:
    genoa = next(root for root in AMD_ROOTS if root.product is Product.GENOA)
    assert dict(genoa.revoked) == {0x20001: 1667223286}
    vendor = Vendor(Product.GENOA)
    machine = Machine(vendor)
    trust = Trust((replace(vendor.root, revoked={0x10001: 1667223286}),))
    assert refused(machine.report(), machine.collateral, trust).code == "certificate-revoked"
    before = datetime.fromtimestamp(1667223285, UTC)
    authenticate(machine.report(), machine.collateral, before, trust=trust)


# Debug and simulation


def test_debug_bit_is_refused_by_every_policy_that_does_not_name_it(machine: Machine) -> None:
    report = machine.report(policy=0xB0000)
    authentic = authenticate(report, machine.collateral, NOW, trust=machine.vendor.trust())
    for policy in (Policy(measurement=(report.measurement,)), Policy(any_measurement=True)):
        assert [rule.reason for rule in appraise(authentic, policy).failures] == ["debug-enabled"]
    named = Policy(any_measurement=True, guest_policy=GuestPolicyRules(debug=True))
    assert appraise(authentic, named).accepted


def test_simulated_root_is_refused_by_every_policy_that_does_not_name_it(machine: Machine) -> None:
    trust = Trust((replace(machine.vendor.root, simulated=True),))
    authentic = authenticate(machine.report(), machine.collateral, NOW, trust=trust)
    assert authentic.proof.simulated
    appraisal = appraise(authentic, Policy(any_measurement=True))
    assert [rule.reason for rule in appraisal.failures] == ["simulated-root"]
    assert appraisal.simulated
    assert appraise(authentic, Policy(any_measurement=True, simulated=True)).accepted


def test_amds_names_alone_open_nothing() -> None:
    """All the names, serials and dates of AMD, with keys of our own."""
    vendor = Vendor(name="impostor")
    assert vendor.ark_name == amd_name("ARK-Milan") == AMD_ROOTS[0].ark.subject
    machine = Machine(vendor)
    assert hashlib.sha256(vendor.ark).digest() != AMD_ROOTS[0].ark.sha256
    assert refused(machine.report(), machine.collateral, AMD).code == "untrusted-chain"
