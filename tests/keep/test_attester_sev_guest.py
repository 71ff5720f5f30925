"""Evidence collected through an imitated /dev/sev-guest."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

import pytest

from enarx.errors import EvidenceError
from enarx.keep.attester_sev_guest import SNP_GET_EXT_REPORT, SNP_GET_REPORT, SevGuestAttester
from enarx.keep.attesting import BLOB_MAX_BYTES
from tests.keep.attesting import DATA, Pauses, report_over


class SevGuestDevice:
    """The kernel's side of the ioctls, working on the very structures in memory that user space passes."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.table = b"\1" * 48
        self.needs = 0
        self.errors: list[tuple[int, int]] = []
        self.status = 0
        self.ext_supported = True

    def __call__(self, descriptor: int, number: int, argument: bytearray) -> int:
        self.calls.append(number)
        version, request, response, _ = struct.unpack("<B7xQQQ", argument)
        assert version == 1
        if self.errors:
            code, vmm_error = self.errors.pop(0)
            argument[24:32] = struct.pack("<II", 0, vmm_error)
            raise OSError(code, os.strerror(code))
        data = ctypes.string_at(request, 64)
        if number == SNP_GET_EXT_REPORT:
            self._certificates(request, argument)
        body = report_over(data)
        ctypes.memmove(response, struct.pack("<II24x", self.status, len(body)) + body, 32 + len(body))
        return 0

    def _certificates(self, request: int, argument: bytearray) -> None:
        if not self.ext_supported:
            raise OSError(errno.EIO, "extended requests are not supported")
        address, room = struct.unpack("<QI", ctypes.string_at(request + 96, 12))
        assert address % 4096 == 0
        assert room % 4096 == 0
        if room < self.needs:
            ctypes.memmove(request + 104, struct.pack("<I", self.needs), 4)
            argument[24:32] = struct.pack("<II", 0, 1)
            raise OSError(errno.EIO, "invalid length")
        ctypes.memmove(address, self.table, len(self.table))


@pytest.fixture
def device() -> SevGuestDevice:
    return SevGuestDevice()


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def by_ioctl(device: SevGuestDevice, pauses: Pauses) -> SevGuestAttester:
    return SevGuestAttester(os.devnull, ioctl=device, sleep=pauses)


def test_extended_report_brings_certificates(by_ioctl: SevGuestAttester, device: SevGuestDevice) -> None:
    evidence = by_ioctl.attest(DATA)
    assert evidence.report[0x50:0x90] == DATA
    assert evidence.certificates.startswith(device.table)
    assert device.calls == [SNP_GET_EXT_REPORT]


def test_host_without_certificates_gives_none(by_ioctl: SevGuestAttester, device: SevGuestDevice) -> None:
    device.table = bytes(48)
    assert by_ioctl.attest(DATA).certificates == b""


def test_plain_report_is_asked_for_when_the_extended_one_is_refused(
    by_ioctl: SevGuestAttester, device: SevGuestDevice
) -> None:
    device.ext_supported = False
    assert by_ioctl.attest(DATA).certificates == b""
    assert device.calls == [SNP_GET_EXT_REPORT, SNP_GET_REPORT]


def test_larger_table_gets_a_larger_buffer_once(by_ioctl: SevGuestAttester, device: SevGuestDevice) -> None:
    device.needs = 20_000
    assert by_ioctl.attest(DATA).certificates.startswith(device.table)
    assert device.calls == [SNP_GET_EXT_REPORT] * 2


def test_table_past_the_limit_is_done_without(by_ioctl: SevGuestAttester, device: SevGuestDevice) -> None:
    device.needs = BLOB_MAX_BYTES + 1
    assert by_ioctl.attest(DATA).certificates == b""


def test_busy_host_is_asked_again(by_ioctl: SevGuestAttester, device: SevGuestDevice, pauses: Pauses) -> None:
    device.errors = [(errno.EIO, 2), (errno.EAGAIN, 0)]
    assert by_ioctl.attest(DATA).report[0x50:0x90] == DATA
    assert pauses == [0.05, 0.1]


def test_firmware_status_is_an_error(by_ioctl: SevGuestAttester, device: SevGuestDevice) -> None:
    device.status = 0x16
    with pytest.raises(EvidenceError, match="0x16"):
        by_ioctl.attest(DATA)


def test_refused_request_is_an_error_and_not_repeated(by_ioctl: SevGuestAttester, device: SevGuestDevice) -> None:
    device.errors = [(errno.EIO, 0), (errno.EIO, 0)]
    with pytest.raises(EvidenceError) as caught:
        by_ioctl.attest(DATA)
    assert caught.value.code == "attester-failed"
    assert device.calls == [SNP_GET_EXT_REPORT, SNP_GET_REPORT]


def test_missing_device_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError) as caught:
        SevGuestAttester(str(tmp_path / "sev-guest")).attest(DATA)
    assert caught.value.code == "attester-unavailable"


def test_request_numbers_are_those_of_the_kernel_header() -> None:
    assert (SNP_GET_REPORT, SNP_GET_EXT_REPORT) == (0xC0205300, 0xC0205302)
