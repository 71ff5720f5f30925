"""QEMU's answers about SEV, read with bounds, whatever QEMU says."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import HostError
from enarx.host.sev.launch import Packet, Session, launch_files, platform_certificates, release
from enarx.host.sev.monitor import (
    CERTIFICATES_MAX_BYTES,
    Capabilities,
    inject_secret,
    query_capabilities,
    query_guest,
    query_measurement,
)

WHOLE = {
    "pdh": b64encode(bytes(2084)).decode(),
    "cert-chain": b64encode(bytes(3 * 2084)).decode(),
    "cpu0-id": b64encode(bytes(64)).decode(),
    "cbitpos": 51,
    "reduced-phys-bits": 1,
}
GUEST = {"enabled": True, "api-major": 1, "api-minor": 55, "build-id": 21, "policy": 15, "state": "launch-secret"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from((*WHOLE, *GUEST, "data")), inner),
    max_leaves=12,
)


class Scripted:
    """A monitor that answers as it is told, and remembers what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {name.replace("_", "-"): answer for name, answer in answers.items()}
        self.asked: list[tuple[str, Any]] = []

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        self.asked.append((command, arguments))
        return self.answers.get(command, {})


class NeverAsked:
    def begin(self, *asked: Any) -> Session:
        raise AssertionError(asked)

    def finish(self, *asked: Any) -> Packet:
        raise AssertionError(asked)


def test_capabilities_are_read() -> None:
    found = query_capabilities(Scripted(query_sev_capabilities=WHOLE))
    assert found == Capabilities(bytes(2084), bytes(3 * 2084), bytes(64), 51, 1)
    old = {name: value for name, value in WHOLE.items() if name != "cpu0-id"}
    assert query_capabilities(Scripted(query_sev_capabilities=old)).chip_id == b""


@pytest.mark.parametrize(
    "change",
    [
        {"pdh": "?"}, {"pdh": ""}, {"pdh": 3}, {"cert-chain": b64encode(bytes(CERTIFICATES_MAX_BYTES + 1)).decode()},
        {"cbitpos": 64}, {"cbitpos": True}, {"cbitpos": "51"}, {"reduced-phys-bits": -1},
    ],
)  # fmt: skip
def test_capabilities_that_are_none_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(HostError) as raised:
        query_capabilities(Scripted(query_sev_capabilities=WHOLE | change))
    assert raised.value.code == "qmp-answer"


@given(JSON)
def test_any_answer_is_read_or_refused(answer: Any) -> None:
    monitor = Scripted(query_sev_capabilities=answer, query_sev=answer, query_sev_launch_measure=answer)
    for ask in (query_capabilities, query_guest, query_measurement):
        try:
            ask(monitor)
        except HostError as error:
            assert error.code in ("qmp-answer", "sev-not-enabled")


def test_measurement_has_its_size() -> None:
    assert query_measurement(Scripted(query_sev_launch_measure={"data": b64encode(bytes(48)).decode()})) == bytes(48)
    for size in (0, 47, 49):
        with pytest.raises(HostError):
            query_measurement(Scripted(query_sev_launch_measure={"data": b64encode(bytes(size)).decode()}))


def test_packet_goes_where_the_firmware_image_says() -> None:
    monitor = Scripted()
    inject_secret(monitor, b"header", b"secret")
    assert monitor.asked == [("sev-inject-launch-secret", {"packet-header": "aGVhZGVy", "secret": "c2VjcmV0"})]


@pytest.mark.parametrize(
    ("change", "code"),
    [({"state": "running"}, "sev-state"), ({"policy": 14}, "sev-policy"), ({"enabled": False}, "sev-not-enabled")],
)
def test_guest_that_is_not_the_one_of_the_session_is_shown_to_nobody(change: dict[str, Any], code: str) -> None:
    monitor = Scripted(query_sev=GUEST | change)
    with pytest.raises(HostError) as raised:
        release(monitor, NeverAsked(), Session("name", 15, b"", b""))
    assert raised.value.code == code
    assert [command for command, _ in monitor.asked] == ["query-sev"]


def test_guest_does_not_run_when_its_secret_is_refused() -> None:
    class Refusing(NeverAsked):
        def finish(self, *asked: Any) -> Packet:
            raise HostError("no", code="approver-refused")

    measured = {"data": b64encode(bytes(48)).decode()}
    monitor = Scripted(query_sev=GUEST, query_sev_launch_measure=measured)
    with pytest.raises(HostError):
        release(monitor, Refusing(), Session("name", 15, b"", b""))
    assert [command for command, _ in monitor.asked] == ["query-sev", "query-sev-launch-measure"]


def test_signed_chip_key_takes_the_place_of_the_exported_one() -> None:
    pdh, pek, oca, cek = (bytes((one,)) * 2084 for one in range(1, 5))
    found = Capabilities(pdh, pek + oca + cek, b"", 51, 1)
    assert platform_certificates(found) == pdh + pek + oca + cek
    assert platform_certificates(found, b"signed, ask, ark") == pdh + pek + oca + b"signed, ask, ark"
    unsigned = cek[:0x414] + (0x1000).to_bytes(4, "little") + cek[0x418:]
    with pytest.raises(HostError) as raised:
        platform_certificates(Capabilities(pdh, pek + oca + unsigned, b"\x0f" * 64, 51, 1))
    assert raised.value.code == "sev-cek"
    assert f"https://kdsintf.amd.com/cek/id/{'0f' * 64}" in raised.value.hint
    assert platform_certificates(Capabilities(pdh, pek + oca + unsigned, b"", 51, 1), cek) == pdh + pek + oca + cek
    with pytest.raises(HostError) as raised:
        platform_certificates(Capabilities(pdh, pek + oca, b"", 51, 1))
    assert raised.value.code == "sev-certificates"


def test_files_for_qemu_are_in_base64() -> None:
    assert launch_files(Session("name", 15, b"godh", b"session")) == (b"Z29kaA==", b"c2Vzc2lvbg==")
