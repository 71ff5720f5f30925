"""Standard streams. The descriptor is the host's own, so its flags are never changed: it may be a shared terminal."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable

from enarx.keep.wasi.abi import Errno, Fdflags, Filetype, Rights, WasiError
from enarx.keep.wasi.descriptor import Descriptor, Readiness, Stat, from_host

_COMMON = Rights.FD_FDSTAT_SET_FLAGS | Rights.FD_FILESTAT_GET | Rights.POLL_FD_READWRITE


class Stdio(Descriptor):
    """stdin, stdout or stderr over the descriptor ``fileno``, which this object owns.

    A terminal is a character device without SEEK and TELL, which is how a program knows it. Anything else (pipe,
    file, socket) is a stream too: the workload cannot move within a file of the host's.
    """

    def __init__(self, fileno: int, *, readable: bool, kind: str = "") -> None:
        """``kind``: what the host says that it is (`wire.STDIO_KINDS`), for a descriptor that does not show it."""
        super().__init__(_COMMON | (Rights.FD_READ if readable else Rights.FD_WRITE))
        self._fileno = fileno
        self._readable = readable
        if kind == "terminal" or os.isatty(fileno):
            self.filetype = Filetype.CHARACTER_DEVICE
        elif kind == "file" or stat.S_ISREG(os.fstat(fileno).st_mode):
            self.filetype = Filetype.REGULAR_FILE

    def _ready(self, events: int, timeout: int | None) -> bool:
        poller = select.poll()
        poller.register(self._fileno, events)
        return bool(poller.poll(timeout))

    def _transfer(self, operation: Callable[[int, list[memoryview]], int], events: int, views: list[memoryview]) -> int:
        if not views:
            return 0
        blocking = not self.flags & Fdflags.NONBLOCK
        if not blocking and not self._ready(events, 0):
            raise WasiError(Errno.AGAIN)
        while True:
            try:
                return operation(self._fileno, views)
            except BlockingIOError:  # somebody else made the shared description non-blocking
                if not blocking:
                    raise WasiError(Errno.AGAIN) from None
                self._ready(events, None)
            except OSError as error:
                raise from_host(error) from None

    def read(self, views: list[memoryview]) -> int:
        return self._transfer(os.readv, select.POLLIN, views)

    def write(self, views: list[memoryview]) -> int:
        if self.flags & Fdflags.NONBLOCK and self.filetype != Filetype.REGULAR_FILE:
            views = _first(views, select.PIPE_BUF)  # more would block, as the host's descriptor does
        return self._transfer(os.writev, select.POLLOUT, views)

    def set_flags(self, flags: int) -> None:
        if flags & ~(Fdflags.NONBLOCK | Fdflags.APPEND):
            raise WasiError(Errno.INVAL)
        self.flags = flags

    def stat(self) -> Stat:
        return Stat(ino=0, filetype=self.filetype)

    def poll_read(self) -> Readiness:
        return Readiness(False, 1, fileno=self._fileno, events=select.POLLIN)

    def poll_write(self) -> Readiness:
        return Readiness(False, 1, fileno=self._fileno, events=select.POLLOUT)

    def close(self) -> None:
        os.close(self._fileno)


def _first(views: list[memoryview], count: int) -> list[memoryview]:
    """The first ``count`` bytes of the buffers."""
    taken = []
    for view in views:
        if count <= 0:
            break
        taken.append(view[:count])
        count -= len(view)
    return taken
