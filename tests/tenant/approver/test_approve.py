"""The approver's decisions, with whole launches on SIMULATED SEV firmware behind them; the attacks by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from enarx.enrolment import ENROLMENT_GUID, decode
from enarx.errors import EnarxError, HostError
from enarx.evidence.sev.approval import parse_approval
from enarx.evidence.sev.secret import parse_table
from enarx.host.sev.launch import Session, platform_certificates, release
from enarx.host.sev.monitor import query_capabilities
from enarx.host.sev.simulated import Contents, launch
from enarx.manifest import Manifest
from enarx.simulator.sev_firmware import NODBG, Version
from enarx.simulator.sev_qemu import SimulatedQemu
from enarx.tenant.approver.approve import LaunchRequest, Measured, begin, finish
from enarx.tenant.approver.pending import PENDING_SECONDS, PendingLaunches
from tests.tenant.sevlaunches import (
    NOW,
    DirectApprover,
    Files,
    authority,
    changed,
    manifest,
    only_secret,
    platform,
    policy,
    qemu,
)

MANIFEST = manifest().encode()


def approved(approver: DirectApprover, contents: Contents, monitor: SimulatedQemu | None = None) -> bytes:
    """The guest's secret area after a launch."""
    return launch(monitor or qemu(), approver, contents, MANIFEST, ())


def refusal(approver: DirectApprover, contents: Contents, monitor: SimulatedQemu | None = None) -> str:
    with pytest.raises(EnarxError) as raised:
        approved(approver, contents, monitor)
    assert raised.value.hint
    return raised.value.code


def start(monitor: SimulatedQemu, session: Session, contents: Contents, policy: int | None = None) -> None:
    monitor.start(
        policy=session.policy if policy is None else policy,
        dh_cert=session.dh_cert,
        session=session.session,
        data=contents.data,
        vmsas=contents.vmsas,
        firmware=contents.firmware,
    )


def session_of(approver: DirectApprover, monitor: SimulatedQemu, technology: str = "sev-es") -> Session:
    certificates = platform_certificates(query_capabilities(monitor))
    return approver.begin("sev" if technology == "sev" else "sev-es", certificates, MANIFEST, ())


# --- what an honest launch is given


def test_right_image_is_approved_and_gets_its_own_credential() -> None:
    approver = DirectApprover()
    found = decode(only_secret(parse_table(approved(approver, Files().contents()))))
    assert found.manifest_digest == hashlib.sha256(MANIFEST).digest()
    assert found.approval == approver.approvals[0]
    stated = parse_approval(found.approval).approval
    assert stated.launch.digest.hex() == Files().digest()
    assert stated.manifest_digest == found.manifest_digest
    assert (stated.simulated, stated.approved, stated.until) == (True, NOW, NOW + timedelta(days=30))
    assert [report.simulated for report in approver.reports] == [True, True]
    assert all(rule.passed for report in approver.reports for rule in report.rules)
    assert approver.reports[1].facts["workload"] == "web"


def test_guest_policy_is_the_strictest_and_asks_for_the_firmware_that_the_tenant_asks_for() -> None:
    approver = DirectApprover(policy(more='minimum_api = "1.51"'))
    assert session_of(approver, qemu()).policy == 0x3301000F
    plain = DirectApprover(policy(Files().digest(es=False), more="require_es = false"))
    assert session_of(plain, qemu(), "sev").policy == 0x1100000B


def test_sev_without_encrypted_state_is_approved_where_the_policy_says_so() -> None:
    contents = Files().contents(es=False)
    approver = DirectApprover(policy(Files().digest(es=False), more="require_es = false"))
    assert decode(only_secret(parse_table(approved(approver, contents))))
    assert refusal(DirectApprover(policy(Files().digest(es=False))), contents) == "es-required"


def test_every_launch_has_keys_of_its_own() -> None:
    approver = DirectApprover()
    first, second = (approved(approver, Files().contents()) for _ in range(2))
    one, two = (decode(parse_table(area)[UUID(ENROLMENT_GUID)]) for area in (first, second))
    assert one.key != two.key
    assert one.approval != two.approval


def test_measurement_is_that_of_the_files_for_every_number_of_vcpus() -> None:
    approver = DirectApprover(policy(*(Files().digest(cpus=count) for count in (1, 2, 5))))
    for count in (1, 2, 5):
        approved(approver, Files().contents(cpus=count))
    assert refusal(approver, Files().contents(cpus=3)) == "bad-measurement"


