"""A launch from both sides: our session, measurement check and secret against an independent firmware."""

from __future__ import annotations

import copy
import hashlib
import pickle
from base64 import b64decode
from datetime import UTC, datetime
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import AuthenticityError, MalformedError, PolicyError
from enarx.evidence.authentic import Authentic
from enarx.evidence.sev import certs, launch, session
from enarx.evidence.sev.appraise import Policy
from enarx.evidence.sev.authenticate import Platform, authenticate
from enarx.evidence.sev.guest_policy import GuestPolicy
from enarx.evidence.sev.keys import TransportKeys
from enarx.evidence.sev.report import AttestationReport, FirmwareVersion, LaunchMeasurement, SecretHeader, Session
from enarx.evidence.sev.secret import DISK_PASSPHRASE_GUID, parse_table
from tests.evidence.sev.firmware import Firmware, FirmwareError
from tests.evidence.sev.platforms import ECDSA_256, MadePlatform, make_platform

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONTENTS = b"firmware, kernel hashes and register state"
DIGEST = hashlib.sha256(CONTENTS).digest()
VERSION = FirmwareVersion(1, 51, 3)
GUEST = GuestPolicy.of()
SECRETS = {DISK_PASSPHRASE_GUID: b"correct horse", UUID(int=7): b""}


def accepting() -> Policy:
    return Policy(launch_digests=frozenset([DIGEST]), minimum_api=(1, 51), minimum_build=3)


def launched(
    made: MadePlatform, platform: Authentic[Platform], guest: GuestPolicy = GUEST
) -> tuple[Firmware, session.PendingLaunch]:
    started = session.start_session(platform, guest)
    firmware = Firmware(made.pdh_key)
    firmware.launch_start(started.godh.to_bytes(), started.session.to_bytes(), guest.value)
    return firmware, started.pending


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP256R1()], ids=["P384", "P256"])
def test_secret_reaches_the_guest_of_a_verified_launch(curve: ec.EllipticCurve) -> None:
    made = make_platform("launch", 2048, curve, ECDSA_256)
    firmware, pending = launched(made, authenticate(made.chain, NOW, [made.root]))
    measurement = LaunchMeasurement.from_bytes(firmware.launch_measure(CONTENTS))
    verified = launch.verify_launch(pending, measurement, VERSION, [b"o" * 32, DIGEST], NOW)
    assert verified.launch.value.digest == DIGEST
    assert verified.launch.proof.checks[-1].name == "launch-measurement"
    packet = launch.package_secret(verified, accepting(), SECRETS)
    opened = firmware.launch_secret(packet.header.to_bytes(), packet.payload)
    assert parse_table(opened) == SECRETS


def test_session_of_another_platform_cannot_be_opened(platform: Authentic[Platform]) -> None:
    started = session.start_session(platform, GUEST)
    with pytest.raises(FirmwareError):
        Firmware(ec.generate_private_key(ec.SECP384R1())).launch_start(
            started.godh.to_bytes(), started.session.to_bytes(), GUEST.value
        )


def test_host_cannot_launch_under_another_policy(made: MadePlatform, platform: Authentic[Platform]) -> None:
    started = session.start_session(platform, GUEST)
    with pytest.raises(FirmwareError):
        Firmware(made.pdh_key).launch_start(started.godh.to_bytes(), started.session.to_bytes(), GUEST.value & ~1)


def test_sessions_differ_in_everything_that_must_not_repeat(platform: Authentic[Platform]) -> None:
    one, two = session.start_session(platform, GUEST), session.start_session(platform, GUEST)
    assert one.godh.key_blob != two.godh.key_blob
    for name in ("nonce", "wrap_tk", "wrap_iv", "wrap_mac", "policy_mac"):
        assert getattr(one.session, name) != getattr(two.session, name)


def test_owner_certificate_is_what_firmware_expects(made: MadePlatform, platform: Authentic[Platform]) -> None:
    godh = session.start_session(platform, GUEST).godh
    assert certs.parse_sev_certificate(godh.to_bytes()) == godh
    assert (godh.api_major, godh.api_minor) == (made.pek.api_major, made.pek.api_minor)
    assert not any(slot.present for slot in godh.signatures)


def test_owner_key_on_another_curve_is_refused(platform: Authentic[Platform]) -> None:
    with pytest.raises(MalformedError, match="secp256r1"):
        session.start_session(platform, GUEST, owner_key=ec.generate_private_key(ec.SECP256R1()))


def test_policy_with_reserved_bits_is_not_launched(platform: Authentic[Platform]) -> None:
    with pytest.raises(MalformedError) as caught:
        session.start_session(platform, GuestPolicy(0x40))
    assert caught.value.code == "sev-policy-reserved"


