"""The way from a guest to its simulated secure processor: a byte stream with one request and one answer at a time.

All integers are little-endian, as in the guest messages of 56860 (tables 21 and 22), without their encryption::

    request    version u32 (1), report data [64], VMPL u32                                        72 bytes
    response   status u32, size of report u32, size of table u32, report, certificate table

A status other than 0 comes with nothing behind it. With version 2 a guest asks for its secret area, which it gets
once, in place of the table and with no report: what was injected when it was launched by simulated SEV firmware. Every
byte of a request is the guest's and hostile.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from typing import Final, Protocol

from enarx.simulator.processor import VMPL_MAX

VERSION: Final = 1
SECRET_VERSION: Final = 2
REQUEST: Final = struct.Struct("<I64sI")
RESPONSE: Final = struct.Struct("<III")
OK: Final = 0
INVALID_PARAMETERS: Final = 0x16
"""Statuses of MSG_REPORT_RSP (56860 table 22)."""

BURST: Final = 32
"""Reports that a guest gets without waiting (count). A Keep needs one, one for each renewal, and one for clients that
ask for evidence over their sessions."""
PAUSE_SECONDS: Final = 0.02
"""Wait before each report after that (seconds), so that no guest keeps a core of the host busy; as long without one
makes up for it."""


class Answering(Protocol):
    """What a guest may ask of its processor."""

    @property
    def certificates(self) -> bytes:
        """The table that goes with reports."""
        ...

    def report(self, report_data: bytes, vmpl: int) -> bytes:
        """A report over 64 bytes; nothing where the technology has none."""
        ...

    def take_secret(self) -> bytes:
        """The secret area, once; nothing where nothing was injected."""
        ...


def answer(guest: Answering, request: bytes) -> bytes:
    """The response to one request of 72 bytes. ValueError for another size, which is the caller's mistake."""
    if len(request) != REQUEST.size:
        raise ValueError(f"a request has {REQUEST.size} bytes, not {len(request)}")
    version, report_data, vmpl = REQUEST.unpack(request)
    report, table, found = b"", b"", False
    if version == SECRET_VERSION:
        table = guest.take_secret()
        found = bool(table)
    elif version == VERSION and vmpl <= VMPL_MAX:
        report, table = guest.report(report_data, vmpl), guest.certificates
        found = bool(report)
    if not found:
        return RESPONSE.pack(INVALID_PARAMETERS, 0, 0)
    return RESPONSE.pack(OK, len(report), len(table)) + report + table


def serve(
    guest: Answering,
    sock: socket.socket,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Answer the requests that arrive on ``sock`` until its other end closes; closes ``sock``.

    Made to run in a thread of the host's: returns quietly whatever the guest does, holds one request and one answer at
    a time, and leaves after a request of a version whose length it cannot know.
    """
    with sock, contextlib.suppress(OSError):  # a guest that died in the middle is no error of the host's
        allowance, since = float(BURST), clock()
        while request := _receive(sock):
            now = clock()
            allowance, since = min(float(BURST), allowance + (now - since) / PAUSE_SECONDS), now
            if allowance < 1:
                sleep(PAUSE_SECONDS)
            allowance = max(allowance - 1, 0)
            sock.sendall(answer(guest, request))
            if int.from_bytes(request[:4], "little") not in (VERSION, SECRET_VERSION):
                return


def _receive(sock: socket.socket) -> bytes:
    """One request, or nothing at the end of the stream, also when it ends within a request."""
    request = b""
    while len(request) < REQUEST.size:
        part = sock.recv(REQUEST.size - len(request))
        if not part:
            return b""
        request += part
    return request
