"""Evidence from a simulated secure processor, and the order in which a Keep looks for evidence.

The simulated processor stands behind a byte stream that the host hands over (a socket, or a virtio-serial port) and is
asked in the shape of the guest messages of 56860 (tables 21 and 22), without their encryption; integers little-endian::

    request    version u32 (1), report data [64], VMPL u32
    response   status u32, size of report u32, size of table u32, report, certificate table

With version 2 the guest asks for its secret area instead, once: no report, and the area in place of the table. A guest
into which nothing was injected is refused that (status 0x16).

Its reports are format-exact and end in a root that nobody trusts unless a policy names it. So a host that hides a real
processor from the Keep gains nothing, and this way is in the Keep's code where it can be measured and read.
"""

from __future__ import annotations

import errno
import os
import select
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from enarx.errors import EvidenceError
from enarx.keep.attester import (
    BLOB_MAX_BYTES,
    REPORT_DATA_BYTES,
    SEV_GUEST,
    SNP_REPORT_BYTES,
    TSM_ROOT,
    Attester,
    RawEvidence,
    SevGuestAttester,
    TsmAttester,
)
from enarx.keep.attester_enrolled import SECRETS_ROOT, EnrolledAttester, injected_area, injected_file
from enarx.keep.attesting import unavailable
from enarx.keep.secretarea import AREA_MAX_BYTES

CHANNEL_VERSION: Final = 1
SECRET_VERSION: Final = 2
NOTHING_THERE: Final = 0x16
"""Status of an answer where there is no such thing (56860 table 22: invalid parameters)."""
CHANNEL_SECONDS: Final = 30.0
"""How long one request may take (seconds)."""
_REQUEST: Final = struct.Struct("<I64sI")
_RESPONSE: Final = struct.Struct("<III")

SourceName = Literal["configfs-tsm", "sev-guest", "efi-secret", "simulated-secret", "simulated"]


