"""SIMULATED SEV firmware: its state machine and statuses, held against the tenant's own side of the protocol."""

from __future__ import annotations

import hashlib
import stat
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enarx.errors import ConfigError, EnarxError, HostError
from enarx.evidence.sev import (
    FirmwareVersion,
    GuestPolicy,
    LaunchMeasurement,
    StartedLaunch,
    authenticate,
    parse,
    start_session,
    verify_launch,
)
from enarx.evidence.sev.secret import seal
from enarx.evidence.sev.simulated import simulated_root
from enarx.simulator.sev_firmware import GUESTS_MAX, FirmwareError, SevFirmware, State, Status, Version
from enarx.simulator.sev_platform import Identity, make_identity, open_identity
from enarx.simulator.sev_qemu import SECRET_GUID, SimulatedQemu
from tests.evidence.sev.firmware import Firmware
from tests.evidence.sev.platforms import make_platform

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = bytes(4096)


@pytest.fixture(scope="module")
def identity() -> Identity:
    return make_identity()


def begun(identity: Identity, policy: GuestPolicy | None = None) -> StartedLaunch:
    pdh, chain = SevFirmware(identity).pdh_cert_export()
    platform = authenticate(parse(pdh + chain), NOW, [simulated_root(identity.root)])
    assert platform.proof.simulated
    return start_session(platform, policy or GuestPolicy.of())


def started(firmware: SevFirmware, owner: StartedLaunch) -> int:
    policy, godh, session = owner.pending.policy.value, owner.godh.to_bytes(), owner.session.to_bytes()
    return firmware.launch_start(policy, godh, session)


def refused(act: Callable[[], object], status: Status) -> None:
    with pytest.raises(FirmwareError) as raised:
        act()
    assert raised.value.status is status
    assert "SIMULATED" in str(raised.value)


def test_launch_from_start_to_secret_opens_with_the_tenants_keys(identity: Identity) -> None:
    firmware, owner = SevFirmware(identity), begun(identity)
    handle = started(firmware, owner)
    firmware.launch_update_data(handle, b"0123456789abcdef")
    firmware.launch_update_vmsa(handle, PAGE)
    measured = LaunchMeasurement.from_bytes(firmware.launch_measure(handle))
    digest = hashlib.sha256(b"0123456789abcdef" + PAGE).digest()
    verified = verify_launch(owner.pending, measured, FirmwareVersion(1, 55, 21), [digest], NOW)
    with verified.keys.spend() as (tek, tik):
        packet = seal(tek=tek, tik=tik, measure=measured.measure, iv=bytes(16), data=b"a secret of ours")
    firmware.launch_secret(handle, packet.header.to_bytes(), packet.payload, 0x1000)
    firmware.launch_finish(handle)
    assert firmware.read_memory(handle, 0x1000) == b"a secret of ours"
    assert firmware.read_memory(handle, 0x2000) == b""
    firmware.decommission(handle)
    refused(lambda: firmware.guest_status(handle), Status.INVALID_GUEST)


def test_two_implementations_of_the_specification_agree(identity: Identity) -> None:
    owner = begun(identity)
    other = Firmware(identity.pdh_key, bytes((1, 55, 21)))
    other.launch_start(owner.godh.to_bytes(), owner.session.to_bytes(), owner.pending.policy.value)
    ours = SevFirmware(identity)
    handle = started(ours, owner)
    ours.launch_update_data(handle, bytes(64))
    measured = ours.launch_measure(handle)
    assert other.launch_measure(bytes(64), measured[32:]) == measured


