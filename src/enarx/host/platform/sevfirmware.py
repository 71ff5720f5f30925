"""The SEV firmware of this machine, asked through ``/dev/sev``.

Sources: Linux ``include/uapi/linux/psp-sev.h``; SEV API (55766) PLATFORM_STATUS; SEV-SNP firmware ABI (56860) table 38.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from typing import Final

from enarx.host.platform.machine import Machine

SEV_DEVICE: Final = "/dev/sev"
SEV_PLATFORM_STATUS: Final = 1
SNP_PLATFORM_STATUS: Final = 9
STATES: Final = ("not initialized", "initialized", "in use")

_COMMAND: Final = struct.Struct("<IQI")  # struct sev_issue_cmd, packed: command, address of its data, error
SEV_ISSUE_CMD: Final = 3 << 30 | _COMMAND.size << 16 | ord("S") << 8
_SEV_STATUS: Final = struct.Struct("<BBBIBI")  # struct sev_user_data_status, packed
_SNP_STATUS: Final = struct.Struct("<BBBBIIIQQ")  # struct sev_user_data_snp_status, packed


@dataclass(frozen=True, slots=True)
class SevFirmware:
    """Version of the API, build, state in words, and how many guests it has now.

    ``reported_tcb``: of an SNP platform, the eight bytes that its reports carry.
    """

    major: int
    minor: int
    build: int
    state: str
    guests: int
    reported_tcb: bytes | None = None

    @property
    def version(self) -> str:
        """As AMD writes it."""
        return f"{self.major}.{self.minor} build {self.build}"


def read_sev(machine: Machine) -> SevFirmware | str:
    """The firmware as SEV and SEV-ES guests have it, or why it cannot be asked."""
    data = _ask(machine, SEV_PLATFORM_STATUS, _SEV_STATUS.size)
    if isinstance(data, str):
        return data
    major, minor, state, _flags, build, guests = _SEV_STATUS.unpack(data)
    return SevFirmware(major, minor, build, _state(state), guests)


def read_snp(machine: Machine) -> SevFirmware | str:
    """The firmware as SNP guests have it, or why it cannot be asked."""
    data = _ask(machine, SNP_PLATFORM_STATUS, _SNP_STATUS.size)
    if isinstance(data, str):
        return data
    major, minor, state, _rmp, build, _flags, guests, _current, reported = _SNP_STATUS.unpack(data)
    return SevFirmware(major, minor, build, _state(state), guests, reported.to_bytes(8, "little"))


def _state(number: int) -> str:
    return STATES[number] if number < len(STATES) else f"state {number}"


def _ask(machine: Machine, command: int, size: int) -> bytes | str:
    answer = ctypes.create_string_buffer(size)
    argument = bytearray(_COMMAND.pack(command, ctypes.addressof(answer), 0))
    try:
        descriptor = os.open(machine.path(SEV_DEVICE), os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"{SEV_DEVICE}: {error.strerror}"
    try:
        machine.ioctl(descriptor, SEV_ISSUE_CMD, argument)
    except OSError as error:
        refused = _COMMAND.unpack(argument)[2]
        return f"{error.strerror} (firmware error {refused:#x})" if refused else f"{SEV_DEVICE}: {error.strerror}"
    finally:
        os.close(descriptor)
    return answer.raw
