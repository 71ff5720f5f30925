"""The Keep's end of a link over bytes, in a process of its own: the Keep has a Unix socket, as if the host were there.

The process that reads what the host writes holds no secrets, and the Keep's own stays single-threaded until it has
entered its sandbox. Bytes that arrive go to socket pairs whose other ends the Keep is passed, as a host would.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket

from enarx.errors import LinkError
from enarx.keep.sandbox import MAX_OPEN_FILES, Sandbox


def carry(port: int, sandbox: Sandbox | None) -> socket.socket:
    """The Keep's link over ``port``, which is taken over. Must be called while there is a single thread.

    ``sandbox``: what the process that carries it enters.
    """
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        status = 1
        try:
            with contextlib.suppress(LinkError):  # the Keep finds its link closed, and says what there is to say
                _run(port, theirs, sandbox)
            status = 0
        finally:
            os._exit(status)
    theirs.close()
    os.close(port)
    return ours


def settle(link: socket.socket) -> None:
    """Wait until the host has everything that was sent over a link of `carry`'s, or is gone."""
    with contextlib.suppress(OSError):
        link.shutdown(socket.SHUT_WR)
        while link.recv(1 << 16):
            pass  # too late


def _run(port: int, link: socket.socket, sandbox: Sandbox | None) -> None:
    """In the process of its own."""
    from enarx.mux.port import port_of
    from enarx.mux.pump import Mux

    for low, high in _gaps({port, link.fileno()}):
        os.closerange(low, high)
    if sandbox is not None:
        sandbox.begin()
        sandbox.finish()
    gc.freeze()
    gc.enable()
    Mux(port_of(port), link).run()


def _gaps(kept: set[int]) -> list[tuple[int, int]]:
    """Ranges of descriptors above the standard streams that hold none of ``kept``."""
    edges = sorted(kept)
    return list(zip([3, *(fd + 1 for fd in edges)], [*edges, MAX_OPEN_FILES], strict=True))
