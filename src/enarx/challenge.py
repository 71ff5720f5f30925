"""How a client asks a Keep for fresh evidence inside their TLS session, and how the Keep answers; for both ends.

A client that means to ask offers the protocol ``ALPN`` (RFC 7301) in its handshake; a Keep that can answer selects it,
and any other peer selects nothing. The first bytes of the session are then one request, and the Keep's first are one
answer; what follows in the same session is the workload's, as if nothing had been before it. Integers are big-endian::

    request    magic "ENRXASK1", nonce [32]
    answer     magic "ENRXANS1", status u16, number of digests u16, size of evidence u32,
               digests [48 each], evidence

``evidence`` is the value of the evidence extension (``binding.snp_evidence``) over ``binding.session_report_data`` of
the digests, and the session's own ``binding.session_digest`` is among them: one report answers all who asked meanwhile.
With a status other than OK there is neither, and the Keep hangs up. Each end treats the other as hostile.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from enarx.errors import MalformedError
from enarx.evidence.binding import NONCE_BYTES, SESSION_DIGEST_BYTES, SESSIONS_MAX

ALPN: Final = "enarx-challenge/1"
EVIDENCE_MAX_BYTES: Final = 128 * 1024
"""Largest evidence in an answer (bytes): the host's table of certificates has 64 KiB at most, and a report 1184."""

_REQUEST: Final = struct.Struct(f">8s{NONCE_BYTES}s")
_HEAD: Final = struct.Struct(">8sHHI")
_ASK: Final = b"ENRXASK1"
_ANSWER: Final = b"ENRXANS1"
REQUEST_BYTES: Final = _REQUEST.size
HEAD_BYTES: Final = _HEAD.size


class Status(IntEnum):
    """Why there is evidence, or why there is none."""

    OK = 0
    BUSY = 1
    FAILED = 2


@dataclass(frozen=True, slots=True)
class Head:
    """The first ``HEAD_BYTES`` of an answer, within their bounds; ``rest`` bytes follow."""

    status: Status
    digests: int
    evidence: int

    @property
    def rest(self) -> int:
        return self.digests * SESSION_DIGEST_BYTES + self.evidence


@dataclass(frozen=True, slots=True)
class Answer:
    """What a Keep answered, taken apart; nothing of it is verified."""

    digests: tuple[bytes, ...]
    evidence: bytes


def encode_request(nonce: bytes) -> bytes:
    """The request; ValueError unless the nonce has its 32 bytes."""
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce of {len(nonce)} bytes")
    return _REQUEST.pack(_ASK, nonce)


def parse_request(data: bytes) -> bytes:
    """The nonce of a request; MalformedError."""
    if len(data) != REQUEST_BYTES or not data.startswith(_ASK):
        raise _malformed("the request for evidence is none")
    return data[len(_ASK) :]


def encode_answer(status: Status, digests: Sequence[bytes] = (), evidence: bytes = b"") -> bytes:
    """An answer, whose parts are the Keep's own; ValueError for what no client would take."""
    if len(digests) > SESSIONS_MAX or len(evidence) > EVIDENCE_MAX_BYTES:
        raise ValueError(f"{len(digests)} digests and {len(evidence)} bytes of evidence")
    return b"".join((_HEAD.pack(_ANSWER, status, len(digests), len(evidence)), *digests, evidence))


def parse_head(data: bytes) -> Head:
    """The head of an answer; MalformedError for anything else, and for what is announced beyond bounds."""
    if len(data) != HEAD_BYTES:
        raise _malformed(f"an answer with a head of {len(data)} bytes")
    magic, status, digests, evidence = _HEAD.unpack(data)
    if magic != _ANSWER or status not in list(Status):
        raise _malformed("the Keep answered with something else than evidence")
    fine = 1 <= digests <= SESSIONS_MAX and 0 < evidence <= EVIDENCE_MAX_BYTES
    if not (fine if status == Status.OK else digests == evidence == 0):
        raise _malformed(f"an answer with {digests} digests and {evidence} bytes of evidence")
    return Head(Status(status), digests, evidence)


def parse_rest(head: Head, data: bytes) -> Answer:
    """What follows the head of an answer; MalformedError unless it has exactly the size that was announced."""
    if len(data) != head.rest:
        raise _malformed(f"{len(data)} bytes of an answer, not {head.rest}")
    end = head.digests * SESSION_DIGEST_BYTES
    digests = tuple(data[at : at + SESSION_DIGEST_BYTES] for at in range(0, end, SESSION_DIGEST_BYTES))
    return Answer(digests, data[end:])


def _malformed(what: str) -> MalformedError:
    return MalformedError(
        f"no fresh evidence: {what}", code="challenge-malformed", hint="this peer is no Keep of this version of Enarx"
    )
