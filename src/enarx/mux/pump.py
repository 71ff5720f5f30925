"""One end of a link over bytes: moves frames and bytes between the port and the sockets of this end, in one thread.

Every event is edge-triggered: it is remembered in a flag, and only the system's own "not now" clears the flag. What no
event will tell of is in `Mux._more`, so that the thread neither sleeps on something that it could do nor spins.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from typing import Final

from enarx.errors import LinkError
from enarx.mux.control import Control
from enarx.mux.events import WRITE, Events
from enarx.mux.incoming import NUMBER_BYTES, Incoming, broken
from enarx.mux.leaving import Leaving
from enarx.mux.port import Port
from enarx.mux.stream import MAX_WINDOW_BYTES, Stream
from enarx.mux.table import OWED_BYTES, PAIR_BYTES, U32, Table
from enarx.mux.transit import Transit
from enarx.wire import BYTE_LINK, FLAG_FD, HEADER, Frame, Type, encode, parse_fields

MAX_ASKED: Final = 64
"""Requests for standard streams that have not been answered (count)."""
_MAX_NUMBER: Final = 0xFFFFFFFF
_READS: Final = 8  # of the port in one turn

Adopt = Callable[[int, str], tuple[socket.socket, bool]]
"""Makes a stream's socket of a descriptor and the standard stream that it is, if any; says whether `Stream.waits`."""


