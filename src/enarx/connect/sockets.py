"""Attested TLS over plain sockets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Final, Unpack

from enarx.connect.attestor import (
    CONNECT_SECONDS,
    Attestor,
    Demands,
    Handshake,
    Receive,
    Send,
    Steps,
    hung_up,
    make_attestor,
)
from enarx.connect.expectation import PathLike
from enarx.errors import EnarxError
from enarx.tenant.client import Verdict
from enarx.tenant.freshness import SessionEvidence
from enarx.tenant.peer import place, unreachable
from enarx.tenant.policy import Policy

_SHORTEST_SECONDS: Final = 0.001  # a timeout of 0 would mean not to wait


@dataclass(frozen=True, slots=True)
class AttestedSocket:
    """A connection that may be used, and why."""

    tls: ssl.SSLSocket
    verdict: Verdict


def open_socket(
    url: str, *, policy: Policy | PathLike, seconds: float = CONNECT_SECONDS, **demands: Unpack[Demands]
) -> ssl.SSLSocket:
    """A connection to the Keep at ``https://HOST[:PORT]``, attested, over which any protocol can be spoken.

    The arguments are `enarx.Client`'s; all together may take ``seconds``. Raises EvidenceError, StreamError or
    UsageError.
    """
    host, port = place(url)
    return connect(make_attestor(policy, **demands), host, port, seconds=seconds).tls


def wrap_socket(
    sock: socket.socket, host: str, *, policy: Policy | PathLike, **demands: Unpack[Demands]
) -> ssl.SSLSocket:
    """The same over a connected socket, which is taken over: it is attested as ``host``, or closed.

    It has the timeout of ``sock`` afterwards; without one all together may take ``CONNECT_SECONDS``.
    """
    seconds = sock.gettimeout()
    found = wrap(make_attestor(policy, **demands), sock, host, seconds=CONNECT_SECONDS if seconds is None else seconds)
    found.tls.settimeout(seconds)
    return found.tls


def connect(attestor: Attestor, host: str, port: int, *, seconds: float = CONNECT_SECONDS) -> AttestedSocket:
    """Connect to ``host`` and attest it; the socket has no timeout then. Raises EvidenceError or StreamError."""
    deadline = time.monotonic() + seconds
    try:
        plain = socket.create_connection((host, port), seconds)
    except (OSError, ValueError) as error:
        raise unreachable(host, port, error) from error
    found = wrap(attestor, plain, host, seconds=max(_SHORTEST_SECONDS, deadline - time.monotonic()))
    found.tls.settimeout(None)
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """What a Keep showed to somebody who only looks: judged as far as it went, and the error that ended it, if any."""

    chain: tuple[bytes, ...]
    session: SessionEvidence | None
    verdict: Verdict | None
    error: EnarxError | None


def look(attestor: Attestor, host: str, port: int, *, seconds: float = CONNECT_SECONDS) -> Seen:
    """Connect, attest, hang up; never raises for what the Keep showed. StreamError when it showed nothing."""
    handshake, error = attestor.begin(), None
    try:
        try:
            plain = socket.create_connection((host, port), seconds)
        except (OSError, ValueError) as raised:
            raise unreachable(host, port, raised) from raised
        shake(handshake, plain, host, seconds).tls.close()
    except EnarxError as raised:
        if not handshake.chain:
            raise
        error = raised
    finally:
        handshake.close()
    return Seen(handshake.chain, handshake.session, handshake.verdict, error)


def wrap(
    attestor: Attestor, plain: socket.socket, host: str, *, seconds: float | None = CONNECT_SECONDS
) -> AttestedSocket:
    """TLS over a connected socket, which is taken over: verified as ``host``, or closed and an error.

    Raises EvidenceError when the peer is not accepted, StreamError when it cannot be reached or asked.
    """
    try:
        handshake = attestor.begin()
    except EnarxError:
        plain.close()
        raise
    try:
        return shake(handshake, plain, host, seconds)
    finally:
        handshake.close()


def shake(handshake: Handshake, plain: socket.socket, host: str, seconds: float | None) -> AttestedSocket:
    """The same with a handshake of the caller's, who can see afterwards what was shown."""
    deadline = None if seconds is None else time.monotonic() + seconds
    owner = plain
    try:
        plain.settimeout(seconds)
        with contextlib.suppress(OSError):  # it may be no TCP
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else the challenge waits for a delayed ACK
        owner = tls = handshake.context.wrap_socket(
            plain, server_hostname=host, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
        tls.do_handshake()
        return AttestedSocket(tls, drive(handshake.steps(tls, host), tls, host, deadline))
    except EnarxError:
        owner.close()
        raise
    except (OSError, ValueError) as error:
        owner.close()
        raise unreachable(host, None, error) from error
    except BaseException:
        owner.close()
        raise


def drive(steps: Steps, tls: ssl.SSLSocket, host: str, deadline: float | None) -> Verdict:
    """Do what ``steps`` say over ``tls`` until ``deadline`` (of the monotonic clock). Raises OSError beside theirs."""
    try:
        step = next(steps)
        while True:
            if deadline is not None:
                tls.settimeout(max(_SHORTEST_SECONDS, deadline - time.monotonic()))
            step = steps.send(_done(step, tls, host))
    except StopIteration as end:
        verdict: Verdict = end.value
        return verdict


def _done(step: Send | Receive, tls: ssl.SSLSocket, host: str) -> bytes:
    if isinstance(step, Send):
        tls.sendall(step.data)
        return b""
    found = bytearray()
    while len(found) < step.size:
        part = tls.recv(step.size - len(found))
        if not part:
            raise hung_up(host)
        found += part
    return bytes(found)