@pytest.mark.parametrize(
    ("contents", "version", "altered"),
    [
        (b"other contents", VERSION, None),
        (CONTENTS, FirmwareVersion(1, 52, 3), None),
        (CONTENTS, FirmwareVersion(1, 51, 4), None),
        (CONTENTS, VERSION, 0),
        (CONTENTS, VERSION, 31),
        (CONTENTS, VERSION, 32),
        (CONTENTS, VERSION, 47),
    ],
)
def test_wrong_measurement_is_refused_and_spends_the_keys(
    contents: bytes, version: FirmwareVersion, altered: int | None, made: MadePlatform, platform: Authentic[Platform]
) -> None:
    firmware, pending = launched(made, platform)
    blob = bytearray(firmware.launch_measure(contents))
    if altered is not None:
        blob[altered] ^= 1
    with pytest.raises(AuthenticityError) as caught:
        launch.verify_launch(pending, LaunchMeasurement.from_bytes(bytes(blob)), version, [DIGEST], NOW)
    assert caught.value.code == "bad-measurement"
    assert pending.keys.spent


def test_measurement_of_another_launch_is_refused(made: MadePlatform, platform: Authentic[Platform]) -> None:
    first, _ = launched(made, platform)
    _, pending = launched(made, platform)
    replayed = LaunchMeasurement.from_bytes(first.launch_measure(CONTENTS))
    with pytest.raises(AuthenticityError):
        launch.verify_launch(pending, replayed, VERSION, [DIGEST], NOW)


def test_measurement_without_expected_digests_is_refused(made: MadePlatform, platform: Authentic[Platform]) -> None:
    firmware, pending = launched(made, platform)
    measurement = LaunchMeasurement.from_bytes(firmware.launch_measure(CONTENTS))
    with pytest.raises(AuthenticityError):
        launch.verify_launch(pending, measurement, VERSION, [], NOW)


@pytest.mark.parametrize("digests", [[b"d" * 48], [b""], [b"d" * 32] * (launch.MAX_DIGESTS + 1)])
def test_digests_of_another_length_or_too_many_are_refused(
    digests: list[bytes], made: MadePlatform, platform: Authentic[Platform]
) -> None:
    firmware, pending = launched(made, platform)
    measurement = LaunchMeasurement.from_bytes(firmware.launch_measure(CONTENTS))
    with pytest.raises(MalformedError):
        launch.verify_launch(pending, measurement, VERSION, digests, NOW)


def test_keys_serve_one_verification_and_one_secret(made: MadePlatform, platform: Authentic[Platform]) -> None:
    firmware, pending = launched(made, platform)
    measurement = LaunchMeasurement.from_bytes(firmware.launch_measure(CONTENTS))
    verified = launch.verify_launch(pending, measurement, VERSION, [DIGEST], NOW)
    with pytest.raises(AuthenticityError) as caught:
        launch.verify_launch(pending, measurement, VERSION, [DIGEST], NOW)
    assert caught.value.code == "sev-keys-spent"
    launch.package_secret(verified, accepting(), SECRETS)
    with pytest.raises(AuthenticityError) as caught:
        launch.package_secret(verified, accepting(), SECRETS)
    assert caught.value.code == "sev-keys-spent"


def test_secret_is_not_sealed_for_a_launch_that_the_policy_refuses(
    made: MadePlatform, platform: Authentic[Platform]
) -> None:
    guest = GuestPolicy.of(debug=True)
    firmware, pending = launched(made, platform, guest)
    measurement = LaunchMeasurement.from_bytes(firmware.launch_measure(CONTENTS))
    verified = launch.verify_launch(pending, measurement, VERSION, [DIGEST], NOW)
    with pytest.raises(PolicyError) as caught:
        launch.package_secret(verified, accepting(), SECRETS)
    assert caught.value.code == "debug-enabled"
    with pytest.raises(AuthenticityError):
        launch.package_secret(verified, accepting(), SECRETS)


def test_table_that_does_not_fit_leaves_the_keys_for_one_that_does(
    made: MadePlatform, platform: Authentic[Platform]
) -> None:
    firmware, pending = launched(made, platform)
    measurement = LaunchMeasurement.from_bytes(firmware.launch_measure(CONTENTS))
    verified = launch.verify_launch(pending, measurement, VERSION, [DIGEST], NOW)
    with pytest.raises(MalformedError):
        launch.package_secret(verified, accepting(), {UUID(int=1): bytes(20_000)})
    packet = launch.package_secret(verified, accepting(), SECRETS)
    assert parse_table(firmware.launch_secret(packet.header.to_bytes(), packet.payload)) == SECRETS


def test_host_cannot_alter_a_sealed_secret(made: MadePlatform, platform: Authentic[Platform]) -> None:
    firmware, pending = launched(made, platform)
    measurement = LaunchMeasurement.from_bytes(firmware.launch_measure(CONTENTS))
    packet = launch.package_secret(
        launch.verify_launch(pending, measurement, VERSION, [DIGEST], NOW), accepting(), SECRETS
    )
    header, payload = packet.header.to_bytes(), packet.payload
    for data, other in ((header, payload), (payload, header)):
        for offset in range(len(data)):
            altered = bytes(byte ^ (number == offset) for number, byte in enumerate(data))
            with pytest.raises(FirmwareError):
                firmware.launch_secret(*((altered, other) if data is header else (other, altered)))


# The keys.


