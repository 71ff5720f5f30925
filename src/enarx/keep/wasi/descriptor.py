"""What a file descriptor is, and the table of them."""

from __future__ import annotations

import contextlib
import errno as host_errno
import heapq
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from enarx.errors import LimitError
from enarx.keep.wasi.abi import Errno, Fdflags, Filetype, Rights, WasiError

_FROM_HOST = {
    host_errno.EAGAIN: Errno.AGAIN,
    host_errno.EPIPE: Errno.PIPE,
    host_errno.ECONNRESET: Errno.CONNRESET,
    host_errno.ECONNABORTED: Errno.CONNABORTED,
    host_errno.ENOTCONN: Errno.NOTCONN,
    host_errno.ETIMEDOUT: Errno.TIMEDOUT,
    host_errno.EBADF: Errno.BADF,
    host_errno.ENOMEM: Errno.NOMEM,
    host_errno.ENOSPC: Errno.NOSPC,
    host_errno.ESPIPE: Errno.SPIPE,
}


@contextlib.contextmanager
def host_errors() -> Iterator[None]:
    """Turn an OSError of the block into the WasiError that the workload should see (IO when nothing fits)."""
    try:
        yield
    except OSError as error:
        raise from_host(error) from None


def from_host(error: OSError) -> WasiError:
    """The WasiError for an OSError."""
    return WasiError(_FROM_HOST.get(error.errno or 0, Errno.IO))


@dataclass(slots=True)
class Stat:
    """``$filestat`` without its device, which is always 1. Times are nanoseconds since 1970."""

    ino: int
    filetype: Filetype
    nlink: int = 1
    size: int = 0
    atim: int = 0
    mtim: int = 0
    ctim: int = 0


@dataclass(slots=True, frozen=True)
class Readiness:
    """How one end of a descriptor stands: ready now, or ask the kernel with ``poll(fileno, events)``.

    ``count`` is how many bytes are known to be there; UNCOUNTED means that ``waiting`` tells, once there are some.
    """

    ready: bool
    count: int = 0
    hangup: bool = False
    fileno: int = -1
    events: int = 0


UNCOUNTED: Final = -1
READY: Final = Readiness(True)


class Descriptor:
    """One open descriptor. What a kind of descriptor cannot do raises the error that WASI names for it."""

    filetype = Filetype.UNKNOWN
    preopen: bytes | None = None
    """Guest path, for a directory that the workload finds open when it starts."""
    settled = False
    """Whether ``poll_read`` and ``poll_write`` would say what they said last, not ready: the kernel alone knows."""

    def __init__(self, rights: int, inheriting: int = 0, flags: int = 0) -> None:
        self.rights = rights
        self.inheriting = inheriting
        self.flags = flags

    def read(self, views: list[memoryview]) -> int:
        """Fill the buffers in order; the number of bytes read, 0 at the end."""
        raise WasiError(Errno.BADF)

    def write(self, views: list[memoryview]) -> int:
        """Write the buffers in order; the number of bytes written."""
        raise WasiError(Errno.BADF)

    def read_one(self, view: memoryview) -> int:
        """``read`` into one buffer, which is not empty."""
        return self.read([view])

    def write_one(self, view: memoryview) -> int:
        """``write`` of one buffer, which is not empty."""
        return self.write([view])

    def pread(self, views: list[memoryview], offset: int) -> int:
        """Like ``read``, at ``offset``, without moving the position."""
        raise WasiError(Errno.SPIPE)

    def pwrite(self, views: list[memoryview], offset: int) -> int:
        """Like ``write``, at ``offset``, without moving the position."""
        raise WasiError(Errno.SPIPE)

    def seek(self, offset: int, whence: int) -> int:
        """Move the position; the new one."""
        raise WasiError(Errno.SPIPE)

    def advise(self) -> None:
        """Take advice about future access (there is none to take)."""
        raise WasiError(Errno.SPIPE)

    def allocate(self, offset: int, length: int) -> None:
        """Make sure that space for the range exists."""
        raise WasiError(Errno.BADF)

    def set_size(self, size: int) -> None:
        """Truncate or extend to ``size`` bytes."""
        raise WasiError(Errno.INVAL)

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        """Set timestamps (ns); None leaves one as it is."""
        raise WasiError(Errno.BADF)

    def sync(self) -> None:
        """Flush; everything is in memory, so there is nothing to do."""

    def stat(self) -> Stat:
        """Attributes."""
        return Stat(ino=0, filetype=self.filetype)

    def set_flags(self, flags: int) -> None:
        """Change the flags of ``fd_fdstat_set_flags``; only NONBLOCK unless a kind says otherwise."""
        if flags & ~Fdflags.NONBLOCK:
            raise WasiError(Errno.INVAL)
        self.flags = flags

    def poll_read(self) -> Readiness:
        """Whether ``read`` would not block."""
        return READY

    def poll_write(self) -> Readiness:
        """Whether ``write`` would not block."""
        return READY

    def waiting(self) -> int:
        """Bytes that have come in and are not read yet; asked when the kernel says that there are some, or an end."""
        return 1

    def wake(self) -> None:
        """From another thread: make a read that blocks return."""

    def close(self) -> None:
        """Release what the descriptor holds."""


