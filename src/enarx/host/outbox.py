"""What goes to the Keep, sent by a thread of its own: a Keep that does not read cannot make the host wait."""

from __future__ import annotations

import array
import os
import socket
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Final

from enarx.errors import LinkError
from enarx.wire import MAX_PAYLOAD, Type, encode

MAX_WAITING: Final = 16 << 20
"""Frames that may wait for a Keep that does not read, in bytes; what follows a frame as BLOBs counts as half of it."""

Bytes = bytes | bytearray | memoryview
_Item = tuple[bytes, int, Sequence[Bytes], int]


class Outbox:
    """Frames on their way to one Keep. ``put`` is safe from any thread and does not wait."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def put(self, frame: bytes, fd: int = -1, blobs: Sequence[Bytes] = ()) -> None:
        """Queue a frame, the descriptor that goes with it (which is taken over), and bytes that follow it as BLOBs.

        Raises LinkError when the Keep has asked for too much that it does not read.
        """
        cost = len(frame) + (MAX_WAITING // 2 if blobs else 0)
        with self._lock:
            usable = not self._closed and self._waiting <= MAX_WAITING
            if usable:
                self._waiting += cost
                self._queue.put((frame, fd, blobs, cost))
        if not usable and fd >= 0:
            os.close(fd)
        if not usable and not self._closed:
            raise LinkError("the Keep does not read what it asked for", code="link-flood")

    def close(self) -> None:
        """Stop, and drop what is left. The link must have been shut down, so that no send can wait."""
        with self._lock:
            self._closed = True
            self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        broken = False
        while (item := self._queue.get()) is not None:
            frame, fd, blobs, cost = item
            try:
                if not broken:
                    self._send(frame, fd)
                    for blob in blobs:
                        self._send_blob(blob)
            except OSError:  # the Keep is gone; whoever reads the link hears of it too, and says more
                broken = True
            finally:
                if fd >= 0:
                    os.close(fd)
                with self._lock:
                    self._waiting -= cost

    def _send(self, data: bytes, fd: int = -1) -> None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd >= 0 else []
        sent = self._link.sendmsg([data], ancillary)
        if sent < len(data):
            self._link.sendall(memoryview(data)[sent:])

    def _send_blob(self, data: Bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), MAX_PAYLOAD):
            self._send(encode(Type.BLOB, 0, view[start : start + MAX_PAYLOAD]))