def test_keys_do_not_show_copy_or_pickle() -> None:
    tek, tik = b"E" * 16, b"I" * 16
    keys = TransportKeys(tek, tik)
    for text in (repr(keys), str(keys), repr(session.PendingLaunch.__dataclass_fields__)):
        assert "EEEE" not in text
        assert "IIII" not in text
    with pytest.raises(TypeError):
        copy.copy(keys)
    with pytest.raises(TypeError):
        copy.deepcopy(keys)
    with pytest.raises(TypeError):
        pickle.dumps(keys)
    assert repr(keys) == "TransportKeys(unspent)"
    with keys.spend() as given:
        assert given == (tek, tik)
        assert keys.spent
    assert repr(keys) == "TransportKeys(spent)"


def test_pending_launch_does_not_show_its_keys(platform: Authentic[Platform]) -> None:
    entropy = iter([b"\xaa" * 16, b"\xbb" * 16, b"\xcc" * 16, b"\xdd" * 16])
    started = session.start_session(platform, GUEST, entropy=lambda size: next(entropy)[:size])
    shown = repr(started)
    assert str(b"\xaa" * 16) not in shown
    assert str(b"\xbb" * 16) not in shown
    assert started.session.nonce == b"\xcc" * 16


def test_keys_are_spent_even_when_the_use_fails() -> None:
    keys = TransportKeys(bytes(16), bytes(16))
    with pytest.raises(ZeroDivisionError), keys.spend():
        raise ZeroDivisionError
    with pytest.raises(AuthenticityError), keys.spend():
        pass


def test_keys_are_overwritten_when_spent() -> None:
    keys = TransportKeys(b"E" * 16, b"I" * 16)
    memory = keys._keys
    assert memory is not None
    with keys.spend():
        assert bytes(memory) == b"E" * 16 + b"I" * 16
    assert not any(memory)


@pytest.mark.parametrize(("tek", "tik"), [(15, 16), (16, 17), (0, 16), (32, 32)])
def test_keys_of_another_length_are_refused(tek: int, tik: int) -> None:
    with pytest.raises(MalformedError) as caught:
        TransportKeys(bytes(tek), bytes(tik))
    assert caught.value.code == "sev-key-length"


# Known answers, as published with the tests of the ``sev`` crate and of ``sevctl``.


def test_derivation_and_wrapping_give_the_known_answers() -> None:
    zero = bytes(16)
    assert session.derive_key(zero, b"sev-master-secret", zero).hex() == "ab4d269fcc62bedb4511d56c386ce706"
    wrapped = session.wrap_keys(shared_secret=zero, tek=zero, tik=zero, policy=GuestPolicy(0), nonce=zero, iv=zero)
    assert wrapped.wrap_tk.hex() == "2137bc7f9bb8bd7c3e55a576a15d3454b3856b8ba27afadf46dcfee9f02c02c4"
    assert wrapped.wrap_mac.hex() == "3176c0752738bd9d5e86689534020f528c088f16238826b000b327dee6aeed7d"
    assert wrapped.policy_mac.hex() == "aa7855e13839dd767cd5da7c1ff5036540c9264b7a803029315e55375287b4af"
    assert wrapped.to_bytes() == zero + wrapped.wrap_tk + zero + wrapped.wrap_mac + wrapped.policy_mac


def test_measurement_gives_the_known_answers() -> None:
    tik = bytes.fromhex("66320db73158a35a255d051758e95ed4")
    mnonce = bytes.fromhex("4fbe0bedbad6c86ae8f68971d103e554")
    empty = hashlib.sha256(b"").digest()
    mac = launch.measurement_mac(tik, FirmwareVersion(0, 0x12, 0x0F), GuestPolicy(0), empty, mnonce)
    assert mac.hex() == "6faab2daae389bcd3405a05d6cafe33c0414f7bedd0bae19ba5f38b7fd1664ea"


@given(
    st.sampled_from([(LaunchMeasurement, 48), (Session, 128), (SecretHeader, 52), (AttestationReport, 208)]), st.data()
)
def test_structures_of_the_right_length_round_trip_and_others_are_refused(
    kind: tuple[type[LaunchMeasurement | Session | SecretHeader | AttestationReport], int], data: st.DataObject
) -> None:
    structure, length = kind
    exact = data.draw(st.binary(min_size=length, max_size=length))
    assert structure.from_bytes(exact).to_bytes() == exact
    other = data.draw(st.binary(max_size=300).filter(lambda value: len(value) != length))
    with pytest.raises(MalformedError) as caught:
        structure.from_bytes(other)
    assert caught.value.code == "malformed"


@pytest.mark.parametrize("numbers", [(256, 0, 0), (0, -1, 0), (0, 0, 256)])
def test_firmware_versions_are_bytes(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(MalformedError):
        FirmwareVersion(*numbers)


def test_measurement_of_qemu_is_48_bytes_of_base64() -> None:
    blob = b64decode("lswbxWxI9gckya16JQvdFtpYmNO4b+3inAPpqsgoBI7DE/q1EcIWsVBbGy6pkDxA")
    assert LaunchMeasurement.from_bytes(blob).mnonce.hex() == blob[32:].hex()
