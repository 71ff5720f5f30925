"""Remembered chains: used only for the same bytes, and only while all of them are valid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from enarx.errors import AuthenticityError, CollateralError, EvidenceError
from enarx.evidence.signature import PYCA, PublicKey, RsaKey, Scheme, VerifyingKey
from enarx.evidence.snp import Collateral, Trust, authenticate
from enarx.evidence.snp.keychain import CHAIN_MAX_CERTIFICATES, CRLS_MAX, verify_intermediate
from tests.evidence.snp.forge import FAR_OFF, LONG_AGO, NOW, Machine, Vendor, make_crl


class Counting:
    """Counts the RSA verifications: a remembered chain needs none."""

    def __init__(self) -> None:
        self.count = 0

    def load(self, key: PublicKey, scheme: Scheme) -> VerifyingKey:
        verify = PYCA.load(key, scheme)

        def counted(signature: bytes, message: bytes) -> bool:
            self.count += isinstance(key, RsaKey)
            return verify(signature, message)

        return counted


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def trust(vendor: Vendor, counting: Counting) -> Trust:
    return Trust((vendor.root,), counting, cache_entries=2)


def test_chain_of_a_repeated_chip_is_verified_once(machine: Machine, trust: Trust, counting: Counting) -> None:
    first = authenticate(machine.report(), machine.collateral, NOW, trust=trust)
    before = counting.count
    second = authenticate(machine.report(guest_svn=9), machine.collateral, NOW, trust=trust)
    assert counting.count == before > 0
    assert [rule.name for rule in first.proof.checks] == [rule.name for rule in second.proof.checks]
    assert first.proof.not_after == second.proof.not_after


def test_trust_that_remembers_nothing_verifies_each_time(machine: Machine, counting: Counting) -> None:
    trust = Trust((machine.vendor.root,), counting)
    authenticate(machine.report(), machine.collateral, NOW, trust=trust)
    before = counting.count
    authenticate(machine.report(), machine.collateral, NOW, trust=trust)
    assert counting.count == 2 * before


def test_remembered_chain_still_needs_the_report_to_be_signed(machine: Machine, trust: Trust) -> None:
    authenticate(machine.report(), machine.collateral, NOW, trust=trust)
    with pytest.raises(AuthenticityError):
        authenticate(replace(machine.report(), guest_svn=9), machine.collateral, NOW, trust=trust)


def test_remembered_chain_is_not_used_past_its_validity(machine: Machine, trust: Trust) -> None:
    plan = replace(machine.plan, not_after=NOW)
    collateral = replace(machine.collateral, endorsement=machine.endorse(plan))
    authenticate(machine.report(), collateral, NOW, trust=trust)
    with pytest.raises(CollateralError) as caught:
        authenticate(machine.report(), collateral, NOW + timedelta(seconds=1), trust=trust)
    assert caught.value.code == "certificate-expired"


def test_remembered_chain_is_not_used_before_its_validity(machine: Machine, trust: Trust) -> None:
    authenticate(machine.report(), machine.collateral, NOW, trust=trust)
    with pytest.raises(AuthenticityError):
        authenticate(machine.report(), machine.collateral, LONG_AGO - timedelta(seconds=1), trust=trust)


def test_remembered_chain_is_not_used_past_the_next_list(machine: Machine, trust: Trust) -> None:
    collateral = replace(machine.collateral, crls=(machine.vendor.crl(),))
    authenticate(machine.report(), collateral, NOW, trust=trust)
    with pytest.raises(CollateralError) as caught:
        authenticate(machine.report(), collateral, datetime(2027, 1, 1, tzinfo=UTC), trust=trust)
    assert caught.value.code == "collateral-expired"


def test_new_list_is_read_although_the_chain_is_remembered(machine: Machine, trust: Trust) -> None:
    for crls in ((), (machine.vendor.crl(),)):
        authenticate(machine.report(), replace(machine.collateral, crls=crls), NOW, trust=trust)
    revoking = replace(machine.collateral, crls=(machine.vendor.crl(0x10001),))
    with pytest.raises(AuthenticityError) as caught:
        authenticate(machine.report(), revoking, NOW, trust=trust)
    assert caught.value.code == "certificate-revoked"


def test_demand_for_a_list_is_not_met_from_memory(machine: Machine, trust: Trust) -> None:
    authenticate(machine.report(), machine.collateral, NOW, trust=trust)
    with pytest.raises(CollateralError):
        authenticate(machine.report(), machine.collateral, NOW, trust=trust, require_crl=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda good, other: replace(good, endorsement=other.certificate),
        lambda good, other: replace(good, chain=other.collateral.chain),
        lambda good, other: replace(good, chain=good.chain[::-1]),
        lambda good, other: replace(good, chain=()),
    ],
)
def test_other_bytes_are_another_chain(
    change: Callable[[Collateral, Machine], Collateral], machine: Machine, trust: Trust, counting: Counting
) -> None:
    authenticate(machine.report(), machine.collateral, NOW, trust=trust)
    before = counting.count
    try:
        authenticate(machine.report(), change(machine.collateral, Machine(Vendor(name="impostor"))), NOW, trust=trust)
    except EvidenceError:
        return
    assert counting.count > before


def test_failed_chain_is_not_remembered(machine: Machine, trust: Trust) -> None:
    bad = replace(machine.collateral, endorsement=machine.endorse(machine.plan.without("1.3.6.1.4.1.3704.1.4")))
    for _ in range(2):
        with pytest.raises(AuthenticityError):
            authenticate(machine.report(), bad, NOW, trust=trust)


def test_memory_is_bounded_and_forgets_the_oldest(vendor: Vendor, trust: Trust, counting: Counting) -> None:
    machines = [Machine(vendor, chip=f"chip {i}") for i in range(3)]
    for one in machines:
        authenticate(one.report(), one.collateral, NOW, trust=trust)
    before = counting.count
    for one in machines[1:]:
        authenticate(one.report(), one.collateral, NOW, trust=trust)
    assert counting.count == before
    authenticate(machines[0].report(), machines[0].collateral, NOW, trust=trust)
    assert counting.count > before


def test_too_many_certificates_and_lists_are_refused(machine: Machine) -> None:
    vendor = machine.vendor
    for changed in (
        replace(machine.collateral, chain=(vendor.ask,) * (CHAIN_MAX_CERTIFICATES + 1)),
        replace(machine.collateral, crls=(vendor.crl(),) * (CRLS_MAX + 1)),
    ):
        with pytest.raises(CollateralError) as caught:
            authenticate(machine.report(), changed, NOW, trust=vendor.trust())
        assert caught.value.code == "too-long"
    full = replace(machine.collateral, chain=(vendor.ask,) * CHAIN_MAX_CERTIFICATES, crls=(vendor.crl(),) * CRLS_MAX)
    authenticate(machine.report(), full, NOW, trust=vendor.trust())


def test_endorsement_may_stand_in_its_own_chain(machine: Machine) -> None:
    whole = (machine.certificate, *machine.collateral.chain)
    authenticate(machine.report(), replace(machine.collateral, chain=whole), NOW, trust=machine.vendor.trust())


def test_intermediate_is_verified_by_itself(vendor: Vendor) -> None:
    at = int(NOW.timestamp())
    made, root = verify_intermediate(vendor.ask, (vendor.crl(),), at, vendor.trust())
    assert (made.name, root.ark.name) == ("SEV-Milan", "ARK-Milan")
    for crls, moment in (((vendor.crl(0x10001),), at), ((), int(FAR_OFF.timestamp()) + 1)):
        with pytest.raises(EvidenceError):
            verify_intermediate(vendor.ask, crls, moment, vendor.trust())
    with pytest.raises(AuthenticityError):
        verify_intermediate(Vendor(name="impostor").ask, (), at, vendor.trust())
    late = make_crl(vendor.ark_name, vendor.ark_key, this_update=FAR_OFF, next_update=FAR_OFF)
    with pytest.raises(CollateralError):
        verify_intermediate(vendor.ask, (late,), at, vendor.trust())
