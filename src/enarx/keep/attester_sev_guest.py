"""Evidence through the ioctls of ``/dev/sev-guest``, for kernels before 6.7.

Sources: Linux ``include/uapi/linux/sev-guest.h``; SEV-SNP firmware ABI (56860) tables 21 and 22.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import time
from collections.abc import Callable
from typing import Final

from enarx.keep.attesting import (
    BLOB_MAX_BYTES,
    BUSY,
    SNP_REPORT_BYTES,
    BusyError,
    RawEvidence,
    cause_of,
    check_report,
    check_size,
    failed,
    retrying,
    unavailable,
)

SEV_GUEST: Final = "/dev/sev-guest"

_GUEST_REQUEST: Final = struct.Struct("<B7xQQQ")  # struct snp_guest_request_ioctl: version, request, response, errors
_REPORT_REQUEST: Final = struct.Struct("<64sI28x")  # struct snp_report_req
_EXTENDED_REQUEST: Final = struct.Struct("<64sI28xQI4x")  # struct snp_ext_report_req
_RESPONSE_BYTES: Final = 4000
_RESPONSE_HEAD: Final = struct.Struct("<II24x")  # MSG_REPORT_RSP: status, size (56860 table 22)


def _iowr(number: int) -> int:
    """``_IOWR('S', number, struct snp_guest_request_ioctl)``."""
    return 3 << 30 | _GUEST_REQUEST.size << 16 | ord("S") << 8 | number


SNP_GET_REPORT: Final = _iowr(0)
SNP_GET_EXT_REPORT: Final = _iowr(2)
_VMM_INVALID_LENGTH: Final = 1
_VMMBUSY: Final = 2
_CERTIFICATES_BYTES: Final = 16 * 1024
_PAGE_BYTES: Final = 4096

Ioctl = Callable[[int, int, bytearray], int]


class SevGuestAttester:
    """Evidence through ``/dev/sev-guest``, extended with the host's certificates where the host has any."""

    def __init__(
        self,
        device: str = SEV_GUEST,
        *,
        ioctl: Ioctl = fcntl.ioctl,
        sleep: Callable[[float], None] = time.sleep,
        vmpl: int = 0,
    ) -> None:
        self._device = device
        self._ioctl = ioctl
        self._sleep = sleep
        self._vmpl = vmpl

    def attest(self, report_data: bytes) -> RawEvidence:
        """See ``Attester.attest``. Falls back to the plain report when the host refuses the extended one."""
        check_size(report_data)
        return retrying(lambda: self._once(report_data), self._sleep)

    def _once(self, report_data: bytes) -> RawEvidence:
        try:
            descriptor = os.open(self._device, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise unavailable(f"{self._device}: {cause_of(error)}") from error
        try:
            report, certificates = self._extended(descriptor, report_data, _CERTIFICATES_BYTES)
        finally:
            os.close(descriptor)
        check_report("snp", report, report_data)
        return RawEvidence("snp", report, certificates)

    def _extended(self, descriptor: int, report_data: bytes, room: int) -> tuple[bytes, bytes]:
        # Page-aligned and of whole pages, as the kernel demands of the certificate buffer.
        area = ctypes.create_string_buffer(room + _PAGE_BYTES)
        address = -(-ctypes.addressof(area) // _PAGE_BYTES) * _PAGE_BYTES
        request = ctypes.create_string_buffer(
            _EXTENDED_REQUEST.pack(report_data, self._vmpl, address, room), _EXTENDED_REQUEST.size
        )
        try:
            response = self._call(descriptor, SNP_GET_EXT_REPORT, request)
        except _HostRefusedError as refusal:
            needed = _EXTENDED_REQUEST.unpack(request.raw)[3]
            if refusal.vmm_error == _VMM_INVALID_LENGTH and room < needed <= BLOB_MAX_BYTES:
                return self._extended(descriptor, report_data, -(-needed // _PAGE_BYTES) * _PAGE_BYTES)
            plain = ctypes.create_string_buffer(_REPORT_REQUEST.pack(report_data, self._vmpl), _REPORT_REQUEST.size)
            try:
                return self._call(descriptor, SNP_GET_REPORT, plain), b""
            except _HostRefusedError as error:
                raise failed(str(error)) from error
        table = ctypes.string_at(address, room)
        return response, table if any(table[:16]) else b""

    def _call(self, descriptor: int, number: int, request: ctypes.Array[ctypes.c_char]) -> bytes:
        response = ctypes.create_string_buffer(_RESPONSE_BYTES)
        argument = bytearray(_GUEST_REQUEST.pack(1, ctypes.addressof(request), ctypes.addressof(response), 0))
        try:
            self._ioctl(descriptor, number, argument)
        except OSError as error:
            errors = _GUEST_REQUEST.unpack(argument)[3]
            firmware_error, vmm_error = errors & 0xFFFF_FFFF, errors >> 32
            if error.errno in BUSY or vmm_error == _VMMBUSY:
                raise BusyError(str(error)) from error
            raise _HostRefusedError(cause_of(error), firmware_error, vmm_error) from error
        status, size = _RESPONSE_HEAD.unpack_from(response.raw)
        if status or size != SNP_REPORT_BYTES:
            raise failed(f"firmware answered with status {status:#x} and {size} bytes")
        return response.raw[_RESPONSE_HEAD.size : _RESPONSE_HEAD.size + SNP_REPORT_BYTES]


class _HostRefusedError(Exception):
    """The host or the firmware refused the request for good."""

    def __init__(self, cause: str, firmware_error: int, vmm_error: int) -> None:
        super().__init__(f"/dev/sev-guest: {cause} (firmware {firmware_error:#x}, host {vmm_error:#x})")
        self.vmm_error = vmm_error
