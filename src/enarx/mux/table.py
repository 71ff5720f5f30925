"""All streams of one end: what is read from their sockets goes into the ring in turn, what comes goes to its socket."""

from __future__ import annotations

import socket
import struct
from collections import deque
from typing import Final

from enarx.mux.events import ENDS, GONE, WRITE, Events
from enarx.mux.incoming import broken
from enarx.mux.stream import MAX_WINDOW_BYTES, WINDOW_BYTES, Stream
from enarx.mux.transit import Transit
from enarx.wire import HEADER, Type

MAX_STREAMS: Final = 2048
"""Streams that are open at once (count)."""
SUPPLY_BYTES: Final = 1 << 24
"""What the windows of all streams together may grow by, in bytes."""
FRAME_BYTES: Final = 1 << 20
"""Most that one stream sends before it is another's turn, in bytes, while few have something."""
LEAST_FRAME_BYTES: Final = 1 << 15
"""The same while many have something."""
QUEUE_BYTES: Final = 1 << 22
"""Data that may wait for the port, in bytes: what comes behind it should not have to wait long."""
PAIR_BYTES: Final = 1 << 22
"""Send buffers of a stream's socket pair, in bytes; Linux takes them twice."""
U32: Final = struct.Struct(">I")
OWED_BYTES: Final = 3 * HEADER.size + U32.size
"""Most that one stream can owe at once: FINISH, CREDIT and CLOSED, in bytes."""


class Table:
    """``by_number`` has a stream until both ends have closed it, ``by_socket`` until this end has."""

    def __init__(self, transit: Transit, events: Events, largest: int = MAX_WINDOW_BYTES) -> None:
        """``largest``: what a window may grow to."""
        self.by_number: dict[int, Stream] = {}
        self.by_socket: dict[int, Stream] = {}
        self._transit = transit
        self._events = events
        self._ready: deque[Stream] = deque()
        self._owing: dict[Stream, None] = {}
        self._supply = SUPPLY_BYTES
        self._largest = largest

    def full(self) -> bool:
        """Whether there can be no further stream now."""
        return len(self.by_number) >= MAX_STREAMS

    def open(self, stream: Stream) -> None:
        """A further stream. Raises LinkError for a number that cannot be."""
        if not stream.number or stream.number in self.by_number or self.full():
            stream.close()
            raise broken(f"stream {stream.number} cannot be opened")
        self.by_number[stream.number] = self.by_socket[stream.sock.fileno()] = stream
        self._events.ask(stream.sock.fileno())
        self._queue(stream)

    def happened(self, stream: Stream, events: int) -> None:
        """There are events of its socket."""
        if events & ~WRITE:
            stream.readable = True
            stream.hung_up |= bool(events & ENDS)
            stream.deaf |= bool(events & GONE)
            self._queue(stream)
        if events & (WRITE | ENDS):
            stream.flush()
            self._settle(stream)

    def received(self, kind: Type, number: int, payload: memoryview | bytes) -> None:
        """A frame of a stream has come. Raises LinkError."""
        stream = self.by_number.get(number)
        if stream is None:
            raise broken(f"{kind.name} for stream {number}, which there is not")
        if kind is Type.DATA:
            stream.deliver(memoryview(payload))
            if stream.flows():  # as nearly always
                return
        elif kind is Type.CREDIT:
            stream.take_credit(*U32.unpack(payload))
            self._queue(stream)
            return
        elif kind is Type.FINISH:
            stream.finish()
        else:
            stream.other_closed()
        self._settle(stream)

    def leave(self) -> None:
        """The other end is leaving: it says nothing more of any stream, and wants nothing."""
        for stream in list(self.by_number.values()):
            stream.leave()
            self._settle(stream)

    def look_again(self) -> None:
        """Try to read every socket, whether or not an event has told of it."""
        for stream in self.by_number.values():
            stream.readable = not stream.sent_end
            self._queue(stream)

    # --- sending

    def can_send(self) -> bool:
        """Whether something can be read from a socket and put into the ring."""
        transit = self._transit
        return bool(self._ready) and transit.room() > OWED_BYTES and transit.unsent() < QUEUE_BYTES

    def send(self) -> None:
        """Put into the ring what sockets have, in turn, as far as there is room."""
        while self.can_send():
            stream = self._ready.popleft()
            stream.queued = False
            if not stream.sent_end:
                self._read(stream)

    def _queue(self, stream: Stream) -> None:
        if stream.readable and stream.credit and not stream.sent_end and not stream.queued:
            stream.queued = True
            self._ready.append(stream)

    def _read(self, stream: Stream) -> None:
        share = max(QUEUE_BYTES // (len(self._ready) + 1), LEAST_FRAME_BYTES)
        limit = min(FRAME_BYTES, share, stream.credit, self._transit.room() - HEADER.size)
        try:
            views = self._transit.free(stream.number, limit)
            count = stream.receive(views)
        except BlockingIOError:
            stream.readable = False
            return
        except OSError:  # from a socket pair: closed, and what we had sent was not read
            stream.end(orderly=stream.sock.family == socket.AF_UNIX)
        else:
            if count:
                self._transit.put_received(count)
                stream.credit -= count
                # Less than could be: that was all, and an event tells of more; unless the last event was the end's.
                stream.readable = count == sum(map(len, views)) or stream.hung_up
                self._queue(stream)
                return
            stream.end(orderly=True)
        self._settle(stream)

    def can_pay(self) -> bool:
        """Whether a stream owes something, and there is room for it in the ring."""
        return bool(self._owing) and self._transit.room() >= OWED_BYTES

    def pay(self) -> None:
        """Put into the ring what streams owe, as far as there is room."""
        while self.can_pay():
            stream = next(iter(self._owing))
            del self._owing[stream]
            if stream.finish_due:
                self._transit.put(Type.FINISH, stream.number)
            if stream.credit_due():
                growth = self._growth(stream)
                self._supply -= growth
                self._transit.put(Type.CREDIT, stream.number, U32.pack(stream.give_back(growth)))
            if stream.closed_due:
                self._transit.put(Type.CLOSED, stream.number)
            stream.finish_due = stream.closed_due = False
            self._settle(stream)

    def _growth(self, stream: Stream) -> int:
        """What its window grows by when its reader keeps up: 16 times its size, a fair share of the supply at most."""
        if len(stream.pending) * 4 > stream.window:
            return 0
        share = min(SUPPLY_BYTES // len(self.by_number), self._largest)
        return max(min(share - stream.window, 15 * stream.window, self._supply), 0)

    def _settle(self, stream: Stream) -> None:
        """Do what follows from the stream's state."""
        if stream.is_open():
            if stream.settle():
                self._close(stream)
            else:
                self._events.ask(stream.sock.fileno(), write=bool(stream.pending))
        if stream.owes():
            self._owing[stream] = None
        elif stream.ended():
            del self.by_number[stream.number]

    def _close(self, stream: Stream) -> None:
        fd = stream.sock.fileno()
        self._events.forget(fd)
        del self.by_socket[fd]
        self._supply += stream.window - WINDOW_BYTES
        stream.close()

    def close(self) -> None:
        """Close every socket."""
        for stream in list(self.by_socket.values()):
            self._close(stream)
