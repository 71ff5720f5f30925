"""What every way to evidence has in common: one method, evidence as bytes, bounded attempts, and errors in words.

What an ``Attester`` returns is bytes as firmware and host gave them: the report is signed by the processor, the
certificates come from the host, and neither is judged here.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from enarx.errors import EvidenceError, UsageError
from enarx.keep.tdxquote import read_quote

REPORT_DATA_BYTES: Final = 64
"""Size of the caller's data in a report, of SEV-SNP and of TDX alike (bytes)."""
ATTEMPTS_MAX: Final = 8
"""How often a report is asked for when the kernel or the host is busy (count)."""
RETRY_SECONDS: Final = 0.05
"""Pause before the first retry (seconds); doubled each time, so that eight attempts take at most 6.4 s."""
BLOB_MAX_BYTES: Final = 64 * 1024
"""Largest report or certificate blob that is accepted (bytes); Linux stops at 32 KiB."""
SNP_REPORT_BYTES: Final = 1184

BUSY: Final = frozenset((errno.EBUSY, errno.EAGAIN, errno.EINTR))
"""Errors of the kernel that are worth another attempt."""


@dataclass(frozen=True, slots=True)
class RawEvidence:
    """``technology`` is ``snp``, ``tdx`` or ``sev``; ``certificates`` is the host's certificate table, often empty.

    SEV has no reports: there ``report`` is the value of ``binding.sev_evidence``, and ``manifest_digest`` what the
    credential says of the manifest; reports say it themselves.
    """

    technology: str
    report: bytes
    certificates: bytes = b""
    manifest_digest: bytes = b""


class Attester(Protocol):
    """Whatever can have this guest's evidence made."""

    def attest(self, report_data: bytes) -> RawEvidence:
        """Evidence over 64 bytes of the caller's; EvidenceError when there is none to be had."""
        ...


class BusyError(Exception):
    """Worth another attempt."""


def retrying(once: Callable[[], RawEvidence], sleep: Callable[[float], None]) -> RawEvidence:
    """What ``once`` returns, tried up to ``ATTEMPTS_MAX`` times; EvidenceError (``attester-busy``) after that."""
    pause = RETRY_SECONDS
    last: BusyError | None = None
    for attempt in range(ATTEMPTS_MAX):
        if attempt:
            sleep(pause)
            pause *= 2
        try:
            return once()
        except BusyError as busy:
            last = busy
    raise EvidenceError(
        f"no report after {ATTEMPTS_MAX} attempts: {last}",
        code="attester-busy",
        hint="the host limits the rate of reports; try again later",
    ) from last


def check_size(report_data: bytes) -> None:
    """Raise UsageError unless the caller's data has exactly the 64 bytes that a report takes."""
    if len(report_data) != REPORT_DATA_BYTES:
        raise UsageError(
            f"report data has {REPORT_DATA_BYTES} bytes, not {len(report_data)}",
            code="report-data-size",
            hint="pad with zeros on the right",
        )


def check_report(technology: str, report: bytes, report_data: bytes) -> None:
    """A report that is cut off, or over other data than ours, is worth nothing to anybody; say so here and now."""
    if technology == "snp":
        if len(report) != SNP_REPORT_BYTES:
            raise failed(f"a report of {len(report)} bytes, expected {SNP_REPORT_BYTES}")
        if report[0x50:0x90] != report_data:
            raise failed("the report is over other data than was asked for")
    else:
        quote = read_quote(report)
        if quote is None:
            raise failed("something that is no TDX quote of a known format")
        if quote.report_data != report_data:
            raise failed("the quote is over other data than was asked for")


def cause_of(error: OSError) -> str:
    """An error of the kernel by name and in words."""
    name = errno.errorcode.get(error.errno or 0, "")
    return f"{name} {error.strerror or error}".strip()


def unavailable(what: str) -> EvidenceError:
    """The error for a machine without this way to evidence (``attester-unavailable``)."""
    return EvidenceError(
        f"this machine offers no evidence: {what}",
        code="attester-unavailable",
        hint="run on SEV-SNP or TDX with the guest driver loaded (sev-guest or tdx-guest), configfs mounted",
    )


def failed(what: str) -> EvidenceError:
    """The error for a way that exists and gave nothing to be believed (``attester-failed``)."""
    return EvidenceError(
        f"the evidence could not be had: {what}",
        code="attester-failed",
        hint="see the kernel log of the guest; the host or the firmware may have refused",
    )
