"""Sockets: streams with and without TLS, and listeners.

TLS ends here. The bytes that leave the Keep under a TLS stream are ciphertext, and the workload sees a plain
socket. A stream that its peer cuts off without TLS's close_notify is an error (CONNRESET), not an end: whoever
carries the bytes could otherwise shorten a message unnoticed.
"""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import ssl
import struct
import termios
from collections.abc import Callable
from typing import Final, Protocol

from enarx.keep.wasi.abi import SDFLAG_RD, SDFLAG_WR, Errno, Fdflags, Filetype, Rights, WasiError
from enarx.keep.wasi.descriptor import Descriptor, Readiness, Stat, from_host, host_errors

STREAM_RIGHTS: Final = (
    Rights.FD_READ
    | Rights.FD_WRITE
    | Rights.FD_FDSTAT_SET_FLAGS
    | Rights.FD_FILESTAT_GET
    | Rights.POLL_FD_READWRITE
    | Rights.SOCK_SHUTDOWN
)
LISTENER_RIGHTS: Final = (
    Rights.FD_READ | Rights.FD_FDSTAT_SET_FLAGS | Rights.FD_FILESTAT_GET | Rights.POLL_FD_READWRITE | Rights.SOCK_ACCEPT
)
RECORD: Final = 16384
"""Largest plaintext of one TLS record, in bytes."""
CLOSE_SECONDS: Final = 1.0
"""How long closing may wait for the peer to take what is still to be sent, in seconds."""


class Stream(Descriptor):
    """A connected socket, which this object owns. Plain bytes; ``TlsStream`` adds TLS."""

    filetype = Filetype.SOCKET_STREAM

    def __init__(self, sock: socket.socket, *, nonblocking: bool = False) -> None:
        super().__init__(STREAM_RIGHTS, flags=Fdflags.NONBLOCK if nonblocking else 0)
        self._socket = sock
        sock.setblocking(not nonblocking)

    def set_flags(self, flags: int) -> None:
        super().set_flags(flags)
        self._socket.setblocking(not flags & Fdflags.NONBLOCK)

    def read(self, views: list[memoryview]) -> int:
        return self.receive(views)

    def write(self, views: list[memoryview]) -> int:
        try:
            if len(views) == 1:
                return self._socket.send(views[0])
            return self._socket.sendmsg(views) if views else 0
        except OSError as error:
            raise from_host(error) from None

    def receive(self, views: list[memoryview], *, peek: bool = False, wait_all: bool = False) -> int:
        """``sock_recv``: with ``peek`` the bytes stay; with ``wait_all`` a blocking read fills every buffer."""
        flags = (socket.MSG_PEEK if peek else 0) | (socket.MSG_WAITALL if wait_all else 0)
        try:
            if len(views) == 1:
                return self._socket.recv_into(views[0], 0, flags)
            return self._socket.recvmsg_into(views, 0, flags)[0] if views else 0
        except OSError as error:
            raise from_host(error) from None

    def shutdown(self, how: int) -> None:
        """Shut down reading, writing or both (``$sdflags``)."""
        with host_errors():
            self._socket.shutdown({1: socket.SHUT_RD, 2: socket.SHUT_WR, 3: socket.SHUT_RDWR}[how])

    def wake(self) -> None:
        # Reading alone: what is to be written, close_notify too, still can be.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def _waiting_bytes(self) -> int:
        with host_errors():
            (count,) = struct.unpack("i", fcntl.ioctl(self._socket.fileno(), termios.FIONREAD, bytes(4)))
        return int(count)

    def stat(self) -> Stat:
        return Stat(ino=0, filetype=self.filetype)

    def poll_read(self) -> Readiness:
        return Readiness(False, self._waiting_bytes(), fileno=self._socket.fileno(), events=select.POLLIN)

    def poll_write(self) -> Readiness:
        return Readiness(False, 1, fileno=self._socket.fileno(), events=select.POLLOUT)

    def close(self) -> None:
        self._socket.close()