# --- what must be refused


@pytest.mark.parametrize("part", ["kernel", "initrd", "cmdline", "body"])
def test_one_changed_byte_of_what_is_launched_is_refused(part: str) -> None:
    assert refusal(DirectApprover(), changed(Files(), part).contents()) == "bad-measurement"


def test_extra_vcpu_is_refused() -> None:
    assert refusal(DirectApprover(), Files().contents(cpus=2)) == "bad-measurement"


def test_host_that_launches_with_another_policy_is_refused_by_the_firmware() -> None:
    approver, monitor = DirectApprover(), qemu()
    session = session_of(approver, monitor)
    with pytest.raises(HostError, match="BAD_MEASUREMENT"):
        start(monitor, session, Files().contents(), session.policy & ~NODBG)


def test_host_that_says_another_policy_was_measured_is_refused() -> None:
    approver, monitor = DirectApprover(), qemu()
    session = session_of(approver, monitor)
    start(monitor, session, Files().contents())
    with pytest.raises(HostError) as raised:
        release(monitor, approver, replace(session, policy=session.policy & ~NODBG))
    assert raised.value.code == "sev-policy"


def test_replayed_session_gets_nothing_a_second_time() -> None:
    approver, monitor = DirectApprover(), qemu()
    session = session_of(approver, monitor)
    start(monitor, session, Files().contents())
    release(monitor, approver, session)
    again = qemu()
    start(again, session, Files().contents())  # which firmware cannot know
    with pytest.raises(EnarxError) as raised:
        release(again, approver, session)
    assert raised.value.code == "launch-unknown"


def test_secret_for_another_launch_does_not_open() -> None:
    approver, monitor, other = DirectApprover(), qemu(), qemu()
    session = session_of(approver, monitor)
    start(monitor, session, Files().contents())
    start(other, session, changed(Files(), "kernel").contents())  # the same transport keys, another image

    class Diverting:
        """Has the good launch measured, and hands the secret to the bad one."""

        def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
            bad = command in ("sev-inject-launch-secret", "cont")
            return (other if bad else monitor).execute(command, arguments)

    with pytest.raises(HostError, match="BAD_MEASUREMENT"):
        release(Diverting(), approver, session)


def test_measurement_of_another_launch_is_refused() -> None:
    approver, first, second = DirectApprover(), qemu(), qemu()
    sessions = [session_of(approver, one) for one in (first, second)]
    start(first, sessions[0], Files().contents())
    start(second, sessions[1], Files().contents())
    with pytest.raises(HostError) as raised:
        release(first, approver, sessions[1])
    assert raised.value.code == "bad-measurement"


def test_firmware_that_is_said_to_be_newer_than_it_is_is_refused() -> None:
    approver = DirectApprover(meddle=lambda measured: Measured(measured.measurement, (1, 56, 0)))
    assert refusal(approver, Files().contents()) == "bad-measurement"


def test_firmware_older_than_the_policy_asks_for_refuses_the_launch() -> None:
    approver = DirectApprover(policy(more='minimum_api = "1.51"'))
    assert refusal(approver, Files().contents(), qemu(version=Version(1, 49, 3))) == "qmp-refused"


def test_firmware_build_older_than_the_policy_asks_for_is_refused() -> None:
    approver = DirectApprover(policy(more='minimum_api = "1.55"\nminimum_build = 22'))
    assert refusal(approver, Files().contents()) == "firmware-outdated"


def test_firmware_whose_secrets_are_not_tied_to_the_measurement_is_never_launched() -> None:
    assert refusal(DirectApprover(), Files().contents(), qemu(version=Version(0, 16, 9))) == "qmp-refused"


def test_platform_with_another_root_is_refused() -> None:
    assert refusal(DirectApprover(), Files().contents(), qemu(platform("other"))) == "untrusted-chain"


def test_simulated_platform_is_refused_where_no_policy_names_it() -> None:
    hardware = replace(policy(), simulated_sev=None, sev=policy().simulated_sev)
    assert refusal(DirectApprover(hardware), Files().contents()) == "untrusted-chain"