class SimulatedAttester:
    """Evidence through the channel at ``descriptor``, which stays the caller's to close.

    After an answer that breaks the format the channel has lost its framing, and every further request fails.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        seconds: float = CHANNEL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        vmpl: int = 0,
    ) -> None:
        self._descriptor = descriptor
        self._seconds = seconds
        self._clock = clock
        self._vmpl = vmpl
        self._broken = False
        self._turn = threading.Lock()  # renewal and challenges ask from threads of their own

    def attest(self, report_data: bytes) -> RawEvidence:
        """See ``Attester.attest``. EvidenceError (``attester-failed``) when the answer is refused, broken or late."""
        if len(report_data) != REPORT_DATA_BYTES:
            raise ValueError(f"report data has {REPORT_DATA_BYTES} bytes")
        status, report, table = self._ask(CHANNEL_VERSION, report_data, SNP_REPORT_BYTES, BLOB_MAX_BYTES)
        if status:
            raise _failed(f"it answered with status {status:#x}")
        if report[0x50:0x90] != report_data:
            raise _failed("the report is over other data than was asked for")
        return RawEvidence("snp", report, table)

    def secret_area(self) -> bytes:
        """What was injected into this guest; EvidenceError, ``attester-unavailable`` when nothing was."""
        status, _, area = self._ask(SECRET_VERSION, bytes(REPORT_DATA_BYTES), 0, AREA_MAX_BYTES)
        if status == NOTHING_THERE:
            raise unavailable("nothing was injected into this guest")
        if status:
            raise _failed(f"it answered with status {status:#x}")
        return area

    def _ask(self, version: int, data: bytes, report_bytes: int, table_max: int) -> tuple[int, bytes, bytes]:
        """One exchange: status, report of exactly ``report_bytes`` and table of at most ``table_max``."""
        with self._turn:
            return self._exchange(version, data, report_bytes, table_max)

    def _exchange(self, version: int, data: bytes, report_bytes: int, table_max: int) -> tuple[int, bytes, bytes]:
        if self._broken:
            raise _failed("the channel broke before")
        self._broken = True  # until this exchange has ended as it should
        deadline = self._clock() + self._seconds
        try:
            self._write(_REQUEST.pack(version, data, self._vmpl), deadline)
            status, report_size, table_size = _RESPONSE.unpack(self._read(_RESPONSE.size, deadline))
            if status:
                self._broken = bool(report_size or table_size)
                return status, b"", b""
            if report_size != report_bytes or table_size > table_max:
                raise _failed(f"it announced a report of {report_size} bytes and a table of {table_size}")
            report = self._read(report_size, deadline)
            table = self._read(table_size, deadline)
        except OSError as error:
            raise _failed(f"{errno.errorcode.get(error.errno or 0, '')} {error.strerror or error}".strip()) from error
        self._broken = False
        return status, report, table

    def _write(self, data: bytes, deadline: float) -> None:
        while data:
            self._wait(select.POLLOUT, deadline)
            data = data[os.write(self._descriptor, data) :]

    def _read(self, size: int, deadline: float) -> bytes:
        found = bytearray()
        while len(found) < size:
            self._wait(select.POLLIN, deadline)
            part = os.read(self._descriptor, size - len(found))
            if not part:
                raise _failed("the channel was closed")
            found += part
        return bytes(found)

    def _wait(self, events: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._descriptor, events)
        left = deadline - self._clock()
        if left <= 0 or not poll.poll(left * 1000):
            raise _failed(f"no answer within {self._seconds:g} s")


@dataclass(frozen=True, slots=True)
class Source:
    """A way to evidence, by the name under which the Keep reports it; ``apart``: from a process of its own."""

    name: SourceName
    attester: Attester
    apart: bool = False

    @property
    def simulated(self) -> bool:
        """Whether no hardware stands behind it: every output that shows such a Keep must say so."""
        return self.name in ("simulated", "simulated-secret")

    @property
    def lasting(self) -> bool:
        """Whether it still works once the Keep is in its sandbox, where there are no files to open."""
        return self.apart or self.name in ("simulated", "simulated-secret", "efi-secret")


def sources(
    channel: int | None = None, *, root: str = TSM_ROOT, device: str = SEV_GUEST, secrets: str = SECRETS_ROOT
) -> tuple[Source, ...]:
    """The ways in their order: what a processor reports, what was injected, then the ``channel`` that the host gave."""
    found = (
        Source("configfs-tsm", TsmAttester(root)),
        Source("sev-guest", SevGuestAttester(device)),
        Source("efi-secret", EnrolledAttester(injected_file(secrets))),
    )
    if channel is None:
        return found
    simulated = SimulatedAttester(channel)
    injected = EnrolledAttester(injected_area(simulated.secret_area))
    return (*found, Source("simulated-secret", injected), Source("simulated", simulated))


def first_evidence(report_data: bytes, candidates: Sequence[Source]) -> tuple[Source, RawEvidence]:
    """Evidence by the first source that this machine has, and which that was.

    The next one is tried only when a source does not exist here (``attester-unavailable``). One that exists and fails
    is an error: a Keep on a real processor never falls back to a simulated one. Raises EvidenceError.
    """
    missing: list[str] = []
    for source in candidates:
        try:
            return source, source.attester.attest(report_data)
        except EvidenceError as error:
            if error.code != "attester-unavailable":
                raise
            missing.append(error.message)
    raise EvidenceError(
        "; ".join(missing) or "this machine offers no evidence",
        code="attester-unavailable",
        hint="run on SEV-SNP or TDX with the guest driver loaded, or let the host provide a simulated processor",
    )


def _failed(what: str) -> EvidenceError:
    return EvidenceError(
        f"the simulated secure processor gave no evidence: {what}",
        code="attester-failed",
        hint="see what the host says; it runs the simulated processor",
    )
