"""The socket that http.client is given: every wait has an end, and no more is received than is asked for.

http.client bounds a header line and their number; it bounds neither interim answers, nor trailers, nor time.
"""

from __future__ import annotations

import contextlib
import io
import socket
import time
from typing import Final

CONNECT_SECONDS: Final = 15.0
IDLE_SECONDS: Final = 60.0
"""Longest silence while something is sent or received (seconds)."""
ANSWER_SECONDS: Final = 300.0
"""Longest wait for the head of an answer (seconds): a registry may be moving a large blob to where it belongs."""
HEAD_MAX_BYTES: Final = 256 << 10
"""All that may come before a body, interim answers included (bytes)."""
GRACE_SECONDS: Final = 60.0
SLOWEST_BYTES_PER_SECOND: Final = 1024
"""A body must come this fast on average, when GRACE_SECONDS are over."""
RECEIVE_BYTES: Final = 64 << 10
SEND_BYTES: Final = 64 << 10
"""What must be sent within IDLE_SECONDS."""


class GuardedSocket:
    """What http.client uses of a socket. It may be connected with TLS or not."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._users = 1  # the connection, and each file made: http.client closes one while the other is in use
        self._budget = 0
        self._deadline = 0.0
        self._body_since: float | None = None
        self._received = 0
        self.failure: OSError | None = None
        """Why nothing more is received: what was until then is handed out first, as if it had ended there."""

    def expect_head(self, seconds: float) -> None:
        """From here on the head of an answer is received, which must be there in time."""
        self._budget = HEAD_MAX_BYTES
        self._deadline = time.monotonic() + seconds
        self._body_since = None

    def expect_body(self, size: int) -> None:
        """From here on a body of at most ``size`` bytes is received; its framing may add a half, and a bit."""
        self._budget = size + size // 2 + HEAD_MAX_BYTES
        self._body_since = time.monotonic()
        self._received = 0

    def receive(self, buffer: memoryview) -> int:
        """As ``recv_into``, but 0 after a failure."""
        if self.failure is None:
            try:
                return self._receive(buffer)
            except OSError as error:
                self.failure = error
        return 0

    def _receive(self, buffer: memoryview) -> int:
        if self._budget <= 0:
            raise ConnectionAbortedError("the answer is longer than it may be")
        now = time.monotonic()
        wait = IDLE_SECONDS
        if self._body_since is None:
            wait = min(wait, self._deadline - now)
        else:
            elapsed = now - self._body_since
            if elapsed > GRACE_SECONDS and self._received < elapsed * SLOWEST_BYTES_PER_SECOND:
                wait = 0
        if wait <= 0:
            raise TimeoutError("the answer takes too long")
        self._socket.settimeout(wait)
        count = self._socket.recv_into(buffer)
        self._budget -= count
        self._received += count
        return count

    def sendall(self, data: bytes | memoryview) -> None:
        """As of a socket, with a time limit for each piece; raises OSError."""
        self._socket.settimeout(IDLE_SECONDS)
        view = memoryview(data)
        for start in range(0, len(view), SEND_BYTES):
            self._socket.sendall(view[start : start + SEND_BYTES])

    def makefile(self, mode: str) -> io.BufferedReader:
        """A file to read from; ``mode`` is ``rb``."""
        self._users += 1
        return io.BufferedReader(_Received(self), RECEIVE_BYTES)

    def close(self) -> None:
        """Give up one use; the last one closes the socket."""
        self._users -= 1
        if self._users == 0:
            self.abort()

    def abort(self) -> None:
        """Close the socket whoever uses it."""
        with contextlib.suppress(OSError):
            self._socket.close()


class _Received(io.RawIOBase):
    def __init__(self, guarded: GuardedSocket) -> None:
        self._guarded = guarded

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._guarded.receive(buffer)

    def close(self) -> None:
        if not self.closed:
            self._guarded.close()
        super().close()
