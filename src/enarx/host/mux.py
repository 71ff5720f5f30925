"""The host's end of a link over bytes: a Keep behind a port, as `Host` wants it."""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from enarx.errors import EnarxError, LinkError
from enarx.mux.port import Port, closed
from enarx.mux.pump import Mux
from enarx.mux.transit import Transit

PAUSE_SECONDS: Final = 0.25
"""How long a port whose connection was lost stays closed at first, in seconds: a guest has to notice."""
HELLO_PAUSES: Final = 4
"""How many such pauses a Keep then has to say HELLO, before its port is closed again and both times are doubled. It may
have missed that there is another connection. And QEMU, when it meets the end of a connection while it sends what the
guest says, stops to do so, and goes on only with the connection after the next one."""
RETURN_SECONDS: Final = 60.0
"""After so long without a link it is given up, in seconds."""
_COPY_BYTES: Final = 1 << 16

Connect = Callable[[], socket.socket | None]
"""Makes a connection to the port: None when the Keep has ended. Raises OSError when it fails for now."""


class Started(Protocol):
    """A Keep that has been started, without its link."""

    def kill(self) -> None: ...

    def wait(self) -> int: ...

    def obituary(self) -> EnarxError: ...


class CarriedKeep:
    """A `RunningKeep` whose link goes over the port ``port``, which is taken over.

    ``connect`` makes another connection to the port when the first one is lost; without it, that is the end.
    """

    def __init__(self, keep: Started, port: socket.socket, connect: Connect | None = None) -> None:
        self.failure: EnarxError | None = None
        self.greeted = threading.Event()
        """The Keep has said HELLO, or the link is over."""
        self._keep = keep
        self.link, far = socket.socketpair()
        line = Port(port.detach()) if connect is None else Line(port.detach(), connect)
        self._mux = Mux(line, far, adopt=adopt)
        self._thread = threading.Thread(target=self._run, name="link over bytes", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._mux.run(until=self._mux.established)
            self.greeted.set()
            self._mux.run()
        except LinkError as error:
            if error.code != "link-closed":  # else the Keep has ended, and its status says more
                self.failure = error
        finally:
            self.greeted.set()

    def kill(self) -> None:
        """End the Keep, and the link with it, at once."""
        self._keep.kill()
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)

    def wait(self) -> int:
        """Wait for the end: the Keep's status."""
        status = self._keep.wait()
        self._thread.join()
        return status

    def obituary(self) -> EnarxError:
        """The link has ended, and the Keep has not said why: see to it that it has ended, and say how."""
        died = self._keep.obituary()
        self._thread.join()
        return died


class Line(Port):
    """A port that can be connected to again; between two connections it is closed for a while."""

    def __init__(self, fd: int, connect: Connect) -> None:
        super().__init__(fd)
        self._connect = connect
        self._pause = PAUSE_SECONDS
        self._give_up: float | None = None

    def lost(self, transit: Transit) -> None:
        now = time.monotonic()
        if transit.established or self._give_up is None:
            self._pause, self._give_up = PAUSE_SECONDS, now + RETURN_SECONDS
        else:
            self._pause *= 2
        transit.detach()
        self.close()
        self.due = min(now + self._pause, self._give_up)

    def tend(self, transit: Transit) -> bool:
        now = time.monotonic()
        if self.due is None or now < self.due:
            return False
        if self.fd >= 0:  # connected, and nobody has said HELLO
            transit.gone = True
            return False
        if self._give_up is not None and now >= self._give_up:
            raise closed()
        try:
            sock = self._connect()
        except OSError:
            self.due = now + PAUSE_SECONDS
            return False
        if sock is None:
            raise closed()
        self.fd = sock.detach()
        self.due = min(now + self._pause * HELLO_PAUSES, self._give_up or math.inf)
        return True


def adopt(fd: int, standard: str) -> tuple[socket.socket, bool]:
    """A stream's socket for a descriptor of ours, as `pump.Adopt` says.

    A standard stream need not be a socket, and may be shared with other programs: a thread copies it.
    """
    if not standard:
        return socket.socket(fileno=fd), False
    ours, theirs = socket.socketpair()
    copy = _from_standard if standard == "stdin" else _to_standard
    threading.Thread(target=_copy, args=(copy, fd, theirs), name=standard, daemon=True).start()
    return ours, standard != "stdin"  # output has arrived when it has been written, and the thread closes its end


def _copy(copy: Callable[[int, socket.socket], None], fd: int, sock: socket.socket) -> None:
    """Copy until there is no more, or nobody wants it. That ``sock`` is closed says that everything has been copied."""
    with sock, contextlib.suppress(OSError):
        copy(fd, sock)
    os.close(fd)


def _from_standard(fd: int, sock: socket.socket) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.register(sock, select.POLLRDHUP)
    while sock.fileno() not in dict(poll.poll()):
        with contextlib.suppress(BlockingIOError):
            data = os.read(fd, _COPY_BYTES)
            if not data:
                return
            sock.sendall(data)


def _to_standard(fd: int, sock: socket.socket) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    with memoryview(bytearray(_COPY_BYTES)) as buffer:
        while count := sock.recv_into(buffer):
            rest = buffer[:count]
            while rest:
                try:
                    rest = rest[os.write(fd, rest) :]
                except BlockingIOError:  # somebody made what is shared non-blocking
                    poll.poll()
