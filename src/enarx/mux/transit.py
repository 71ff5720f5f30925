"""Bytes that arrive once and in order over a port, also when the port's connection is lost and made again.

What is sent stays in a ring until the other end says that it has it (ACK). Whenever a connection begins, both ends say
how much they have, and each goes on from there::

    HELLO    magic [16], session [16], bytes received so far u64        big-endian, not part of the sequence

The Keep's end says it first, as soon as it sees that there is somebody; the host's end throws away what it reads until
then, which was meant for an earlier connection, and answers. The session is a random number of the Keep's: a Keep that
has begun again, or another one, is not mistaken for the one that was lost.

The host's end says nothing before. A guest can miss that its port was closed and opened again, and would take the first
bytes for the rest of a frame; so a host that is not greeted closes the port again, and for longer (`host.mux`).
"""

from __future__ import annotations

import os
import struct
from typing import Final

from enarx.errors import LinkError
from enarx.mux.incoming import broken
from enarx.mux.pieces import Pieces
from enarx.wire import HEADER, MAX_PAYLOAD, VERSION, Type

RING_BYTES: Final = 1 << 23
"""Bytes that have been sent, or are about to be, and have not been acknowledged. The longest frame fits in."""
RESERVE_BYTES: Final = 256
"""Room in the ring that ACK alone may use: two ends whose rings are full would wait for each other else."""
ACK_BYTES: Final = RING_BYTES // 4
"""ACK is sent when so much has arrived since the last one, and sooner beside something else: each wakes a guest."""
READ_BYTES: Final = 1 << 18
"""Most that is read at once, in bytes: half of what the port of a Linux guest holds, passed on from caches."""
READ_UNIT: Final = 1 << 12
WRITE_UNIT: Final = 1 << 15
"""What the port of a Linux guest takes and gives in one piece, in bytes. Asked in such pieces, it does many at once."""
SKIP_BYTES: Final = 2 * RING_BYTES
"""Most that is thrown away while HELLO is looked for."""
HELLO: Final = struct.Struct(">16s16sQ")
MAGIC: Final = b"enarx byte link\x01"
SESSION_BYTES: Final = 16

_ACK: Final = struct.Struct(">Q")
_Bytes = bytes | bytearray | memoryview


