"""Each lie of the simulated processor is refused end to end, for the reason that is its own."""

from __future__ import annotations

import hashlib
from datetime import datetime

import pytest

from enarx.errors import EvidenceError, UsageError
from enarx.evidence.certificate import parse_certificate
from enarx.evidence.gctx import PageType
from enarx.evidence.snp import Collateral, Policy, Trust, appraise, authenticate, certtable, parse
from enarx.evidence.snp.product import Product
from enarx.simulator.installation import Installation
from enarx.simulator.misbehave import Misbehave, parse_misbehaviour
from enarx.simulator.platform import PLATFORMS
from enarx.simulator.processor import Guest, SecureProcessor

HOST_DATA = hashlib.sha256(b"a manifest").digest()
DATA = hashlib.sha384(b"a key").digest().ljust(64, b"\0")
PAGE = bytes(range(256)) * 16


def guest_of(installation: Installation, now: datetime, lies: Misbehave) -> Guest:
    launch = SecureProcessor(installation, now, lies=lies).launch_start()
    launch.update(PageType.NORMAL, 0, PAGE)
    return launch.finish(HOST_DATA)


def policy_of(guest: Guest) -> Policy:
    """What a tenant expects of the launch: this measurement, manifest and key, today's firmware."""
    return Policy(
        measurement=(guest.measurement,),
        host_data=(HOST_DATA,),
        report_data=DATA,
        simulated=True,
        require_crl=True,
        minimum_tcb={(None, "reported"): {"snp": PLATFORMS[Product.MILAN].tcb[6]}},
    )


def verdict(guest: Guest, trust: Trust, now: datetime) -> list[str]:
    """Reasons of refusal, empty when the evidence is accepted."""
    table = certtable.parse(guest.certificates)
    assert table.endorsement
    try:
        authentic = authenticate(
            parse(guest.report(DATA)),
            Collateral(table.endorsement, table.chain, table.crls),
            now,
            trust=trust,
            require_crl=True,
        )
    except EvidenceError as error:
        return [error.code]
    return [rule.reason for rule in appraise(authentic, policy_of(guest)).failures]


REASONS = {
    Misbehave.NONE: [],
    Misbehave.WRONG_NONCE: ["binding-mismatch"],
    Misbehave.OLD_TCB: ["tcb-too-old"],
    Misbehave.DEBUG: ["debug-enabled"],
    Misbehave.REVOKED: ["certificate-revoked"],
    Misbehave.TRUNCATED: ["malformed"],
    Misbehave.REPLAYED: ["binding-mismatch"],
    Misbehave.OTHER_KEEP: ["measurement-mismatch"],
    Misbehave.WRONG_HOST_DATA: ["host-data-mismatch"],
    Misbehave.SELF_MADE_ROOT: ["untrusted-chain"],
}


def test_every_lie_has_a_test() -> None:
    assert set(REASONS) == {Misbehave.NONE, *Misbehave}


@pytest.mark.parametrize("lie", REASONS, ids=lambda lie: lie.name or "none")
def test_lie_is_refused_for_its_own_reason(
    lie: Misbehave, installation: Installation, trust: Trust, now: datetime
) -> None:
    assert verdict(guest_of(installation, now, lie), trust, now) == REASONS[lie]


def test_lies_combine(installation: Installation, trust: Trust, now: datetime) -> None:
    lies = Misbehave.DEBUG | Misbehave.OLD_TCB | Misbehave.WRONG_HOST_DATA
    assert verdict(guest_of(installation, now, lies), trust, now) == [
        "host-data-mismatch",
        "debug-enabled",
        "tcb-too-old",
    ]


def test_replayed_report_is_the_same_for_every_key(installation: Installation, now: datetime) -> None:
    guest = guest_of(installation, now, Misbehave.REPLAYED)
    first = guest.report(DATA)
    assert guest.report(bytes(64)) == first
    assert parse(first).report_data not in (DATA, bytes(64))


def test_self_made_root_has_the_honest_names_and_no_honest_key(installation: Installation, now: datetime) -> None:
    table = certtable.parse(guest_of(installation, now, Misbehave.SELF_MADE_ROOT).certificates)
    ask, ark = (parse_certificate(one) for one in table.chain)
    honest = parse_certificate(installation.ark)
    assert (ark.subject, ark.serial) == (honest.subject, honest.serial)
    assert ark.key != honest.key
    assert ask.issuer == ark.subject


def test_names_on_the_command_line() -> None:
    assert parse_misbehaviour("debug") is Misbehave.DEBUG
    assert parse_misbehaviour("old-tcb, other-keep") == Misbehave.OLD_TCB | Misbehave.OTHER_KEEP
    for wrong in ("", "none", "old_tcb", "debug,,debug", "x" * 500):
        with pytest.raises(UsageError) as caught:
            parse_misbehaviour(wrong)
        assert caught.value.code == "misbehave-unknown"
        assert "old-tcb" in caught.value.hint
