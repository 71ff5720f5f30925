"""The link itself at one end: the Unix socket of the Keep, or of the host, with its frames and their descriptors."""

from __future__ import annotations

import array
import socket
from collections import deque
from typing import Final

from enarx.errors import LinkError
from enarx.mux.incoming import broken
from enarx.wire import HEADER, MAX_PAYLOAD, Decoder, Frame

WINDOW_BYTES: Final = 2 * (HEADER.size + MAX_PAYLOAD)
"""What may be on its way to a Keep, or a host, that does not read its link, in bytes."""
READ_BYTES: Final = 1 << 18
_FDS_PER_READ: Final = 16
_FD_BYTES: Final = socket.CMSG_SPACE(_FDS_PER_READ * array.array("i").itemsize)


class Control:
    """Frames from the socket wait in ``outgoing`` until there is room at the other end; ``credit`` is that room."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.readable = True
        self.blocked = False
        self.ended = False
        """Whoever has the other end of the socket has closed it."""
        self.outgoing: deque[Frame] = deque()
        self.credit = WINDOW_BYTES
        self._decoder = Decoder()
        self._room = WINDOW_BYTES
        self._owed = 0
        self._incoming: deque[tuple[memoryview, int, socket.socket | None]] = deque()

    def may_read(self) -> bool:
        """Whether reading is worth a try: what was read before has gone."""
        return self.readable and not self.outgoing

    def read(self) -> None:
        """Read what is there. Raises LinkError for what is not made of frames."""
        try:
            data, ancillary, flags, _ = self.sock.recvmsg(
                READ_BYTES, _FD_BYTES, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            self.readable = False
            return
        except OSError:
            data, ancillary, flags = b"", [], 0
        fds = array.array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        self.outgoing += self._decoder.feed(data, list(fds))
        if flags & socket.MSG_CTRUNC:
            raise LinkError("too many file descriptors at once", code="link-frame")
        if not data:
            self.readable, self.ended = False, True

    def deliver(self, data: bytes, cost: int, brought: socket.socket | None) -> None:
        """Pass a frame on, with the socket that it brings, if any. ``cost``: its size as it came. Raises LinkError."""
        self._room -= cost
        if self._room < 0:
            if brought is not None:
                brought.close()
            raise broken("more frames than there is room for")
        self._incoming.append((memoryview(data), cost, brought))
        self.flush()

    def flush(self) -> None:
        """Pass on what had to wait, as far as the socket takes it."""
        self.blocked = False
        while self._incoming and not self.blocked:
            data, cost, brought = self._incoming[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [brought.fileno()]))] if brought else []
            try:
                count = self.sock.sendmsg([data], rights, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self.blocked = True
                return
            except OSError:  # nobody reads any more; the end of the socket tells the same
                count = len(data)
            if brought is not None:
                brought.close()
            if count < len(data):
                self._incoming[0] = (data[count:], cost, None)
            else:
                self._incoming.popleft()
                self._owed += cost

    def give_back(self) -> int:
        """Credit to give, if it is due: 0 if not."""
        if self._owed * 4 < WINDOW_BYTES:
            return 0
        count, self._owed = self._owed, 0
        self._room += count
        return count

    def take_credit(self, count: int) -> None:
        """The other end has room again. Raises LinkError when it has more than its window."""
        self.credit += count
        if self.credit > WINDOW_BYTES:
            raise broken(f"a window of {self.credit} bytes for frames")

    def close(self) -> None:
        """Close the socket and every descriptor that has not been passed on."""
        for frame in self.outgoing:
            frame.close()
        for _, _, brought in self._incoming:
            if brought is not None:
                brought.close()
        self._incoming.clear()
        self._decoder.close()
        self.sock.close()
