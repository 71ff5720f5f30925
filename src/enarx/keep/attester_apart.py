"""Evidence from a process apart: what a processor reports is asked for through files, and a Keep gives up all files.

The process is forked before there is a key. It holds nothing but the way to the processor and one end of a socket pair,
takes 64 bytes and gives evidence over them, and ends when the Keep has ended. So a certificate can be renewed with new
evidence, and clients can have evidence over their sessions, long after the Keep has entered its sandbox.

Both ends are the Keep's own code. Integers are little-endian::

    request    report data [64]
    response   kind u32 (0: evidence, else the place of an error's code in CODES, from 1), place in TECHNOLOGIES u32,
               two sizes u32, then report and certificate table, or message and hint in UTF-8
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from enarx.errors import EvidenceError
from enarx.keep.attester import SEV_GUEST, TSM_ROOT, Attester, RawEvidence
from enarx.keep.attester_simulated import Source
from enarx.keep.attesting import BLOB_MAX_BYTES, REPORT_DATA_BYTES, check_size, failed
from enarx.keep.sandbox import MAX_OPEN_FILES

APART_SECONDS: Final = 30.0
"""How long one request may take (seconds): attempts while the kernel is busy take 6.4."""
TEXT_MAX_BYTES: Final = 2048
"""Longest message or hint that is passed on (bytes)."""
CODES: Final = ("attester-unavailable", "attester-busy", "attester-failed")
TECHNOLOGIES: Final = ("snp", "tdx")
_RESPONSE: Final = struct.Struct("<IIII")
_PLACES: Final = {"configfs-tsm": TSM_ROOT, "sev-guest": SEV_GUEST}


class ApartAttester:
    """The Keep's end. Safe to share between threads."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._turn = threading.Lock()

    def attest(self, report_data: bytes) -> RawEvidence:
        """See ``Attester.attest``. The errors are those of the attester that is apart."""
        check_size(report_data)
        with self._turn:
            try:
                self._socket.settimeout(APART_SECONDS)
                self._socket.sendall(report_data)
                kind, technology, one, two = _RESPONSE.unpack(_receive(self._socket, _RESPONSE.size))
                if kind > len(CODES) or technology >= len(TECHNOLOGIES) or max(one, two) > BLOB_MAX_BYTES:
                    raise OSError("an answer that is none")
                first, second = _receive(self._socket, one), _receive(self._socket, two)
            except OSError as error:
                self._socket.close()  # whatever comes now would be taken for the answer to another request
                raise failed(f"the process that asks for it: {error}") from error
        if kind:
            message, hint = (text.decode("utf-8", "replace") for text in (first, second))
            raise EvidenceError(message, code=CODES[kind - 1], hint=hint)
        return RawEvidence(TECHNOLOGIES[technology], first, second)


def move_apart(candidates: Sequence[Source], *, exists: Callable[[str], bool] = os.path.exists) -> tuple[Source, ...]:
    """``candidates`` with those ways that are files moved into a process of their own, where there are such files.

    For while there is a single thread, and no key.
    """
    moved = list(candidates)
    for place, source in enumerate(candidates):
        if source.name in _PLACES and exists(_PLACES[source.name]):
            moved[place] = replace(source, attester=ApartAttester(fork_apart(source.attester)), apart=True)
    return tuple(moved)


def fork_apart(attester: Attester) -> socket.socket:
    """Our end of a socket pair at whose other end a new process answers with ``attester``."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        try:
            number = os.dup2(theirs.fileno(), 3, inheritable=False)
            os.closerange(number + 1, MAX_OPEN_FILES)  # the link to the host first of all
            serve(attester, socket.socket(fileno=number))
        finally:
            os._exit(0)
    theirs.close()
    return ours


def serve(attester: Attester, sock: socket.socket) -> None:
    """Answer the requests that come over ``sock`` until its other end is closed."""
    while True:
        try:
            request = _receive(sock, REPORT_DATA_BYTES)
            sock.sendall(_answer(attester, request))
        except OSError:
            return


def _answer(attester: Attester, request: bytes) -> bytes:
    try:
        evidence = attester.attest(request)
    except EvidenceError as error:
        kind = 1 + (CODES.index(error.code) if error.code in CODES else len(CODES) - 1)
        technology, parts = 0, [text.encode()[:TEXT_MAX_BYTES] for text in (error.message, error.hint)]
    else:
        kind, technology = 0, TECHNOLOGIES.index(evidence.technology)
        parts = [evidence.report, evidence.certificates]
    return _RESPONSE.pack(kind, technology, len(parts[0]), len(parts[1])) + b"".join(parts)


def _receive(sock: socket.socket, size: int) -> bytes:
    """Exactly so many bytes; OSError when the other end is gone, or takes too long."""
    found = bytearray()
    while len(found) < size:
        part = sock.recv(size - len(found))
        if not part:
            raise OSError("it has ended")
        found += part
    return bytes(found)
