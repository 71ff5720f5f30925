"""One bit flipped in every byte of what is verified: nothing that was altered is accepted.

Bytes that no signature covers are covered by other checks: the reserved bytes behind R and S must be zero, the outer
signature algorithm of a certificate must equal the signed one, and encodings must be the shortest. So no byte is free.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from enarx.errors import EvidenceError
from enarx.evidence.snp import Collateral, authenticate, parse
from tests.evidence.snp.forge import NOW, Machine


def flips(data: bytes) -> Iterator[bytes]:
    """``data`` with one bit changed in each byte, the bit wandering from byte to byte."""
    for i in range(len(data)):
        changed = bytearray(data)
        changed[i] ^= 1 << i % 8
        yield bytes(changed)


def accepted(report: bytes, collateral: Collateral, machine: Machine) -> bool:
    try:
        authenticate(parse(report), collateral, NOW, trust=machine.vendor.trust())
    except EvidenceError:
        return False
    return True


@pytest.fixture(params=[False, True], ids=["VCEK", "VLEK"])
def either(request: pytest.FixtureRequest, machine: Machine, cloud_machine: Machine) -> Machine:
    return cloud_machine if request.param else machine


def test_report_with_a_flipped_bit_is_refused(either: Machine) -> None:
    report = either.report_bytes()
    assert accepted(report, either.collateral, either)
    assert [i for i, flip in enumerate(flips(report)) if accepted(flip, either.collateral, either)] == []


def test_endorsement_with_a_flipped_bit_is_refused(either: Machine) -> None:
    report = either.report_bytes()
    free = [
        i
        for i, flip in enumerate(flips(either.certificate))
        if accepted(report, replace(either.collateral, endorsement=flip), either)
    ]
    assert free == []


@pytest.mark.parametrize("place", [0, 1], ids=["intermediate", "root"])
def test_chain_with_a_flipped_bit_is_refused(place: int, either: Machine) -> None:
    report = either.report_bytes()
    chain = list(either.collateral.chain)
    free = []
    for i, flip in enumerate(flips(chain[place])):
        given = (*chain[:place], flip, *chain[place + 1 :])
        if accepted(report, replace(either.collateral, chain=given), either):
            free.append(i)
    assert free == []


def test_revocation_list_with_a_flipped_bit_is_refused(machine: Machine) -> None:
    report, crl = machine.report_bytes(), machine.vendor.crl(0x999)
    assert accepted(report, replace(machine.collateral, crls=(crl,)), machine)
    free = []
    for i, flip in enumerate(flips(crl)):
        collateral = replace(machine.collateral, crls=(flip,))
        try:
            proof = authenticate(parse(report), collateral, NOW, trust=machine.vendor.trust()).proof
        except EvidenceError:
            continue
        if proof.revocation_checked:  # a list whose issuer became somebody else is passed over, and does not count
            free.append(i)
    assert free == []
