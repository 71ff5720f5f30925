"""Evidence from inside the guest: configfs-tsm, or the ioctls of ``/dev/sev-guest`` on kernels before 6.7.

An ``Attester`` has one method. What it returns is bytes as firmware and host gave them: the report is signed by the
processor, the certificates come from the host, and neither is judged here. Sources: Linux
``Documentation/ABI/testing/configfs-tsm-report`` and ``include/uapi/linux/sev-guest.h``; 56860 tables 21 and 22.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from enarx.errors import EvidenceError, UsageError

TSM_ROOT: Final = "/sys/kernel/config/tsm/report"
SEV_GUEST: Final = "/dev/sev-guest"

REPORT_DATA_BYTES: Final = 64
"""Size of the caller's data in a report, of SEV-SNP and of TDX alike (bytes)."""
ATTEMPTS_MAX: Final = 8
"""How often a report is asked for when the kernel or the host is busy (count)."""
RETRY_SECONDS: Final = 0.05
"""Pause before the first retry (seconds); doubled each time, so that eight attempts take at most 6.4 s."""
BLOB_MAX_BYTES: Final = 64 * 1024
"""Largest report or certificate blob that is accepted (bytes); Linux stops at 32 KiB."""
TEXT_MAX_BYTES: Final = 256
"""Largest text attribute that is read (bytes)."""
SNP_REPORT_BYTES: Final = 1184

_PROVIDERS: Final = {"sev_guest": "snp", "tdx_guest": "tdx"}
"""Names that kernel modules give to themselves, and the technology."""
_BUSY: Final = frozenset((errno.EBUSY, errno.EAGAIN, errno.EINTR))


@dataclass(frozen=True, slots=True)
class RawEvidence:
    """``technology`` is ``snp`` or ``tdx``; ``certificates`` is the host's certificate table, often empty."""

    technology: str
    report: bytes
    certificates: bytes = b""


class Attester(Protocol):
    """Whatever can have this guest's evidence made."""

    def attest(self, report_data: bytes) -> RawEvidence:
        """Evidence over 64 bytes of the caller's; EvidenceError when there is none to be had."""
        ...


class Files(Protocol):
    """The system calls that configfs-tsm needs; tests put failures between."""

    def make_directory(self, path: str) -> None: ...
    def remove_directory(self, path: str) -> None: ...
    def read(self, path: str, limit: int) -> bytes: ...
    def write(self, path: str, data: bytes) -> None: ...