class Transit:
    """One end. ``fd`` is the port's descriptor, which stays the caller's to close; -1 while there is none.

    ``readable`` and ``blocked`` say whether reading is worth a try and whether writing is not: the caller sets the one
    and clears the other when the system says so. ``gone``: the connection has ended.
    """

    def __init__(self, *, leads: bool) -> None:
        """``leads``: this is the Keep's end, which speaks first."""
        self.fd = -1
        self.readable = self.blocked = self.gone = False
        self.received = 0
        self._told = 0
        self._leads = leads
        self._session = os.urandom(SESSION_BYTES) if leads else b""
        self._ring = Pieces(RING_BYTES, WRITE_UNIT)
        self._acked = self._sent = self._furthest = self._end = 0
        self._growing = self._header = 0  # the stream whose data were put last, if nothing came behind, and where
        self._buffer = Pieces(READ_BYTES, READ_UNIT)
        self._greeting = bytearray()  # what has been read in search of HELLO
        self._skipped = 0
        self._hello = b""  # what is still to be sent of ours
        self.established = False

    def attach(self, fd: int) -> None:
        """There is a connection, or may be one soon: a guest's port is open before its host is there."""
        os.set_blocking(fd, False)
        self.fd = fd
        self.restart()
        self.readable, self.blocked = True, False

    def restart(self) -> None:
        """The connection has ended, and the same descriptor will have the next one: wait for it, and greet anew."""
        self.readable, self.blocked = False, True
        self.gone = self.established = False
        self._greeting.clear()
        self._skipped = 0
        self._hello = self._own_hello() if self._leads else b""

    def detach(self) -> None:
        """There is no connection, and no descriptor."""
        self.restart()
        self.fd = -1

    def _own_hello(self) -> bytes:
        return HELLO.pack(MAGIC, self._session, self.received)

    # --- receiving

    def receive(self) -> memoryview:
        """What has come of the sequence, valid until the next call. Raises LinkError."""
        try:
            count = self._buffer.read(self.fd)
        except OSError:
            count = 0
        if not count:
            self.readable = False
            self.gone = count is not None
            return self._buffer.view[:0]
        data = self._buffer.view[:count]
        if not self.established:
            data = self._look_for_hello(data)
        self.received += len(data)
        return data

    def _look_for_hello(self, data: memoryview) -> memoryview:
        """What comes behind HELLO, if it has come."""
        self._greeting += data
        mark = MAGIC + self._session
        start = self._greeting.find(mark)
        if start < 0:
            useless = max(len(self._greeting) - len(mark) + 1, 0)
            self._skipped += useless
            del self._greeting[:useless]
            if self._skipped > SKIP_BYTES:
                raise LinkError("the other end of the link does not say HELLO", code="link-frame")
            return data[:0]
        rest = len(self._greeting) - start - HELLO.size
        if rest < 0:
            return data[:0]
        _, session, received = HELLO.unpack_from(self._greeting, start)
        if not self._acked <= received <= self._furthest:
            raise broken(f"HELLO says that {received} bytes have arrived, of {self._furthest}")
        self._session = session
        self._acked = self._sent = received
        if not self._leads:
            self._hello = self._own_hello()
        self.established = True
        self._greeting.clear()
        return data[len(data) - rest :]

    def acknowledge(self, *, now: bool = False) -> None:
        """Put ACK if it is due, or if there is anything to acknowledge at all."""
        sooner = self._sent < self._end and not self.blocked
        due = self.received - self._told >= (1 if now else ACK_BYTES // 4 if sooner else ACK_BYTES)
        if due and self.room() + RESERVE_BYTES >= HEADER.size + _ACK.size:
            self._told = self.received
            self.put(Type.ACK, 0, _ACK.pack(self.received))

    def acknowledged(self, payload: _Bytes) -> None:
        """ACK has come. One that was sent again says less than is known. Raises LinkError."""
        (received,) = _ACK.unpack(payload)
        if received > self._furthest:
            raise broken(f"ACK of {received} bytes, of {self._furthest}")
        self._acked = max(self._acked, received)

    # --- sending

    def room(self) -> int:
        """Bytes that may be put, frames included."""
        return RING_BYTES - RESERVE_BYTES - (self._end - self._acked)

    def unsent(self) -> int:
        """Bytes that have been put and not been sent."""
        return self._end - self._sent

    def place(self) -> int:
        """Where the sequence ends now, for `delivered`."""
        return self._end

    def delivered(self, place: int) -> bool:
        """Whether the other end has everything up to there."""
        return self._acked >= place

    def put(self, kind: Type, ident: int, payload: _Bytes = b"", *, flags: int = 0) -> None:
        """Put one frame. The caller has asked for `room`."""
        self._growing = 0
        self._write(self._end, HEADER.pack(VERSION, kind, flags, 0, ident, len(payload)) + payload)
        self._end += HEADER.size + len(payload)

    def free(self, ident: int, limit: int) -> list[memoryview]:
        """Where up to ``limit`` bytes of data can be received to, with room for a header in front: one part or two.

        Data of the stream whose data were put last, and are still waiting, become part of the same frame.
        """
        size = max(self._end - self._header - HEADER.size, 0)
        if self._growing != ident or self._header < self._furthest or size >= MAX_PAYLOAD // 2:
            self._growing, self._header, size = ident, self._end, 0
        start = self._header + HEADER.size + size
        return self._span(start, start + min(limit, MAX_PAYLOAD - size))

    def put_received(self, count: int) -> None:
        """The first ``count`` bytes of `free` are data now, 1 at least."""
        self._end = max(self._end, self._header + HEADER.size) + count
        size = self._end - self._header - HEADER.size
        self._write(self._header, HEADER.pack(VERSION, Type.DATA, 0, 0, self._growing, size))

    def flush(self) -> None:
        """Send as much as the port takes."""
        if self.blocked or self.gone or self.fd < 0:
            return
        try:
            while self._hello:
                self._hello = self._hello[os.write(self.fd, self._hello) :]
            while self.established and self._sent < self._end:
                start = self._sent % RING_BYTES
                count = self._ring.write(self.fd, start, min(start + self.unsent(), RING_BYTES))
                if count is None:
                    self.blocked = True
                    break
                self._sent += count
                self._furthest = max(self._furthest, self._sent)
        except BlockingIOError:
            self.blocked = True
        except OSError:
            self.readable, self.blocked, self.gone = False, True, True

    def _write(self, start: int, data: bytes) -> None:
        for part in self._span(start, start + len(data)):
            part[:] = data[: len(part)]
            data = data[len(part) :]

    def _span(self, start: int, end: int) -> list[memoryview]:
        """The ring from ``start`` to ``end``, which are places in the sequence."""
        ring, first, length = self._ring.view, start % RING_BYTES, end - start
        if first + length <= RING_BYTES:
            return [ring[first : first + length]]
        return [ring[first:], ring[: first + length - RING_BYTES]]
