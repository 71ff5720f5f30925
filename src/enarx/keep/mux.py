"""The Keep's end of a link over bytes, in the Keep's process: it has a Unix socket, as if the host were there.

A Keep enters its sandbox with a single thread. Until then what the host writes is moved while the Keep waits for it;
afterwards a thread moves it, in that sandbox. Bytes that arrive go to socket pairs whose other ends the Keep is passed,
as a host would. Nothing here looks into them.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable

from enarx.errors import LinkError
from enarx.mux.port import port_of
from enarx.mux.pump import Mux


class Carrier:
    """``link`` is the Keep's link, over a port. It ends with the port, and with a host that breaks the protocol."""

    def __init__(self, port: int) -> None:
        """Takes over ``port``."""
        self.link, theirs = socket.socketpair()
        self._mux = Mux(port_of(port), theirs)
        self._thread: threading.Thread | None = None
        self._arrived = select.poll()
        self._arrived.register(self.link, select.POLLIN)

    def wait(self) -> None:
        """Move what comes and goes until the link can be read; with a thread that does so, there is nothing to do."""
        if self._thread is None:
            self._run(until=self._readable)

    def start(self) -> None:
        """From now on a thread moves everything. For when the sandbox is complete."""
        self._thread = threading.Thread(target=self._run, name="link over bytes", daemon=True)
        self._thread.start()

    def settle(self) -> None:
        """Wait until the host has everything that was sent over the link, or is gone."""
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_WR)
        if self._thread is None:
            self._run()
        else:
            self._thread.join()

    def _run(self, until: Callable[[], bool] | None = None) -> None:
        with contextlib.suppress(LinkError):  # the Keep finds its link closed, and says what there is to say
            self._mux.run(until)

    def _readable(self) -> bool:
        return bool(self._arrived.poll(0))