class SystemFiles:
    """The real system calls. An attribute of configfs is written by one ``write`` and read until its end."""

    def make_directory(self, path: str) -> None:
        os.mkdir(path)

    def remove_directory(self, path: str) -> None:
        os.rmdir(path)

    def read(self, path: str, limit: int) -> bytes:
        """At most ``limit`` bytes; OSError (EFBIG) when there are more."""
        found = b""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while chunk := os.read(descriptor, limit + 1 - len(found)):
                found += chunk
                if len(found) > limit:
                    raise OSError(errno.EFBIG, "more than is accepted", path)
        finally:
            os.close(descriptor)
        return found

    def write(self, path: str, data: bytes) -> None:
        """All of ``data`` at once; OSError (EIO) when the kernel took less."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError(errno.EIO, "short write", path)
        finally:
            os.close(descriptor)


class TsmAttester:
    """Evidence through configfs-tsm: a directory per request, so that nobody else writes to it.

    The generation counter is checked all the same: it must have moved by exactly our own writes, else the report may
    be over somebody else's data.
    """

    def __init__(
        self, root: str = TSM_ROOT, *, files: Files | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._root = root
        self._files = files if files is not None else SystemFiles()
        self._sleep = sleep

    def attest(self, report_data: bytes) -> RawEvidence:
        """See ``Attester.attest``. Tries up to ``ATTEMPTS_MAX`` times while the kernel says that it is busy."""
        _check_size(report_data)
        return _retrying(lambda: self._once(report_data), self._sleep)

    def _once(self, report_data: bytes) -> RawEvidence:
        entry = f"{self._root}/enarx-{os.getpid()}-{os.urandom(8).hex()}"
        try:
            self._files.make_directory(entry)
        except OSError as error:
            if error.errno in _BUSY:
                raise _BusyError(str(error)) from error
            raise _unavailable(f"configfs-tsm: {_cause(error)}") from error
        try:
            return self._ask(entry, report_data)
        except OSError as error:
            if error.errno in _BUSY:
                raise _BusyError(str(error)) from error
            raise _failed(f"configfs-tsm: {_cause(error)}") from error
        finally:
            self._remove(entry)

    def _remove(self, entry: str) -> None:
        try:
            self._files.remove_directory(entry)
        except OSError:
            return  # the entry holds a report that is about to be published; nothing is lost with it

    def _ask(self, entry: str, report_data: bytes) -> RawEvidence:
        provider = self._text(f"{entry}/provider")
        technology = _PROVIDERS.get(provider)
        if technology is None:
            raise _failed(f"configfs-tsm provider {provider!r} is not known")
        before = self._generation(entry)
        self._files.write(f"{entry}/inblob", report_data)
        report = self._files.read(f"{entry}/outblob", BLOB_MAX_BYTES)
        certificates = self._optional(f"{entry}/auxblob")
        after = self._generation(entry)
        if after != before + 1:
            raise _BusyError(f"generation moved from {before} to {after}: somebody else wrote to this entry")
        _check_report(technology, report, report_data)
        return RawEvidence(technology, report, certificates)

    def _optional(self, path: str) -> bytes:
        """An attribute that not every provider has, and that the host may leave empty."""
        try:
            return self._files.read(path, BLOB_MAX_BYTES)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENXIO, errno.EOPNOTSUPP):
                return b""
            raise

    def _text(self, path: str) -> str:
        return self._files.read(path, TEXT_MAX_BYTES).decode("ascii", "replace").strip()

    def _generation(self, entry: str) -> int:
        text = self._text(f"{entry}/generation")
        if not text.isascii() or not text.isdigit():
            raise _failed(f"configfs-tsm generation {text[:32]!r} is not a number")
        return int(text)


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
_VMM_BUSY: Final = 2
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
        _check_size(report_data)
        return _retrying(lambda: self._once(report_data), self._sleep)

    def _once(self, report_data: bytes) -> RawEvidence:
        try:
            descriptor = os.open(self._device, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise _unavailable(f"{self._device}: {_cause(error)}") from error
        try:
            report, certificates = self._extended(descriptor, report_data, _CERTIFICATES_BYTES)
        finally:
            os.close(descriptor)
        _check_report("snp", report, report_data)
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
                raise _failed(str(error)) from error
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
            if error.errno in _BUSY or vmm_error == _VMM_BUSY:
                raise _BusyError(str(error)) from error
            raise _HostRefusedError(_cause(error), firmware_error, vmm_error) from error
        status, size = _RESPONSE_HEAD.unpack_from(response.raw)
        if status or size != SNP_REPORT_BYTES:
            raise _failed(f"firmware answered with status {status:#x} and {size} bytes")
        return response.raw[_RESPONSE_HEAD.size : _RESPONSE_HEAD.size + SNP_REPORT_BYTES]


def find_attester(root: str = TSM_ROOT, device: str = SEV_GUEST) -> Attester:
    """The best way to evidence that this machine offers; EvidenceError (``attester-unavailable``) when it has none."""
    if os.path.isdir(root):
        return TsmAttester(root)
    if os.path.exists(device):
        return SevGuestAttester(device)
    raise _unavailable(f"neither {root} nor {device} exists")


class _BusyError(Exception):
    """Worth another attempt."""


class _HostRefusedError(Exception):
    """The host or the firmware refused the request for good."""

    def __init__(self, cause: str, firmware_error: int, vmm_error: int) -> None:
        super().__init__(f"/dev/sev-guest: {cause} (firmware {firmware_error:#x}, host {vmm_error:#x})")
        self.vmm_error = vmm_error


def _retrying(once: Callable[[], RawEvidence], sleep: Callable[[float], None]) -> RawEvidence:
    pause = RETRY_SECONDS
    last: _BusyError | None = None
    for attempt in range(ATTEMPTS_MAX):
        if attempt:
            sleep(pause)
            pause *= 2
        try:
            return once()
        except _BusyError as busy:
            last = busy
    raise EvidenceError(
        f"no report after {ATTEMPTS_MAX} attempts: {last}",
        code="attester-busy",
        hint="the host limits the rate of reports; try again later",
    ) from last


def _check_size(report_data: bytes) -> None:
    if len(report_data) != REPORT_DATA_BYTES:
        raise UsageError(
            f"report data has {REPORT_DATA_BYTES} bytes, not {len(report_data)}",
            code="report-data-size",
            hint="pad with zeros on the right",
        )


def _check_report(technology: str, report: bytes, report_data: bytes) -> None:
    """A report that is cut off, or over other data than ours, is worth nothing to anybody; say so here and now."""
    if technology == "snp":
        if len(report) != SNP_REPORT_BYTES:
            raise _failed(f"a report of {len(report)} bytes, expected {SNP_REPORT_BYTES}")
        if report[0x50:0x90] != report_data:
            raise _failed("the report is over other data than was asked for")
    elif not report:
        raise _failed("an empty report")


def _cause(error: OSError) -> str:
    name = errno.errorcode.get(error.errno or 0, "")
    return f"{name} {error.strerror or error}".strip()


def _unavailable(what: str) -> EvidenceError:
    return EvidenceError(
        f"this machine offers no evidence: {what}",
        code="attester-unavailable",
        hint="run on SEV-SNP or TDX with the guest driver loaded (sev-guest or tdx-guest), configfs mounted",
    )


def _failed(what: str) -> EvidenceError:
    return EvidenceError(
        f"the evidence could not be had: {what}",
        code="attester-failed",
        hint="see the kernel log of the guest; the host or the firmware may have refused",
    )
