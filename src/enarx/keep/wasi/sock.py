"""``sock_*``."""

from __future__ import annotations

from enarx.keep.wasi.abi import RIFLAG_PEEK, RIFLAG_WAITALL, SDFLAG_RD, SDFLAG_WR, Errno, Rights, WasiError
from enarx.keep.wasi.context import Context
from enarx.keep.wasi.stream import Listener, Stream


class SockCalls:
    """See the module."""

    def __init__(self, context: Context) -> None:
        self._memory = context.memory
        self._table = context.table

    def _stream(self, fd: int, rights: int) -> Stream:
        descriptor = self._table.get(fd)
        if not isinstance(descriptor, Stream):
            raise WasiError(Errno.NOTCONN if isinstance(descriptor, Listener) else Errno.NOTSOCK)
        if rights & ~descriptor.rights:
            raise WasiError(Errno.NOTCAPABLE)
        return descriptor

    def sock_accept(self, fd: int, flags: int, out: int) -> int:
        listener = self._table.get(fd)
        if not isinstance(listener, Listener):
            raise WasiError(Errno.INVAL if isinstance(listener, Stream) else Errno.NOTSOCK)
        if Rights.SOCK_ACCEPT & ~listener.rights:
            raise WasiError(Errno.NOTCAPABLE)
        result = self._memory.slice(out, 4)
        stream = listener.accept(flags)
        stream.rights &= listener.inheriting
        result[:] = self._table.add(stream).to_bytes(4, "little")
        return 0

    def sock_recv(self, fd: int, iovs: int, count: int, flags: int, out: int, out_flags: int) -> int:
        stream = self._stream(fd, Rights.FD_READ)
        if flags & ~(RIFLAG_PEEK | RIFLAG_WAITALL):
            raise WasiError(Errno.INVAL)
        result = self._memory.slice(out, 4)
        self._memory.set_u16(out_flags, 0)
        views = self._memory.iovecs(iovs, count)
        received = stream.receive(views, peek=bool(flags & RIFLAG_PEEK), wait_all=bool(flags & RIFLAG_WAITALL))
        result[:] = received.to_bytes(4, "little")
        return 0

    def sock_send(self, fd: int, iovs: int, count: int, flags: int, out: int) -> int:
        stream = self._stream(fd, Rights.FD_WRITE)
        if flags:
            raise WasiError(Errno.INVAL)
        self._memory.check(out, 4)
        self._memory.set_u32(out, stream.write(self._memory.iovecs(iovs, count)))
        return 0

    def sock_shutdown(self, fd: int, how: int) -> int:
        stream = self._stream(fd, Rights.SOCK_SHUTDOWN)
        if not how or how & ~(SDFLAG_RD | SDFLAG_WR):
            raise WasiError(Errno.INVAL)
        stream.shutdown(how)
        return 0
