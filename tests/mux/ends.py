"""Two ends of a link over bytes in one thread, moved step by step, with tests in place of host, Keep and port."""

from __future__ import annotations

import array
import contextlib
import socket
from types import TracebackType

from enarx.mux.port import Port
from enarx.mux.pump import Mux
from enarx.mux.table import Table
from enarx.wire import Decoder, Frame, Type, encode_fields

PATIENCE = 2000
"""Turns in which everything that can be moved has been moved (count)."""


def adopt(fd: int, standard: str) -> tuple[socket.socket, bool]:
    return socket.socket(fileno=fd), False


def receive(link: socket.socket, decoder: Decoder) -> list[Frame]:
    """The frames that have come, with their descriptors; none when there are none."""
    frames: list[Frame] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            data, ancillary, _, _ = link.recvmsg(1 << 20, 4096, socket.MSG_DONTWAIT)
            fds = array.array("i")
            for _, _, payload in ancillary:
                fds.frombytes(payload)
            frames += decoder.feed(data, list(fds))
            if not data:
                break
    return frames


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets, as a client and the host have them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    return client, accepted


class Ends:
    """``host_link`` and ``keep_link`` are what `Host` and a Keep's `Link` would have."""

    def __init__(self, ports: tuple[Port, Port] | None = None) -> None:
        self.host_link, host_far = socket.socketpair()
        self.keep_link, keep_far = socket.socketpair()
        if ports is None:
            ours, theirs = socket.socketpair()
            ports = Port(ours.detach()), Port(theirs.detach())
        self.host = Mux(ports[0], host_far, adopt=adopt)
        self.keep = Mux(ports[1], keep_far)
        self._from_host, self._from_keep = Decoder(), Decoder()

    def __enter__(self) -> Ends:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.host.close()
        self.keep.close()
        self.host_link.close()
        self.keep_link.close()

    def _state(self) -> tuple[int, ...]:
        transits = self.host._transit, self.keep._transit
        return tuple(number for one in transits for number in (one.received, one._end, one._sent, one._acked))

    def tables(self) -> tuple[Table, Table]:
        """The streams of the host's end, and of the Keep's."""
        return self.host._table, self.keep._table

    def open_streams(self) -> tuple[int, int]:
        """How many there are at the host's end, and at the Keep's."""
        host, keep = (max(len(end.by_number), len(end.by_socket)) for end in self.tables())
        return host, keep

    def settle(self) -> None:
        """Move everything that can be moved."""
        still, last = 0, self._state()
        for _ in range(PATIENCE):
            self.host.turn(wait=False)
            self.keep.turn(wait=False)
            still = 0 if self._state() != last else still + 1
            last = self._state()
            if still > 3 and not self.host._more() and not self.keep._more():
                return
        raise AssertionError("the ends do not come to rest")

    def to_keep(self) -> list[Frame]:
        """The frames that the Keep has got."""
        return receive(self.keep_link, self._from_host)

    def to_host(self) -> list[Frame]:
        """The frames that the host has got."""
        return receive(self.host_link, self._from_keep)

    def open(self, far: socket.socket | None = None) -> tuple[socket.socket, socket.socket]:
        """A stream: the client's socket, and the workload's."""
        near = None
        if far is None:
            near, far = socket.socketpair()
        with far:
            socket.send_fds(self.host_link, [encode_fields(Type.INCOMING, 1, fd=True, peer="")], [far.fileno()])
        self.settle()
        (frame,) = self.to_keep()
        workload = socket.socket(fileno=frame.take_fd())
        return near or workload, workload