def test_commands_are_refused_out_of_their_state(identity: Identity) -> None:
    firmware = SevFirmware(identity)
    handle = started(firmware, begun(identity))
    header, data = bytes(52), bytes(16)
    for act in (
        lambda: firmware.launch_secret(handle, header, data, 0),
        lambda: firmware.launch_finish(handle),
        lambda: firmware.read_memory(handle, 0),
    ):
        refused(act, Status.INVALID_GUEST_STATE)
    firmware.launch_measure(handle)
    assert firmware.guest_status(handle)[1] is State.LSECRET
    for later in (
        lambda: firmware.launch_update_data(handle, data),
        lambda: firmware.launch_update_vmsa(handle, PAGE),
        lambda: firmware.launch_measure(handle),
    ):
        refused(later, Status.INVALID_GUEST_STATE)
    firmware.launch_finish(handle)
    for end in (
        lambda: firmware.launch_secret(handle, header, data, 0),
        lambda: firmware.launch_measure(handle),
        lambda: firmware.launch_finish(handle),
    ):
        refused(end, Status.INVALID_GUEST_STATE)


def test_lengths_and_addresses_are_checked(identity: Identity) -> None:
    firmware, owner = SevFirmware(identity), begun(identity)
    godh, session, policy = owner.godh.to_bytes(), owner.session.to_bytes(), owner.pending.policy.value
    for bad in ((godh[:-1], session), (godh, session + b"\0"), (b"", b"")):
        refused(lambda bad=bad: firmware.launch_start(policy, *bad), Status.INVALID_LENGTH)  # type: ignore[misc]
    handle = started(firmware, owner)
    for data in (b"", b"15 bytes exactly"[:15]):
        refused(lambda data=data: firmware.launch_update_data(handle, data), Status.INVALID_LENGTH)  # type: ignore[misc]
    refused(lambda: firmware.launch_update_vmsa(handle, PAGE[:-16]), Status.INVALID_LENGTH)
    firmware.launch_measure(handle)
    refused(lambda: firmware.launch_secret(handle, bytes(52), bytes(16), 8), Status.INVALID_ADDRESS)
    for header, payload in ((bytes(51), bytes(16)), (bytes(52), b""), (bytes(52), bytes(8)), (bytes(52), bytes(16400))):
        refused(
            lambda one=header, two=payload: firmware.launch_secret(handle, one, two, 0),  # type: ignore[misc]
            Status.INVALID_LENGTH,
        )
    refused(lambda: firmware.launch_secret(handle, bytes(52), bytes(16), 0), Status.BAD_MEASUREMENT)


def test_session_is_for_this_platform_and_this_policy(identity: Identity) -> None:
    owner = begun(identity)
    godh, session, policy = owner.godh.to_bytes(), owner.session.to_bytes(), owner.pending.policy.value
    other = SevFirmware(make_identity())
    refused(lambda: other.launch_start(policy, godh, session), Status.BAD_MEASUREMENT)
    firmware = SevFirmware(identity)
    refused(lambda: firmware.launch_start(policy & ~1, godh, session), Status.BAD_MEASUREMENT)
    for at in range(0, 128, 9):
        broken = session[:at] + bytes((session[at] ^ 1,)) + session[at + 1 :]
        refused(lambda broken=broken: firmware.launch_start(policy, godh, broken), Status.BAD_MEASUREMENT)  # type: ignore[misc]


def test_certificate_of_the_owner_must_be_one_for_key_agreement(identity: Identity) -> None:
    owner, firmware = begun(identity), SevFirmware(identity)
    godh, session, policy = owner.godh.to_bytes(), owner.session.to_bytes(), owner.pending.policy.value
    for at in (0, 8, 12, 16, 20):
        broken = godh[:at] + bytes((godh[at] ^ 1,)) + godh[at + 1 :]
        refused(lambda broken=broken: firmware.launch_start(policy, broken, session), Status.INVALID_CERTIFICATE)  # type: ignore[misc]


def test_firmware_older_than_the_policy_demands_refuses(identity: Identity) -> None:
    owner = begun(identity, GuestPolicy.of(api_major=1, api_minor=55))
    assert started(SevFirmware(identity), owner)
    refused(lambda: started(SevFirmware(identity, Version(1, 54, 99)), owner), Status.POLICY_FAILURE)


def test_sev_guest_has_no_registers_to_measure(identity: Identity) -> None:
    firmware = SevFirmware(identity)
    handle = started(firmware, begun(identity, GuestPolicy.of(es=False)))
    refused(lambda: firmware.launch_update_vmsa(handle, PAGE), Status.POLICY_FAILURE)