class TlsStream(Stream):
    """A connected socket after its TLS handshake.

    OpenSSL wants an interrupted write repeated with the same bytes, which a workload need not do. So a record
    that it could not send at once is kept here, counts as written, and goes out before anything else does.
    """

    def __init__(self, sock: ssl.SSLSocket, *, nonblocking: bool = False) -> None:
        super().__init__(sock, nonblocking=nonblocking)
        self._tls = sock
        self._peeked = b""
        self._unsent = b""

    def _flush(self) -> bool:
        """Send the kept record; whether nothing is kept any more."""
        if self._unsent:
            try:
                self._tls.write(self._unsent)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return False
            self._unsent = b""
        return True

    def write(self, views: list[memoryview]) -> int:
        written = 0
        try:
            if not self._flush():
                raise WasiError(Errno.AGAIN)
            for view in views:
                for start in range(0, len(view), RECORD):
                    chunk = view[start : start + RECORD]
                    try:
                        self._tls.write(chunk)
                    except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                        self._unsent = bytes(chunk)
                        return written + len(chunk)
                    written += len(chunk)
        except OSError as error:
            if written:
                return written
            raise _from_tls(error) from None
        return written

    def receive(self, views: list[memoryview], *, peek: bool = False, wait_all: bool = False) -> int:
        total = 0
        try:
            if self._unsent:
                self._flush()
            for view in views:
                filled = 0
                while filled < len(view):
                    if total and not wait_all and not self._peeked and not self._tls.pending():
                        return total
                    count = self._read(view[filled:], peek)
                    filled += count
                    total += count
                    if not count or peek:
                        return total
        except OSError as error:
            if total:
                return total
            raise _from_tls(error) from None
        return total

    def _read(self, view: memoryview, peek: bool) -> int:
        if not self._peeked:
            if not peek:
                try:
                    return self._tls.read(len(view), view)  # type: ignore[return-value]
                except ssl.SSLZeroReturnError:
                    return 0
            try:
                self._peeked = self._tls.read(RECORD)
            except ssl.SSLZeroReturnError:
                return 0
        count = min(len(view), len(self._peeked))
        view[:count] = self._peeked[:count]
        if not peek:
            self._peeked = self._peeked[count:]
        return count

    def shutdown(self, how: int) -> None:
        if how & SDFLAG_WR:
            self._close_notify()
        if how & SDFLAG_RD:
            super().shutdown(SDFLAG_RD)

    def poll_read(self) -> Readiness:
        waiting = len(self._peeked) + self._tls.pending()
        if waiting:
            return Readiness(True, waiting)
        events = select.POLLIN | (select.POLLOUT if not self._flushed() else 0)
        return Readiness(False, self._waiting_bytes(), fileno=self._socket.fileno(), events=events)

    def poll_write(self) -> Readiness:
        self._flushed()
        return super().poll_write()

    def _flushed(self) -> bool:
        try:
            return self._flush()
        except OSError:
            return True  # the error is there for the next read or write to report

    def _close_notify(self) -> None:
        """Send what is kept, then the close_notify alert. Never waits for the peer's answer."""
        with contextlib.suppress(OSError, ValueError):
            self._tls.settimeout(CLOSE_SECONDS)
            self._flush()
            self._tls.setblocking(False)
            self._tls.unwrap()

    def close(self) -> None:
        self._close_notify()
        super().close()


def _from_tls(error: OSError) -> WasiError:
    if isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError):
        return WasiError(Errno.AGAIN)
    if isinstance(error, ssl.SSLEOFError):
        return WasiError(Errno.CONNRESET)
    if isinstance(error, ssl.SSLError):
        return WasiError(Errno.IO)
    return from_host(error)


class Backlog(Protocol):
    """Connections that are ready to be accepted, handshake included. Filled by another thread."""

    def pop(self) -> socket.socket | None:
        """The next connection, or None when there is none now."""

    def fileno(self) -> int:
        """A descriptor that is readable while there is a connection."""

    def close(self) -> None:
        """Stop listening; connections that nobody took are closed."""


class Listener(Descriptor):
    """A listening socket. ``wait`` blocks until ``fileno`` is readable, or raises when the workload must stop."""

    filetype = Filetype.SOCKET_STREAM

    def __init__(self, backlog: Backlog, wait: Callable[[int], None], *, nonblocking: bool) -> None:
        super().__init__(LISTENER_RIGHTS, STREAM_RIGHTS, Fdflags.NONBLOCK if nonblocking else 0)
        self._backlog = backlog
        self._wait = wait

    def accept(self, flags: int) -> Stream:
        """The next connection. Raises WasiError(AGAIN) when there is none and the listener does not block."""
        if flags & ~Fdflags.NONBLOCK:
            raise WasiError(Errno.INVAL)
        while (sock := self._backlog.pop()) is None:
            if self.flags & Fdflags.NONBLOCK:
                raise WasiError(Errno.AGAIN)
            self._wait(self._backlog.fileno())
        kind = TlsStream if isinstance(sock, ssl.SSLSocket) else Stream
        return kind(sock, nonblocking=bool(flags & Fdflags.NONBLOCK))  # type: ignore[arg-type]

    def stat(self) -> Stat:
        return Stat(ino=0, filetype=self.filetype)

    def poll_read(self) -> Readiness:
        return Readiness(False, 1, fileno=self._backlog.fileno(), events=select.POLLIN)

    def close(self) -> None:
        self._backlog.close()
