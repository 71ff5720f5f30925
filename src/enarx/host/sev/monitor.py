"""What a launch asks of QEMU's monitor, and what the answers mean (QEMU ``qapi/misc-i386.json``)."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from enarx.errors import HostError

MEASUREMENT_BYTES: Final = 48
"""Size of a launch measurement (bytes; SEV API 55766, 6.5)."""
CERTIFICATES_MAX_BYTES: Final = 64 * 1024
"""Largest certificate or chain that is taken from QEMU (bytes); a whole chain has about 12 KiB."""


class Monitor(Protocol):
    """QEMU's monitor (QMP). ``execute`` returns what a command returns; HostError when QEMU refuses or is gone."""

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any: ...


@dataclass(frozen=True, slots=True)
class Capabilities:
    """A platform, as its QEMU sees it: ``pdh`` and ``chain`` (PEK, OCA, CEK) are SEV certificates, ``chip_id`` its id.

    ``cbitpos`` and ``reduced_phys_bits`` go onto the command line of every SEV guest there.
    """

    pdh: bytes
    chain: bytes
    chip_id: bytes
    cbitpos: int
    reduced_phys_bits: int


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest that was launched and does not run yet: firmware version (major, minor, build), policy, state."""

    firmware: tuple[int, int, int]
    policy: int
    state: str


def query_capabilities(monitor: Monitor) -> Capabilities:
    """What the platform is; any QEMU with KVM there can say it, also one without a guest. HostError."""
    answer = _object(monitor.execute("query-sev-capabilities"), "query-sev-capabilities")
    return Capabilities(
        pdh=_bytes(answer, "pdh", CERTIFICATES_MAX_BYTES),
        chain=_bytes(answer, "cert-chain", CERTIFICATES_MAX_BYTES),
        chip_id=_bytes(answer, "cpu0-id", 1024) if "cpu0-id" in answer else b"",  # QEMU before 7.1 has none
        cbitpos=_number(answer, "cbitpos", 63),
        reduced_phys_bits=_number(answer, "reduced-phys-bits", 63),
    )


def query_guest(monitor: Monitor) -> Guest:
    """What QEMU launched; HostError (``sev-not-enabled``) for a guest that is not one of SEV."""
    answer = _object(monitor.execute("query-sev"), "query-sev")
    if answer.get("enabled") is not True:
        raise HostError(
            "QEMU has launched a guest without SEV", code="sev-not-enabled", hint="this is a fault of its command line"
        )
    numbers = [_number(answer, name, 0xFF) for name in ("api-major", "api-minor", "build-id")]
    state = answer.get("state")
    if not isinstance(state, str):
        raise _unexpected("query-sev", "no state")
    return Guest((numbers[0], numbers[1], numbers[2]), _number(answer, "policy", 0xFFFFFFFF), state)


def query_measurement(monitor: Monitor) -> bytes:
    """The launch measurement, 48 bytes; HostError."""
    answer = _object(monitor.execute("query-sev-launch-measure"), "query-sev-launch-measure")
    data = _bytes(answer, "data", MEASUREMENT_BYTES)
    if len(data) != MEASUREMENT_BYTES:
        raise _unexpected("query-sev-launch-measure", f"{len(data)} bytes")
    return data


def inject_secret(monitor: Monitor, header: bytes, secret: bytes) -> None:
    """Have the firmware open a packet into the guest's secret area, at the place its image names. HostError."""
    encoded = {"packet-header": b64encode(header).decode(), "secret": b64encode(secret).decode()}
    monitor.execute("sev-inject-launch-secret", encoded)


def _object(answer: Any, command: str) -> Mapping[str, Any]:
    if not isinstance(answer, dict):
        raise _unexpected(command, "not an object")
    return answer


def _bytes(answer: Mapping[str, Any], name: str, limit: int) -> bytes:
    value = answer.get(name)
    if isinstance(value, str) and len(value) <= 2 * limit + 4:
        try:
            data = b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if 1 <= len(data) <= limit:
            return data
    raise _unexpected(name, f"not 1 to {limit} bytes in base64")


def _number(answer: Mapping[str, Any], name: str, most: int) -> int:
    value = answer.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise _unexpected(name, f"not a number from 0 to {most}")
    return value


def _unexpected(what: str, why: str) -> HostError:
    return HostError(
        f"QEMU's answer about SEV cannot be used: {what}: {why}",
        code="qmp-answer",
        hint="use a version of QEMU that `enarx platform info` accepts",
    )