def test_guests_are_bounded(identity: Identity) -> None:
    firmware, owner = SevFirmware(identity), begun(identity)
    handles = [started(firmware, owner) for _ in range(GUESTS_MAX)]
    refused(lambda: started(firmware, owner), Status.RESOURCE_LIMIT)
    firmware.decommission(handles[0])
    started(firmware, owner)


# --- the monitor


def test_monitor_says_what_qemu_says(identity: Identity) -> None:
    qemu, owner = SimulatedQemu(SevFirmware(identity)), begun(identity)
    found = qemu.execute("query-sev-capabilities")
    assert (len(b64decode(found["pdh"])), len(b64decode(found["cert-chain"]))) == (2084, 3 * 2084)
    with pytest.raises(HostError, match="SEV is not enabled"):
        qemu.execute("query-sev")
    qemu.start(
        policy=owner.pending.policy.value,
        dh_cert=owner.godh.to_bytes(),
        session=owner.session.to_bytes(),
        data=[bytes(16)],
        vmsas=[PAGE],
    )
    assert qemu.execute("query-sev")["state"] == "launch-secret"
    assert len(b64decode(qemu.execute("query-sev-launch-measure")["data"])) == 48
    qemu.execute("cont")
    assert qemu.execute("query-sev")["state"] == "running"
    for command in ("query-sev-launch-measure", "cont", "quit"):
        with pytest.raises(HostError) as raised:
            qemu.execute(command)
        assert raised.value.code == "qmp-refused"
    assert qemu.area == b""


def test_firmware_without_a_secret_area_takes_no_secret(identity: Identity) -> None:
    qemu, owner = SimulatedQemu(SevFirmware(identity)), begun(identity)
    qemu.start(
        policy=owner.pending.policy.value,
        dh_cert=owner.godh.to_bytes(),
        session=owner.session.to_bytes(),
        data=[bytes(4096)],
        firmware=bytes(4096),
    )
    packet = {"packet-header": b64encode(bytes(52)).decode(), "secret": b64encode(bytes(16)).decode()}
    with pytest.raises(HostError, match="no secret area"):
        qemu.execute("sev-inject-launch-secret", packet)
    with pytest.raises(HostError, match="BAD_MEASUREMENT"):
        qemu.execute("sev-inject-launch-secret", {**packet, "gpa": 0x1000})
    with pytest.raises(HostError, match="not base64"):
        qemu.execute("sev-inject-launch-secret", {"packet-header": "?"})
    assert str(SECRET_GUID) == "4c2eb361-7d9b-4cc3-8081-127c90d3d294"


# --- the platform


def test_platform_is_made_once_and_kept_private(tmp_path: Path) -> None:
    directory = tmp_path / "simulator-sev"
    first = open_identity(directory)
    again = open_identity(directory)
    assert (first.root, first.chip_id) == (again.root, again.chip_id)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert sorted(path.name for path in directory.iterdir()) == ["chain.cert", "chip.id", "pdh.key"]
    assert first.ark.key_id.startswith(b"SIMULATED")


@pytest.mark.parametrize("name", ["chain.cert", "chip.id", "pdh.key"])
def test_damaged_platform_is_refused(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "simulator-sev"
    open_identity(directory)
    path = directory / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EnarxError) as raised:
        open_identity(directory)
    assert raised.value.code == "simulator-broken"


def test_root_of_a_simulator_is_told_from_every_other(identity: Identity) -> None:
    made = make_platform()
    for bad in (
        b"",
        identity.ark.to_bytes(),
        identity.ask.to_bytes(),
        made.ark.to_bytes() + made.ask.to_bytes(),
        identity.ark.to_bytes() + made.ask.to_bytes(),
        identity.root + identity.cek.to_bytes(),
        identity.root[:-1],
    ):
        with pytest.raises(ConfigError) as raised:
            simulated_root(bad)
        assert raised.value.code == "simulated-root"
