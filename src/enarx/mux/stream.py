"""One stream of a link over bytes: a socket at this end, a window in each direction, and how far each direction is."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Final

from enarx.mux.incoming import broken

WINDOW_BYTES: Final = 1 << 14
"""What may be on its way in one direction of a stream before its reader has taken any of it, in bytes."""
MAX_WINDOW_BYTES: Final = 1 << 22
"""The same for a stream whose reader keeps up."""
_DO_NOT_WAIT: Final = socket.MSG_DONTWAIT  # in each call, as the socket's own flag may be shared with others
_DRAIN_BYTES: Final = 1 << 16
_RESET: Final = struct.pack("ii", 1, 0)  # struct linger: close at once


class Stream:
    """What concerns one stream alone; `table.Table` decides when."""

    __slots__ = (
        "closed_due", "credit", "cut", "deaf", "finish_due", "got_closed", "got_end", "hung_up", "number", "owed",
        "patient", "pending", "queued", "readable", "room", "sent_end", "shut", "sock", "standard", "waits", "window",
    )  # fmt: skip

    def __init__(self, number: int, sock: socket.socket, *, standard: bool = False, waits: bool = False) -> None:
        """``standard``: it is stdin, stdout or stderr. ``waits``: whoever has the socket's other end closes first."""
        self.number = number
        self.sock = sock
        self.standard = standard
        self.waits = waits
        # From the socket to the other end:
        self.credit = WINDOW_BYTES  # bytes that the other end has room for
        self.readable = True  # perhaps there is something
        self.hung_up = False  # what there is ends
        self.queued = False  # in the queue of those that have something
        self.sent_end = False  # nothing more goes
        self.finish_due = self.closed_due = False  # FINISH and CLOSED, which are still to be said
        # From the other end to the socket:
        self.window = self.room = WINDOW_BYTES  # bytes that may come: in all, and now
        self.pending = bytearray()  # came, and the socket does not take it
        self.owed = 0  # bytes that were passed on, and not given back
        self.got_end = self.got_closed = False  # nothing more comes; the other end has closed
        self.shut = False  # the socket has been told that nothing more comes
        self.cut = False  # ... because the connection broke
        self.deaf = False  # nobody reads: what comes is thrown away
        self.patient = False  # EXIT waits for it however long it takes

    # --- from the socket to the other end

    def receive(self, views: list[memoryview]) -> int:
        """Read what is to be sent. Raises BlockingIOError, or OSError when the connection broke."""
        if len(views) == 1:
            return self.sock.recv_into(views[0], 0, _DO_NOT_WAIT)
        return self.sock.recvmsg_into(views, 0, _DO_NOT_WAIT)[0]

    def take_credit(self, count: int) -> None:
        """The other end has room again. Raises LinkError when it has more than a window can be."""
        self.credit += count
        if self.credit > MAX_WINDOW_BYTES:
            raise broken(f"stream {self.number} has a window of {self.credit} bytes")

    def end(self, *, orderly: bool) -> None:
        """Nothing more comes from the socket; unless ``orderly``, because its connection broke."""
        self.readable, self.sent_end = False, True
        self.finish_due = orderly
        self.deaf |= not orderly

    # --- from the other end to the socket

    def deliver(self, data: memoryview) -> None:
        """Pass on what has come. Raises LinkError when it is more than there was room for."""
        size = len(data)
        self.room -= size
        if self.room < 0 or self.got_end:
            raise broken(f"stream {self.number} sends more than it may")
        if self.pending or (count := self._send(data)) < size:
            self.pending += data if self.pending else data[count:]

    def flows(self) -> bool:
        """Whether what came has been passed on and that is all: there is nothing to tell either side."""
        return not self.pending and not self.deaf and self.owed * 4 < self.window * 3

    def flush(self) -> None:
        """Pass on what had to wait."""
        if self.pending:
            with memoryview(self.pending) as view:
                count = self._send(view)
            del self.pending[:count]

    def _send(self, data: memoryview) -> int:
        count = len(data)
        if not self.deaf:
            try:
                count = self.sock.send(data, _DO_NOT_WAIT)
            except BlockingIOError:
                count = 0
            except OSError:
                self.deaf = True
        self.owed += count
        return count

    def give_back(self, growth: int) -> int:
        """The credit to give, with ``growth`` of the window."""
        count = self.owed + growth
        self.owed = 0
        self.window += growth
        self.room += count
        return count

    def credit_due(self) -> bool:
        """Whether so much has been passed on that the other end should know."""
        return self.owed * 4 >= self.window * 3 and not self.got_end and self.is_open()

    def finish(self) -> None:
        """FINISH has come. Raises LinkError when an end had come already."""
        if self.got_end:
            raise broken(f"stream {self.number} ends twice")
        self.got_end = True

    def other_closed(self) -> None:
        """CLOSED has come: nothing more is sent or wanted. Raises LinkError when it had come already."""
        if self.got_closed:
            raise broken(f"stream {self.number} is closed twice")
        self.cut = not self.got_end
        self.got_closed = True
        self._expect_nothing()

    def leave(self) -> None:
        """EXIT has come: nothing more is sent or wanted of any stream."""
        self.patient = self.standard and self.got_end
        self.got_closed = True
        self._expect_nothing()

    def _expect_nothing(self) -> None:
        self.got_end = self.sent_end = True
        self.finish_due = False

    # --- ends

    def settle(self) -> bool:
        """Tell the socket what follows from the state. Returns whether it can be closed."""
        if self.deaf:
            self.flush()  # away with it
        if self.got_end and not self.pending and not self.shut:
            self.shut = True
            with contextlib.suppress(OSError):  # not connected any more
                self.sock.shutdown(socket.SHUT_WR)
        return self.sent_end and (self.deaf or (self.shut and not self.waits))

    def is_open(self) -> bool:
        """Whether there is a socket at this end."""
        return self.sock.fileno() >= 0

    def owes(self) -> bool:
        """Whether there is something to tell the other end."""
        return self.finish_due or self.closed_due or self.credit_due()

    def ended(self) -> bool:
        """Whether both ends have closed, and said so."""
        return self.got_closed and not self.is_open() and not self.closed_due

    def close(self) -> None:
        """Close the socket: by a reset if the stream was, where there is such a thing."""
        with contextlib.suppress(OSError):  # not connected any more, or nothing there
            if self.sock.family != socket.AF_UNIX:
                if self.cut:
                    self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            else:  # what we leave unread would be an error for whoever wrote it; to write more is one
                self.sock.shutdown(socket.SHUT_RDWR)
                while self.sock.recv(_DRAIN_BYTES, _DO_NOT_WAIT):
                    pass
        self.sock.close()
        self.closed_due = True
