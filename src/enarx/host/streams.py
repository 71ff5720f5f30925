"""Sockets and standard streams that a Keep asks for. The Keep may be hostile: every request is checked."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import Final

from enarx.errors import StreamError

CONNECT_SECONDS: Final = 30.0
"""How long one address of an endpoint has to answer, in seconds."""
BACKLOG: Final = 512
"""Connections that the kernel keeps while the Keep has given no credit."""
STDIO: Final = {"stdin": 0, "stdout": 1, "stderr": 2}


def open_stdio(name: str) -> int:
    """A duplicate of one of our standard streams. Raises StreamError."""
    if name not in STDIO:
        raise StreamError(f"there is no standard stream {name!r}", code="stream-stdio")
    try:
        return os.dup(STDIO[name])
    except OSError:  # closed when we were started
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def kind_of(fd: int) -> str:
    """What an open standard stream is: one of STDIO_KINDS."""
    if os.isatty(fd):
        return "terminal"
    return "file" if stat.S_ISREG(os.fstat(fd).st_mode) else ""


def listen(addr: str, port: int) -> socket.socket:
    """A non-blocking listening socket; ``::`` takes IPv4 as well. Raises StreamError."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            addr, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = _bound(family, kind, proto, address)
    except (OSError, UnicodeError) as error:
        if addr == "::" and isinstance(error, OSError) and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return listen("0.0.0.0", port)  # noqa: S104 - a machine without IPv6; the config asked for all addresses
        raise StreamError(
            f"failed to setup listening socket on {_endpoint(addr, port)}: {_reason(error)}",
            code="listen-failed",
            hint=_listen_hint(error),
        ) from error
    sock.setblocking(False)
    return sock


def _bound(family: int, kind: int, proto: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def connect(host: str, port: int) -> socket.socket:
    """A connected socket. ``localhost`` is 127.0.0.1, as in Enarx. Raises StreamError."""
    target = "127.0.0.1" if host == "localhost" else host
    try:
        sock = socket.create_connection((target, port), CONNECT_SECONDS)
    except (OSError, UnicodeError) as error:
        raise StreamError(
            f"failed to connect to endpoint {_endpoint(host, port)}: {_reason(error)}",
            code="connect-unresolved" if isinstance(error, socket.gaierror | UnicodeError) else "connect-failed",
            hint="check `host` and `port` in Enarx.toml, and that the server is up",
        ) from error
    sock.settimeout(None)
    no_delay(sock)
    return sock


def no_delay(sock: socket.socket) -> None:
    """Send small records at once: a TLS handshake without this waits for acknowledgements."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _listen_hint(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return "the port is in use: choose another `port` in Enarx.toml, or stop the program that has it"
    if number in (errno.EACCES, errno.EPERM):
        return "ports below 1024 need privileges: choose another `port` in Enarx.toml"
    return "check `addr` and `port` in Enarx.toml"
