"""Accepting connections: TLS handshakes happen here, on the main thread, so that the workload never waits for one.

A client that is slow, silent or broken costs a slot for HANDSHAKE_SECONDS at most, and when the slots are full
the oldest unfinished handshake makes room for the newest: it cannot keep others out.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from enarx.keep.loop import Loop
from enarx.keep.tls import HANDSHAKE_SECONDS, start_server

if TYPE_CHECKING:
    from enarx.keep.challenges import Challenges

CONNECTIONS: Final = 128
"""Connections of one listener that the host may have handed over and the workload has not accepted."""
HANDSHAKES: Final = 96
"""How many of them may be in their handshake, or wait for fresh evidence."""

CHALLENGE_SECONDS: Final = 10.0
"""How long a client may take, from the end of its handshake, to ask for evidence and to have it (seconds)."""


class ConnectionQueue:
    """The ``Backlog`` of one listener. ``credit(n)`` lets the host hand over ``n`` more connections.

    With ``challenges`` clients may ask for fresh evidence first; ``tls`` is then a context of theirs.
    """

    def __init__(
        self,
        loop: Loop,
        tls: ssl.SSLContext | None,
        credit: Callable[[int], None],
        close: Callable[[], None],
        challenges: Challenges | None = None,
    ) -> None:
        self._loop = loop
        self._tls = tls
        self._challenges = challenges
        self._credit = credit
        self._close = close
        self._ready: deque[socket.socket] = deque()
        self._handshakes: dict[ssl.SSLSocket, bytes | None] = {}  # with the exporter, for those that will ask
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
        self._closed = False

    def fileno(self) -> int:
        """Readable while a connection is ready."""
        return self._event

    def pop(self) -> socket.socket | None:
        """The next connection that is ready; called on the workload's thread."""
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return None
        sock = self._ready.popleft()
        self._credit(1)
        return sock

    def incoming(self, sock: socket.socket) -> None:
        """Take over a connection that the host accepted; called on the main thread."""
        if self._closed:
            sock.close()
        elif self._tls is None:
            self._push(sock)
        else:
            if len(self._handshakes) >= HANDSHAKES:
                self._give_up(next(iter(self._handshakes)))
            try:
                tls = start_server(self._tls, sock)
            except (OSError, ValueError):  # the client is gone already
                sock.close()
                self._credit(1)
                return
            self._handshakes[tls] = None
            self._loop.call_later(tls, HANDSHAKE_SECONDS, lambda: self._give_up(tls))
            self._step(tls)

    def _push(self, sock: socket.socket) -> None:
        if self._closed:
            sock.close()
            return
        self._ready.append(sock)
        os.eventfd_write(self._event, 1)

    def _step(self, tls: ssl.SSLSocket) -> None:
        try:
            self._shake(tls)
        except ssl.SSLWantReadError:
            self._loop.watch(tls, selectors.EVENT_READ, lambda: self._step(tls))
        except ssl.SSLWantWriteError:
            self._loop.watch(tls, selectors.EVENT_WRITE, lambda: self._step(tls))
        except (OSError, ValueError):
            self._give_up(tls)
        else:
            self._loop.forget(tls)
            exporter = self._handshakes[tls]
            if self._challenges is None or exporter is None:
                self._answered(tls, True)
                return
            self._handshakes[tls] = None
            self._loop.call_later(tls, CHALLENGE_SECONDS, lambda: self._give_up(tls))
            self._challenges.begin(tls, exporter, lambda answered: self._answered(tls, answered))

    def _shake(self, tls: ssl.SSLSocket) -> None:
        """One step of the handshake."""
        if self._challenges is None:
            tls.do_handshake()
            return
        try:
            tls.do_handshake()
            self._challenges.silence(tls)
        finally:
            self._handshakes[tls] = self._challenges.exporter(tls) or self._handshakes[tls]

    def _answered(self, tls: ssl.SSLSocket, answered: bool) -> None:
        if answered:
            self._done(tls)
            self._push(tls)
        else:
            self._give_up(tls)

    def _done(self, tls: ssl.SSLSocket) -> None:
        del self._handshakes[tls]
        self._loop.cancel(tls)
        self._loop.forget(tls)

    def _give_up(self, tls: ssl.SSLSocket) -> None:
        if self._challenges is not None:
            self._challenges.forget(tls)
        self._done(tls)
        tls.close()
        self._credit(1)

    def close(self) -> None:
        """Stop listening; called on the workload's thread. The main thread drops what is in its handshake."""
        self._closed = True
        self._close()
        while self._ready:
            with contextlib.suppress(OSError):
                self._ready.popleft().close()