def test_chain_with_a_changed_byte_is_refused() -> None:
    good = platform_certificates(query_capabilities(qemu()))
    for at in range(20, len(good), 997):
        bad = good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :]
        report, begun = begin(LaunchRequest("sev-es", bad, MANIFEST), policy(), NOW)
        if begun is not None:  # an unused signature slot is not judged
            assert at % 2084 >= 0x61C
            continue
        assert report.error is not None
        assert report.error.exit_status in (3, 4, 6), at


def test_chain_without_a_certificate_is_refused() -> None:
    good = platform_certificates(query_capabilities(qemu()))
    for left_out in range(4):
        bad = good[: 2084 * left_out] + good[2084 * (left_out + 1) :]
        report, begun = begin(LaunchRequest("sev-es", bad, MANIFEST), policy(), NOW)
        assert begun is None
        assert report.error is not None
        assert report.error.code == "sev-certificate-missing"


def test_pdh_of_another_platform_is_refused() -> None:
    good, other = (platform_certificates(query_capabilities(qemu(platform(name)))) for name in ("one", "other"))
    report, begun = begin(LaunchRequest("sev-es", other[:2084] + good[2084:], MANIFEST), policy(), NOW)
    assert begun is None
    assert report.error is not None
    assert report.error.code == "bad-signature"


def test_platform_of_another_owner_is_refused_before_anything_is_launched() -> None:
    wanted = policy(more=f'owners = ["{"11" * 32}"]')
    approver = DirectApprover(wanted)
    assert refusal(approver, Files().contents()) == "owner"
    assert [report.step for report in approver.reports] == ["launch"]


def test_manifest_of_another_workload_is_refused() -> None:
    request = LaunchRequest("sev-es", platform_certificates(query_capabilities(qemu())), b"")
    for bad, code in (
        (manifest("sha256:" + "cd" * 32).encode(), "workload-mismatch"),
        (Manifest(manifest().workload).encode(), "steward-missing"),
        (MANIFEST + b" ", "manifest-malformed"),
        (b"", "manifest-malformed"),
    ):
        report, begun = begin(replace(request, manifest=bad), policy(), NOW)
        assert begun is None
        assert report.error is not None
        assert report.error.code.startswith(code.partition("-")[0]), report.error.code


@pytest.mark.parametrize("size", [0, 47, 49, 4096])
def test_measurement_of_another_size_is_refused_and_the_launch_is_over(size: int) -> None:
    approver = DirectApprover(meddle=lambda measured: Measured(bytes(size), measured.firmware))
    assert refusal(approver, Files().contents()) == "malformed"


def test_launch_is_judged_by_the_policy_in_force_when_it_is_measured() -> None:
    approver, monitor = DirectApprover(), qemu()
    session = session_of(approver, monitor)
    start(monitor, session, Files().contents())
    approver.policy = policy("ab" * 32)
    with pytest.raises(HostError) as raised:
        release(monitor, approver, session)
    assert raised.value.code == "bad-measurement"


def test_keys_of_a_launch_are_spent_by_a_refusal() -> None:
    monitor, approver = qemu(), DirectApprover()
    session = session_of(approver, monitor)
    begun = approver.pending.take(session.launch, 0.0)
    start(monitor, session, Files().contents())
    for expected in ("bad-measurement", "sev-keys-spent"):
        report, released = finish(begun, Measured(bytes(48), (1, 55, 21)), policy(), authority(), NOW)
        assert released is None
        assert report.error is not None
        assert report.error.code == expected


# --- launches that are awaited


def test_launch_is_given_up_after_a_while() -> None:
    approver = DirectApprover()
    name = session_of(approver, qemu()).launch
    with pytest.raises(EnarxError) as raised:
        approver.pending.take(name, PENDING_SECONDS)
    assert raised.value.code == "launch-unknown"


def test_launches_that_are_awaited_are_bounded() -> None:
    approver = DirectApprover(pending=PendingLaunches(2))
    names = [session_of(approver, qemu()).launch for _ in range(2)]
    assert len(set(names)) == 2
    with pytest.raises(EnarxError) as raised:
        session_of(approver, qemu())
    assert raised.value.code == "launches-pending"
    approver.pending.take(names[0], 0.0)
    session_of(approver, qemu())


def test_name_that_nobody_was_given_opens_nothing() -> None:
    approver = DirectApprover()
    session_of(approver, qemu())
    for name in ("", "0", "f" * 32):
        with pytest.raises(EnarxError) as raised:
            approver.pending.take(name, 0.0)
        assert raised.value.code == "launch-unknown"
