"""What goes to the Keep, sent by a thread of its own: a Keep that does not read cannot make the host wait."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Final

from enarx.errors import HostError, LinkError
from enarx.host.filebytes import Data, FileBytes, parts_of
from enarx.wire import Type, encode

MAX_WAITING: Final = 16 << 20
"""Frames that may wait for a Keep that does not read, in bytes; what follows a frame as BLOBs counts as half of it."""

_Item = tuple[bytes, int, Sequence[Data], int]


class Outbox:
    """Frames on their way to one Keep. ``put`` is safe from any thread and does not wait.

    A file among what is sent that cannot be read ends the link, and ``failure`` says why.
    """

    def __init__(self, link: socket.socket) -> None:
        self.failure: HostError | None = None
        self._link = link
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def put(self, frame: bytes, fd: int = -1, blobs: Sequence[Data] = ()) -> None:
        """Queue a frame, the descriptor that goes with it, and bytes that follow it as BLOBs; takes over what is open.

        Raises LinkError when the Keep has asked for too much that it does not read.
        """
        cost = len(frame) + (MAX_WAITING // 2 if blobs else 0)
        with self._lock:
            usable = not self._closed and self._waiting <= MAX_WAITING
            if usable:
                self._waiting += cost
                self._queue.put((frame, fd, blobs, cost))
        if not usable:
            _close(fd, blobs)
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
        usable = True
        while (item := self._queue.get()) is not None:
            usable = self._deliver(*item, usable=usable)
            del item  # what was sent need not stay in memory while the next is waited for

    def _deliver(self, frame: bytes, fd: int, blobs: Sequence[Data], cost: int, *, usable: bool) -> bool:
        """Send one item, unless the link is broken. Returns whether it is usable."""
        try:
            if usable:
                self._send(frame, fd)
                for blob in blobs:
                    for part in parts_of(blob):
                        self._send(encode(Type.BLOB, 0, part))
        except OSError:  # the Keep is gone; whoever reads the link hears of it too, and says more
            usable = False
        except HostError as error:
            self.failure = error
            usable = False
            with contextlib.suppress(OSError):
                self._link.shutdown(socket.SHUT_RDWR)
        finally:
            _close(fd, blobs)
            with self._lock:
                self._waiting -= cost
        return usable

    def _send(self, data: bytes, fd: int = -1) -> None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd >= 0 else []
        sent = self._link.sendmsg([data], ancillary)
        if sent < len(data):
            self._link.sendall(memoryview(data)[sent:])


def _close(fd: int, blobs: Sequence[Data]) -> None:
    """Close what was taken over."""
    if fd >= 0:
        os.close(fd)
    for blob in blobs:
        if isinstance(blob, FileBytes):
            blob.close()
