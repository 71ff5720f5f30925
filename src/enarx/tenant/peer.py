"""The chain that a peer shows in a TLS handshake, for a client to judge: nothing of it is verified here.

TLS 1.3 proves that the peer holds the key of the chain's leaf; what that key is worth the chain has to say.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from enarx.errors import StreamError, UsageError

CONNECT_SECONDS: Final = 20.0
"""How long to wait for a connection, and as long again for the handshake (seconds)."""
DEFAULT_PORT: Final = 443

_ENCODING_DER: Final = 2  # _ssl.ENCODING_DER
_DNS_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


def place(url: str) -> tuple[str, int]:
    """Host and port of ``https://HOST[:PORT][/]``; UsageError for anything else."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        host, port = "", None
    bare = host and not (parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/"))
    if not bare or parts.scheme != "https" or port == 0 or not (":" in host or _DNS_NAME.fullmatch(host)):
        raise UsageError(
            f"{url!r} is not https://HOST:PORT", code="usage-url", hint="name the Keep: https://localhost:8443"
        )
    return host, port or DEFAULT_PORT


def unverifying_context() -> ssl.SSLContext:
    """A client's, for TLS 1.3: whoever makes it judges the chain, evidence and all, before anything is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # by which Python before 3.11.4 hides that an answer was cut off
    return context


def shown_chain(host: str, port: int, *, seconds: float = CONNECT_SECONDS) -> tuple[bytes, ...]:
    """Connect, shake hands over TLS 1.3, hang up: the certificates that were shown (DER, leaf first). StreamError."""
    context = unverifying_context()
    try:
        with (
            socket.create_connection((host, port), seconds) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            return chain_of(tls)
    except (OSError, ValueError) as error:
        raise unreachable(host, port, error) from error


def unreachable(host: str, port: int | None, error: Exception) -> StreamError:
    """The error (``keep-unreachable``) for what went wrong before a chain was shown."""
    said = error.reason if isinstance(error, ssl.SSLError) and error.reason else str(error) or type(error).__name__
    where = host if port is None else f"{host} at port {port}"
    return StreamError(
        f"no TLS 1.3 with {where}: {said}",
        code="keep-unreachable",
        hint="check that the Keep runs, and that the workload listens there with TLS",
    )


def chain_of(tls: ssl.SSLSocket | ssl.SSLObject) -> tuple[bytes, ...]:
    """The certificates that the peer showed in a handshake that is done (DER, leaf first)."""
    # Public since Python 3.13, and below that name inside.
    public: Callable[[], list[bytes]] | None = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return tuple(public())
    inner: Any = getattr(tls, "_sslobj", None)
    return tuple(certificate.public_bytes(_ENCODING_DER) for certificate in inner.get_unverified_chain() or ())
