"""The Keep's connection to its Steward: TLS 1.3 that ends here, pinned by the manifest, and one HTTP request in it.

The stream below comes from the host, which can delay, cut or redirect it. So the peer must prove that it is the pinned
Steward before it is sent anything, what it answers is bounded, and the whole exchange has one deadline.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from enarx.errors import MalformedError, StreamError
from enarx.keep.certified import check_steward
from enarx.keep.steward import ANSWER_MAX_BYTES, Answer
from enarx.keep.tls import report_cut_off
from enarx.manifest import StewardPin

EXCHANGE_SECONDS: Final = 30.0
"""How long handshake, request and answer may take together (seconds)."""
DEFAULT_PORT: Final = 443
ATTEST_PATH: Final = "/v1/attest"

_ENCODING_DER: Final = 2  # _ssl.ENCODING_DER


@dataclass(frozen=True, slots=True)
class Place:
    """Where a Steward is: the host to connect to and to find in its certificate, the port, the path to post to."""

    host: str
    port: int
    path: str


def preload() -> None:
    """Import what attestation needs, exchange and renewals included: a sandboxed Keep has no files to import from."""
    from encodings import idna  # noqa: F401 - the codec of server names
    from ipaddress import ip_address  # noqa: F401

    from cryptography import exceptions  # noqa: F401
    from cryptography.hazmat.backends.openssl import backend  # noqa: F401
    from cryptography.hazmat.primitives import hashes, hpke, serialization  # noqa: F401
    from cryptography.hazmat.primitives.asymmetric import ec, mlkem  # noqa: F401
    from cryptography.x509 import verification  # noqa: F401

    from enarx.keep import keepdir  # noqa: F401


def place(steward: StewardPin) -> Place:
    """Take the URL of a manifest apart (which has checked it)."""
    parts = urlsplit(steward.url)
    return Place(parts.hostname or "", parts.port or DEFAULT_PORT, parts.path.rstrip("/") + ATTEST_PATH)


def exchange(
    stream: socket.socket,
    steward: StewardPin,
    body: bytes,
    now: datetime,
    *,
    seconds: float = EXCHANGE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """Send ``body`` to the Steward at the other end of ``stream``, which is closed afterwards, and get its answer.

    Touches nothing else, so it may run in a thread. ``now`` is timezone-aware and for the Steward's certificates alone.
    Raises AuthenticityError (``steward-...``), MalformedError (``steward-answer``) or StreamError
    (``steward-unreachable``).
    """
    where = place(steward)
    deadline = clock() + seconds
    try:
        with contextlib.closing(_handshake(stream, where, deadline, clock)) as tls:
            check_steward(_peer_chain(tls), host=where.host, ca=steward.ca, now=now)
            return _post(tls, where, body)
    except http.client.HTTPException as error:
        raise _bad(f"it is not HTTP: {type(error).__name__}") from error
    except TimeoutError as error:
        raise _unreachable(f"no complete answer within {seconds:g} s") from error
    except (OSError, ValueError) as error:
        raise _unreachable(f"the connection failed: {str(error)[:200]}") from error
    finally:
        stream.close()


class _TimedSocket(ssl.SSLSocket):
    """A TLS socket whose every operation ends by one deadline, however slowly the peer sends or reads."""

    deadline: float
    clock: Callable[[], float]

    def limit(self) -> None:
        """Wait no longer than until the deadline. Raises TimeoutError past it."""
        left = self.deadline - self.clock()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        self.settimeout(left)

    def recv_into(self, *args: Any, **named: Any) -> int:
        self.limit()
        return super().recv_into(*args, **named)

    def send(self, *args: Any, **named: Any) -> int:
        self.limit()
        return super().send(*args, **named)


def _handshake(stream: socket.socket, where: Place, deadline: float, clock: Callable[[], float]) -> _TimedSocket:
    """TLS 1.3 with whoever is there. The caller checks who it is before it sends anything."""
    context = report_cut_off(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    # The anchor is known by its digest only and comes with the chain, so OpenSSL cannot validate the path: that is
    # check_steward's part. OpenSSL still verifies that the peer holds the key of the certificate that it shows.
    context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = _TimedSocket
    stream.settimeout(max(0.001, deadline - clock()))
    tls = context.wrap_socket(
        stream, server_hostname=where.host, do_handshake_on_connect=False, suppress_ragged_eofs=False
    )
    if not isinstance(tls, _TimedSocket):
        raise TypeError("not the socket that was asked for")
    tls.deadline, tls.clock = deadline, clock
    tls.limit()
    try:
        tls.do_handshake()
    except BaseException:
        tls.close()
        raise
    return tls


def _peer_chain(tls: ssl.SSLSocket) -> list[bytes]:
    """The certificates that the peer showed, leaf first (DER). Public since Python 3.13, and below that name inside."""
    public: Callable[[], list[bytes]] | None = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return list(public())
    inner: Any = getattr(tls, "_sslobj", None)
    return [certificate.public_bytes(_ENCODING_DER) for certificate in inner.get_unverified_chain() or ()]


def _post(tls: ssl.SSLSocket, where: Place, body: bytes) -> Answer:
    connection = http.client.HTTPConnection(where.host, where.port)
    connection.sock = tls
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, application/problem+json",
        "Connection": "close",
    }
    # Both are closed here: an open response keeps the socket open, whoever closes that.
    with contextlib.closing(connection):
        connection.request("POST", where.path, body, headers)
        with connection.getresponse() as response:
            return _answer(response)


def _answer(response: http.client.HTTPResponse) -> Answer:
    if response.getheader("Content-Encoding", "identity").lower() != "identity":
        raise _bad("it is compressed")
    data = response.read(ANSWER_MAX_BYTES + 1)
    if len(data) > ANSWER_MAX_BYTES:
        raise _bad(f"it has more than {ANSWER_MAX_BYTES} bytes")
    if response.length:  # http.client reports a body that ends early only when all of it is read at once
        raise _bad("it is cut short")
    media_type = response.getheader("Content-Type", "").partition(";")[0].strip().lower()
    return Answer(response.status, media_type, data)


def _unreachable(what: str) -> StreamError:
    return StreamError(
        f"the Steward cannot be reached: {what}",
        code="steward-unreachable",
        hint="check that it runs, that the URL in the manifest is right, and that it speaks TLS 1.3",
    )


def _bad(what: str) -> MalformedError:
    return MalformedError(
        f"the Steward's answer is malformed: {what}",
        code="steward-answer",
        hint="check that the URL is that of a Steward of a fitting version",
    )
