"""Evidence through configfs-tsm, on Linux 6.7 and newer (``Documentation/ABI/testing/configfs-tsm-report``)."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Final, Protocol

from enarx.keep.attesting import (
    BLOB_MAX_BYTES,
    BUSY,
    BusyError,
    RawEvidence,
    cause_of,
    check_report,
    check_size,
    failed,
    retrying,
    unavailable,
)

TSM_ROOT: Final = "/sys/kernel/config/tsm/report"
TEXT_MAX_BYTES: Final = 256
"""Largest text attribute that is read (bytes)."""

_PROVIDERS: Final = {"sev_guest": "snp", "tdx_guest": "tdx"}
"""Names that kernel modules give to themselves, and the technology."""


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
        check_size(report_data)
        return retrying(lambda: self._once(report_data), self._sleep)

    def _once(self, report_data: bytes) -> RawEvidence:
        entry = f"{self._root}/enarx-{os.getpid()}-{os.urandom(8).hex()}"
        try:
            self._files.make_directory(entry)
        except OSError as error:
            if error.errno in BUSY:
                raise BusyError(str(error)) from error
            raise unavailable(f"configfs-tsm: {cause_of(error)}") from error
        try:
            return self._ask(entry, report_data)
        except OSError as error:
            if error.errno in BUSY:
                raise BusyError(str(error)) from error
            raise failed(f"configfs-tsm: {cause_of(error)}") from error
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
            raise failed(f"configfs-tsm provider {provider!r} is not known")
        before = self._generation(entry)
        self._files.write(f"{entry}/inblob", report_data)
        report = self._files.read(f"{entry}/outblob", BLOB_MAX_BYTES)
        certificates = self._optional(f"{entry}/auxblob")
        after = self._generation(entry)
        if after != before + 1:
            raise BusyError(f"generation moved from {before} to {after}: somebody else wrote to this entry")
        check_report(technology, report, report_data)
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
            raise failed(f"configfs-tsm generation {text[:32]!r} is not a number")
        return int(text)
