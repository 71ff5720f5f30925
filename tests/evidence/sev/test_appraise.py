"""The tenant's policy on a launch: every rule refuses what it names, and says why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from enarx.errors import ConfigError, MalformedError, PolicyError
from enarx.evidence.authentic import Authentic, Proof, vouch
from enarx.evidence.sev.appraise import Policy, appraise, policy_from_table
from enarx.evidence.sev.guest_policy import GuestPolicy
from enarx.evidence.sev.report import FirmwareVersion, Launch, LaunchMeasurement

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST, OWNER = b"d" * 32, b"o" * 32
LAUNCH = Launch(
    product="Milan",
    firmware=FirmwareVersion(1, 51, 3),
    policy=GuestPolicy.of(),
    digest=DIGEST,
    measurement=LaunchMeasurement(bytes(32), bytes(16)),
    owner_sha256=OWNER,
)
POLICY = Policy(launch_digests=frozenset([DIGEST]))


def authentic(launch: Launch, simulated: bool = False) -> Authentic[Launch]:
    return vouch(launch, Proof("sev", "ARK-Milan", "TIK", "Milan", NOW, NOW, False, (), simulated))


def test_expected_launch_is_accepted() -> None:
    appraisal = appraise(authentic(LAUNCH), POLICY)
    assert appraisal.accepted
    assert appraisal.technology == "sev"
    assert appraise(authentic(LAUNCH, simulated=True), POLICY).simulated


@pytest.mark.parametrize(
    ("launch", "policy", "code"),
    [
        (replace(LAUNCH, digest=b"e" * 32), POLICY, "measurement-mismatch"),
        (
            replace(LAUNCH, digest=bytes(32)),
            replace(POLICY, launch_digests=frozenset([bytes(32)])),
            "measurement-mismatch",
        ),
        (replace(LAUNCH, policy=GuestPolicy.of(debug=True)), POLICY, "debug-enabled"),
        (replace(LAUNCH, policy=GuestPolicy.of(key_sharing=True)), POLICY, "key-sharing-allowed"),
        (replace(LAUNCH, policy=GuestPolicy.of(send=True)), POLICY, "migration-allowed"),
        (replace(LAUNCH, policy=GuestPolicy.of(es=False)), POLICY, "es-required"),
        (replace(LAUNCH, policy=GuestPolicy(GuestPolicy.of().value | 0x8000)), POLICY, "policy-reserved"),
        (LAUNCH, replace(POLICY, minimum_api=(1, 52)), "firmware-outdated"),
        (LAUNCH, replace(POLICY, minimum_api=(2, 0)), "firmware-outdated"),
        (LAUNCH, replace(POLICY, minimum_api=(1, 51), minimum_build=4), "firmware-outdated"),
        (LAUNCH, replace(POLICY, products=frozenset(["Rome"])), "product"),
        (LAUNCH, replace(POLICY, owners=frozenset([b"x" * 32])), "owner"),
    ],
)
def test_each_rule_refuses_what_it_names(launch: Launch, policy: Policy, code: str) -> None:
    appraisal = appraise(authentic(launch), policy)
    assert [rule.reason for rule in appraisal.failures] == [code]
    assert all(rule.hint and rule.source for rule in appraisal.failures)
    with pytest.raises(PolicyError) as caught:
        appraisal.require()
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("launch", "policy"),
    [
        (replace(LAUNCH, policy=GuestPolicy.of(debug=True)), replace(POLICY, debug=True)),
        (replace(LAUNCH, policy=GuestPolicy.of(key_sharing=True)), replace(POLICY, key_sharing=True)),
        (replace(LAUNCH, policy=GuestPolicy.of(send=True)), replace(POLICY, migration=True)),
        (replace(LAUNCH, policy=GuestPolicy.of(es=False)), replace(POLICY, require_es=False)),
        (LAUNCH, replace(POLICY, minimum_api=(1, 51), minimum_build=3)),
        (LAUNCH, replace(POLICY, minimum_api=(1, 50), minimum_build=200)),
        (LAUNCH, replace(POLICY, products=frozenset(["Milan", "Rome"]), owners=frozenset([OWNER]))),
    ],
)
def test_what_the_policy_allows_in_so_many_words_is_accepted(launch: Launch, policy: Policy) -> None:
    assert appraise(authentic(launch), policy).accepted


def test_policy_without_launch_digests_is_refused_when_made() -> None:
    with pytest.raises(ConfigError):
        Policy(launch_digests=frozenset())
    with pytest.raises(ConfigError):
        policy_from_table({})


def test_policy_is_read_from_a_table() -> None:
    table = {
        "launch_digests": [DIGEST.hex()],
        "minimum_api": "1.51",
        "minimum_build": 3,
        "require_es": False,
        "debug": True,
        "products": ["Milan"],
        "owners": [OWNER.hex()],
    }
    assert policy_from_table(table) == Policy(
        launch_digests=frozenset([DIGEST]),
        minimum_api=(1, 51),
        minimum_build=3,
        require_es=False,
        debug=True,
        products=frozenset(["Milan"]),
        owners=frozenset([OWNER]),
        source="policy sev",
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"debugg": True},
        {"source": "me"},
        {"debug": "yes"},
        {"debug": 1},
        {"launch_digests": "00"},
        {"launch_digests": ["zz"]},
        {"launch_digests": ["00" * 48]},
        {"launch_digests": [1]},
        {"owners": ["00"]},
        {"minimum_api": 1.51},
        {"minimum_api": "1"},
        {"minimum_api": "1.256"},
        {"minimum_api": "1.-1"},
        {"minimum_api": "1.²"},
        {"minimum_build": True},
        {"minimum_build": 256},
        {"products": "Milan"},
    ],
)
def test_wrong_tables_are_refused_with_a_hint(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        policy_from_table({"launch_digests": [DIGEST.hex()], **changes})
    assert caught.value.hint


# Guest policies.


def test_guest_policy_bits_have_their_meaning() -> None:
    strict = GuestPolicy(0x3F | 1 << 16 | 51 << 24)
    assert not (strict.debug_allowed or strict.key_sharing_allowed or strict.send_allowed)
    assert strict.es_required
    assert strict.domain_only
    assert strict.sev_only
    assert strict.api == (1, 51)
    assert len(list(strict.words())) == 6
    lax = GuestPolicy(0)
    assert lax.debug_allowed
    assert lax.key_sharing_allowed
    assert lax.send_allowed
    assert not (lax.es_required or lax.domain_only or lax.sev_only or list(lax.words()))


def test_guest_policy_defaults_are_strict_and_round_trip() -> None:
    assert GuestPolicy.of().value == 0b1111
    assert GuestPolicy.of(domain=True, sev_only=True, api_major=1, api_minor=51).value == 0x3301003F
    for value in (0, 1, 0x3301003F, 0xFFFFFFFF):
        assert GuestPolicy.from_bytes(GuestPolicy(value).to_bytes()).value == value


@pytest.mark.parametrize("value", [-1, 1 << 32])
def test_guest_policy_out_of_range_is_refused(value: int) -> None:
    with pytest.raises(MalformedError):
        GuestPolicy(value)
    with pytest.raises(MalformedError):
        GuestPolicy.of(api_major=256)
    with pytest.raises(MalformedError):
        GuestPolicy.from_bytes(bytes(5))