class Null(Descriptor):
    """``kind = "null"``: reads nothing, swallows everything, as in Enarx."""

    def __init__(self) -> None:
        rights = Rights.FD_READ | Rights.FD_WRITE | Rights.FD_FILESTAT_GET | Rights.POLL_FD_READWRITE
        super().__init__(rights, flags=Fdflags.APPEND | Fdflags.NONBLOCK)

    def read(self, views: list[memoryview]) -> int:
        return 0

    def write(self, views: list[memoryview]) -> int:
        return sum(map(len, views))


class DescriptorTable:
    """Descriptors by number, at most ``limit`` of them. Going past the limit raises LimitError.

    ``generation`` changes whenever a number may have come to mean something else, or to permit less.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.generation = 0
        self._open: dict[int, Descriptor] = {}
        self._free: list[int] = []  # a heap of the numbers below len(_open) + len(_free) that are not open

    def get(self, fd: int, rights: int = 0) -> Descriptor:
        """The descriptor. Raises WasiError: BADF when there is none, NOTCAPABLE when it lacks a right."""
        descriptor = self._open.get(fd)
        if descriptor is None:
            raise WasiError(Errno.BADF)
        if rights & ~descriptor.rights:
            raise WasiError(Errno.NOTCAPABLE)
        return descriptor

    def add(self, descriptor: Descriptor) -> int:
        """Give the descriptor the lowest free number."""
        if len(self._open) >= self._limit:
            descriptor.close()
            raise LimitError(
                f"the workload opened more than {self._limit} descriptors",
                code="limit-descriptors",
                hint="raise `descriptors` under [limits] in Enarx.toml, or close what is no longer used",
            )
        fd = heapq.heappop(self._free) if self._free else len(self._open)
        self._open[fd] = descriptor
        self.generation += 1
        return fd

    def close(self, fd: int) -> None:
        """Close and forget the descriptor."""
        descriptor = self.get(fd)
        self._forget(fd)
        descriptor.close()

    def _forget(self, fd: int) -> None:
        self.generation += 1
        del self._open[fd]
        heapq.heappush(self._free, fd)

    def renumber(self, source: int, target: int) -> None:
        """Move ``source`` onto ``target``, which must be open and is closed."""
        moved, replaced = self.get(source), self.get(target)
        if source != target:
            self._open[target] = moved
            self._forget(source)
            replaced.close()

    def precedes_preopen(self, fd: int) -> bool:
        """Whether a directory that was open at the start comes after ``fd``."""
        return any(number > fd and descriptor.preopen is not None for number, descriptor in self._open.items())

    def close_all(self, seconds: float) -> None:
        """Close everything, politely, when the workload has ended; what is left after ``seconds`` is let go."""
        deadline = time.monotonic() + seconds
        while self._open and time.monotonic() < deadline:
            _, descriptor = self._open.popitem()
            with contextlib.suppress(OSError, WasiError):
                descriptor.close()

    def __iter__(self) -> Iterator[Descriptor]:
        return iter(list(self._open.values()))
