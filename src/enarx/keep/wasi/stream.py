"""Sockets: streams of plain bytes, and listeners. ``tls_stream`` has those with TLS."""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import sys
import termios
from collections.abc import Callable
from typing import Final, Protocol

from enarx.keep.wasi.abi import Errno, Fdflags, Filetype, Rights, WasiError
from enarx.keep.wasi.descriptor import UNCOUNTED, Descriptor, Readiness, Stat, from_host, host_errors

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
READABLE: Final = select.POLLIN | select.POLLRDHUP


class Stream(Descriptor):
    """A connected socket, which this object owns. Plain bytes; ``TlsStream`` adds TLS."""

    filetype = Filetype.SOCKET_STREAM
    settled = True

    def __init__(self, sock: socket.socket, *, nonblocking: bool = False) -> None:
        super().__init__(STREAM_RIGHTS, flags=Fdflags.NONBLOCK if nonblocking else 0)
        self._socket = sock
        self._unread = Readiness(False, UNCOUNTED, fileno=sock.fileno(), events=READABLE)
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

    def waiting(self) -> int:
        try:
            return int.from_bytes(fcntl.ioctl(self._socket.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)
        except OSError as error:
            raise from_host(error) from None

    def stat(self) -> Stat:
        return Stat(ino=0, filetype=self.filetype)

    def poll_read(self) -> Readiness:
        return self._unread

    def poll_write(self) -> Readiness:
        return Readiness(False, 1, fileno=self._socket.fileno(), events=select.POLLOUT)

    def close(self) -> None:
        self._socket.close()


class Backlog(Protocol):
    """Connections that are ready to be accepted, handshake included. Filled by another thread."""

    def pop(self) -> socket.socket | None:
        """The next connection, or None when there is none now."""

    def fileno(self) -> int:
        """A descriptor that is readable while there is a connection."""

    def close(self) -> None:
        """Stop listening; connections that nobody took are closed."""


class Listener(Descriptor):
    """A listening socket. ``wait`` blocks until ``fileno`` is readable, or raises when the workload must stop.

    ``make`` is `Stream`, or `TlsStream` when the connections of ``backlog`` speak TLS.
    """

    filetype = Filetype.SOCKET_STREAM
    settled = True

    def __init__(
        self,
        backlog: Backlog,
        wait: Callable[[int], None],
        *,
        nonblocking: bool,
        make: Callable[..., Stream] = Stream,
    ) -> None:
        super().__init__(LISTENER_RIGHTS, STREAM_RIGHTS, Fdflags.NONBLOCK if nonblocking else 0)
        self._backlog = backlog
        self._wait = wait
        self._make = make

    def accept(self, flags: int) -> Stream:
        """The next connection. Raises WasiError(AGAIN) when there is none and the listener does not block."""
        if flags & ~Fdflags.NONBLOCK:
            raise WasiError(Errno.INVAL)
        while (sock := self._backlog.pop()) is None:
            if self.flags & Fdflags.NONBLOCK:
                raise WasiError(Errno.AGAIN)
            self._wait(self._backlog.fileno())
        return self._make(sock, nonblocking=bool(flags & Fdflags.NONBLOCK))

    def stat(self) -> Stat:
        return Stat(ino=0, filetype=self.filetype)

    def poll_read(self) -> Readiness:
        return Readiness(False, 1, fileno=self._backlog.fileno(), events=select.POLLIN)

    def close(self) -> None:
        self._backlog.close()
