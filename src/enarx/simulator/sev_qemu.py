"""What QEMU does with SEV firmware, against the SIMULATED one: launch stopped, then answer the monitor's commands.

Source: QEMU ``target/i386/sev.c`` and ``qapi/misc-i386.json``. QEMU feeds firmware image, table of kernel hashes and
VMSAs to the firmware and measures them before the guest runs (``-S``); ``cont`` finishes the launch. Nothing runs here:
whoever asks finds in ``area`` what the guest would find in its secret area.
"""

from __future__ import annotations

import binascii
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from enarx.errors import HostError
from enarx.evidence.ovmf import parse_firmware
from enarx.simulator.sev_firmware import ES, FirmwareError, SevFirmware, State

SECRET_GUID: Final = UUID("4c2eb361-7d9b-4cc3-8081-127c90d3d294")
"""Entry of a firmware's table that says where its secret area is: address u32, size u32 (OvmfPkg/ResetVector)."""
NO_FIRMWARE_AREA: Final = (0x810000, 0xC00)
"""Where it is said to be for a process Keep, which has no firmware: address and size."""
CBITPOS: Final = 51
REDUCED_PHYS_BITS: Final = 1

_AREA: Final = struct.Struct("<II")
_STATES: Final = {State.LUPDATE: "launch-update", State.LSECRET: "launch-secret", State.RUNNING: "running"}


class SimulatedQemu:
    """A SIMULATED QEMU: its monitor. Without `start` there is no guest, and only capabilities can be asked for."""

    def __init__(self, firmware: SevFirmware) -> None:
        self._firmware = firmware
        self._handle = 0
        self._where = NO_FIRMWARE_AREA

    def start(
        self, *, policy: int, dh_cert: bytes, session: bytes, data: Iterable[bytes], vmsas: Iterable[bytes] = (),
        firmware: bytes | None = None,
    ) -> None:  # fmt: skip
        """Launch a guest as ``-object sev-guest`` does, stopped; ``data`` is what is measured, in order.

        ``firmware`` is the image that says where the secret area is. HostError when the SEV firmware refuses,
        MalformedError for an image that is none.
        """
        if firmware is not None:
            entry = parse_firmware(firmware).table.get(SECRET_GUID, b"")
            self._where = _AREA.unpack(entry) if len(entry) == _AREA.size else (0, 0)
        try:
            handle = self._firmware.launch_start(policy, dh_cert, session)
            for piece in data:
                self._firmware.launch_update_data(handle, piece)
            if policy & ES:
                for page in vmsas:
                    self._firmware.launch_update_vmsa(handle, page)
            self._measurement = self._firmware.launch_measure(handle)
        except FirmwareError as error:
            raise _failed("the guest cannot be launched", error) from error
        self._handle = handle

    @property
    def area(self) -> bytes:
        """What a running guest finds in its secret area; nothing where nothing was injected."""
        return self._firmware.read_memory(self._handle, self._where[0])

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """One QMP command and what it returns; HostError (``qmp-refused``) for what QEMU answers with an error."""
        given = arguments or {}
        if command == "query-sev-capabilities":
            return self._capabilities()
        if not self._handle:
            raise HostError(f"{command}: SEV is not enabled", code="qmp-refused")
        try:
            if command == "query-sev":
                return self._describe()
            if command == "query-sev-launch-measure":
                if self._firmware.guest_status(self._handle)[1] is not State.LSECRET:
                    raise HostError("SEV launch measurement is not available", code="qmp-refused")
                return {"data": b64encode(self._measurement).decode()}
            if command == "sev-inject-launch-secret":
                header, data = _base64(given, "packet-header"), _base64(given, "secret")
                address, size = self._where
                if "gpa" not in given and not size:
                    raise HostError("SEV: no secret area found in OVMF, gpa must be specified.", code="qmp-refused")
                self._firmware.launch_secret(self._handle, header, data, int(given.get("gpa", address)))
                return {}
            if command == "cont":
                self._firmware.launch_finish(self._handle)
                return {}
        except FirmwareError as error:
            raise _failed(command, error) from error
        raise HostError(f"The command {command} has not been found", code="qmp-refused")

    def _capabilities(self) -> dict[str, Any]:
        pdh, chain = self._firmware.pdh_cert_export()
        return {
            "pdh": b64encode(pdh).decode(),
            "cert-chain": b64encode(chain).decode(),
            "cpu0-id": b64encode(self._firmware.get_id()).decode(),
            "cbitpos": CBITPOS,
            "reduced-phys-bits": REDUCED_PHYS_BITS,
        }

    def _describe(self) -> dict[str, Any]:
        policy, state = self._firmware.guest_status(self._handle)
        version = self._firmware.version
        return {
            "enabled": True,
            "api-major": version.api_major,
            "api-minor": version.api_minor,
            "build-id": version.build,
            "state": _STATES[state],
            "sev-type": "sev",
            "policy": policy,
            "handle": self._handle,
        }


def _base64(arguments: Mapping[str, Any], name: str) -> bytes:
    try:
        return b64decode(arguments[name], validate=True)
    except (KeyError, TypeError, binascii.Error, ValueError) as error:
        raise HostError(f"{name} is not base64", code="qmp-refused") from error


def _failed(what: str, error: FirmwareError) -> HostError:
    return HostError(
        f"{what}: {error}",
        code="qmp-refused",
        hint="BAD_MEASUREMENT: session, policy or secret are not for this platform, launch or policy",
    )