class Mux:
    """Both ends run this. The host's end opens streams, and has ``adopt`` for that; the Keep's end never does."""

    def __init__(self, port: Port, link: socket.socket, *, adopt: Adopt | None = None) -> None:
        """Takes over ``port``, and ``link``: the Unix socket whose other end is `Host`'s, or `Link`'s in a Keep."""
        self.over = False
        self._adopt = adopt
        self._port = port
        self._transit = Transit(leads=adopt is None)
        self._incoming = Incoming()
        self._control = Control(link)
        self._events = Events()
        self._table = Table(self._transit, self._events, PAIR_BYTES if adopt is None else MAX_WINDOW_BYTES)
        self._leaving = Leaving(self._table)
        self._said: int | None = None  # where EXIT ends, once it has been sent
        self._exit: tuple[bytes, int] | None = None  # EXIT that has come and waits, and what it cost
        self._last_number = 0
        self._asked: dict[int, str] = {}
        self._asked_to_write = False  # an event, when the port can be written to
        self._events.ask(link.fileno())
        self._attach()

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Until the link is over, or until ``until`` says so; then it can be called again.

        Raises LinkError when the other end is gone, or broke the protocol: then the link is over too.
        """
        try:
            while not self.over:
                if until is not None and until():
                    return
                self.turn()
        except BaseException:
            self.over = True
            raise
        finally:
            if self.over:
                self.close()

    def established(self) -> bool:
        """Whether the other end is there."""
        return self._transit.established

    def turn(self, *, wait: bool = True) -> None:
        """Move what can be moved now; with ``wait``, sleep until there is something. Raises LinkError."""
        for fd, events in self._events.wait(self._patience() if wait and not self._more() else 0):
            self._happened(fd, events)
        self._take()
        self._give()
        self._tend()

    def close(self) -> None:
        """Close everything that this end has."""
        self._table.close()
        self._control.close()
        self._events.close()
        self._port.close()

    def _more(self) -> bool:
        """Whether there is something to do that no event will tell of."""
        transit, control = self._transit, self._control
        return (
            transit.readable
            or transit.gone
            or control.may_read()
            or self._table.can_send()
            or self._table.can_pay()
            or (bool(control.outgoing) and self._next_frame() is not None)
            or (self._exit is not None and self._leaving.may_be_passed_on())
        )

    def _patience(self) -> float | None:
        """How long nothing needs to be looked at again, in seconds; None for ever."""
        times = (self._leaving.due(), None if self._transit.established else self._port.due)
        due = min((when for when in times if when is not None), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def _happened(self, fd: int, events: int) -> None:
        if (stream := self._table.by_socket.get(fd)) is not None:
            self._table.happened(stream, events)
        elif fd == self._transit.fd:
            self._transit.readable |= bool(events & ~WRITE)
            self._transit.blocked &= not events & WRITE
        elif fd == self._control.sock.fileno():
            self._control.readable |= bool(events & ~WRITE)
            self._control.flush()
            self._events.ask(fd, write=self._control.blocked)
            if events & select.EPOLLHUP and self._adopt is not None:
                self.over = True  # the host is done with this Keep, whatever is still on its way

    # --- the port

    def _attach(self) -> None:
        if self._port.fd >= 0:
            self._transit.attach(self._port.fd)
            self._events.ask(self._port.fd)

    def _tend(self) -> None:
        """See to the port's connection. Raises LinkError when there is none any more."""
        transit = self._transit
        if transit.established and not transit.gone and transit.blocked is self._asked_to_write:
            return
        leaving = self._came()
        if transit.gone:
            if not self._port.stays:
                self._events.forget(transit.fd)
            if leaving:  # the Keep has ended, as it said
                transit.detach()
            else:
                self._port.lost(transit)
        if not transit.established and not leaving and self._port.tend(transit):
            self._attach()
        if transit.fd >= 0:
            self._events.ask(transit.fd, write=transit.blocked)
        self._asked_to_write = transit.blocked

    def _take(self) -> None:
        """Read from the port, and pass on what has come. Raises LinkError."""
        for _ in range(_READS):
            if not self._transit.readable:
                break
            for kind, ident, flags, payload in self._incoming.feed(self._transit.receive()):
                if kind is Type.ACK:
                    self._transit.acknowledged(payload)
                elif self._came():
                    pass  # nobody waits for anything behind EXIT
                elif kind not in BYTE_LINK:
                    self._frame(kind, ident, flags, bytes(payload))
                elif ident:
                    self._table.received(kind, ident, payload)
                elif kind is Type.CREDIT:
                    self._control.take_credit(*U32.unpack(payload))
                else:
                    raise broken(f"{kind.name} for no stream")
        if self._exit is not None and self._leaving.may_be_passed_on():
            data, cost = self._exit
            self._exit = None
            self._deliver(data, cost)

    def _frame(self, kind: Type, ident: int, flags: int, payload: bytes) -> None:
        """A frame of the link itself has come."""
        cost = HEADER.size + len(payload)
        standard = self._standard(kind, ident, payload)
        brought = None
        if flags:
            brought = self._open_pair(U32.unpack_from(payload)[0], standard)
            payload = payload[NUMBER_BYTES:]
        data = encode(kind, ident, payload, fd=brought is not None)
        if kind is Type.EXIT and self._adopt is not None:
            self._exit = data, cost
            self._leaving.begin()
            self._transit.acknowledge(now=True)
            self._table.leave()
        else:
            self._deliver(data, cost, brought)

    def _deliver(self, data: bytes, cost: int, brought: socket.socket | None = None) -> None:
        self._control.deliver(data, cost, brought)
        self._events.ask(self._control.sock.fileno(), write=self._control.blocked)

    def _open_pair(self, number: int, standard: str) -> socket.socket:
        """Open stream ``number``, which has come; get the other end of its socket pair. Raises LinkError."""
        if self._adopt is not None:
            raise broken("the Keep opens a stream")
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise LinkError("there are no descriptors left for streams", code="link-streams") from error
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PAIR_BYTES)
        try:
            self._table.open(Stream(number, ours, standard=bool(standard)))
        except LinkError:
            theirs.close()
            raise
        return theirs

    def _came(self) -> bool:
        """Whether EXIT has come."""
        return self._adopt is not None and self._leaving.since is not None

    def _standard(self, kind: Type, ident: int, payload: bytes) -> str:
        """The standard stream that a frame brings, because it answers a request for one. Raises LinkError."""
        if kind is Type.STDIO and len(self._asked) < MAX_ASKED:
            self._asked[ident] = parse_fields(kind, payload)["name"]
        elif kind in (Type.OPENED, Type.FAILED):
            return self._asked.pop(ident, "")
        return ""

    # --- sending

    def _give(self) -> None:
        """Put what is due into the ring and send what the port takes. Raises LinkError."""
        transit, control = self._transit, self._control
        if transit.room() >= OWED_BYTES and (count := control.give_back()):
            transit.put(Type.CREDIT, 0, U32.pack(count))
        if control.may_read():
            control.read()
        while control.outgoing and (frame := self._next_frame()) is not None:  # those of one read at most
            control.outgoing.popleft()
            self._put(frame)
        self._table.send()
        self._table.pay()
        transit.acknowledge()
        transit.flush()
        if self._said is not None:
            self.over = transit.delivered(self._said) or self._leaving.late()
        elif control.ended and not control.outgoing:
            self.over = True

    def _next_frame(self) -> Frame | None:
        """The next frame of the link itself that can be sent now."""
        if not self._control.outgoing:
            return None
        frame = self._control.outgoing[0]
        cost = HEADER.size + NUMBER_BYTES + len(frame.payload)
        if cost > self._transit.room() or cost > self._control.credit:
            return None
        if frame.fd >= 0 and self._table.full():
            return None
        if frame.type is Type.EXIT and self._adopt is None and not self._leaving.may_be_sent():
            return None
        return frame

    def _put(self, frame: Frame) -> None:
        """Send a frame, and open the stream that it brings. Raises LinkError."""
        standard = self._standard(frame.type, frame.id, frame.payload)
        payload, flags = frame.payload, 0
        if frame.fd >= 0:
            payload, flags = U32.pack(self._adopt_stream(frame.take_fd(), standard)) + payload, FLAG_FD
        self._control.credit -= HEADER.size + len(payload)
        self._transit.put(frame.type, frame.id, payload, flags=flags)
        if frame.type is Type.EXIT and self._adopt is None:
            self._said = self._transit.place()
            self._leaving.begin()

    def _adopt_stream(self, fd: int, standard: str) -> int:
        """Open a stream for a descriptor of the host's, which is taken over; its number."""
        if self._adopt is None:
            os.close(fd)
            raise broken("the Keep sends a descriptor")
        sock, waits = self._adopt(fd, standard)
        while True:
            self._last_number = self._last_number % _MAX_NUMBER + 1
            if self._last_number not in self._table.by_number:
                break
        self._table.open(Stream(self._last_number, sock, standard=bool(standard), waits=waits))
        return self._last_number
