"""``fd_*``: everything that takes one descriptor."""

from __future__ import annotations

import time
from typing import Final

from enarx.keep.wasi.abi import (
    FDSTAT,
    FILESTAT,
    IOVEC,
    PRESTAT,
    U32,
    Errno,
    Fstflags,
    Rights,
    WasiError,
    Whence,
)
from enarx.keep.wasi.context import Context
from enarx.keep.wasi.descriptor import Stat
from enarx.keep.wasi.openfile import OpenDirectory

_NOT_A_PREOPEN = 1
"""``$preopentype`` that no guest knows, so that it looks on instead of stopping. See ``fd_prestat_get``."""
_MAX_ADVICE = 5
_IOVEC_BYTES: Final = IOVEC.size
_READ: Final = Rights.FD_READ
_WRITE: Final = Rights.FD_WRITE
_unpack_iovec: Final = IOVEC.unpack_from
_pack_u32: Final = U32.pack_into


def pack_stat(stat: Stat) -> bytes:
    """``$filestat``."""
    return FILESTAT.pack(
        1, stat.ino, stat.filetype, stat.nlink, stat.size, stat.atim, stat.mtim, stat.ctim
    )  # fmt: skip


def chosen_times(atim: int, mtim: int, flags: int) -> tuple[int | None, int | None]:
    """The timestamps (ns) that ``$fstflags`` asks for; None where one stays. Raises WasiError(INVAL)."""
    if flags > 15 or flags & 3 == 3 or flags & 12 == 12:
        raise WasiError(Errno.INVAL)
    now = time.time_ns()
    return (
        now if flags & Fstflags.ATIM_NOW else atim if flags & Fstflags.ATIM else None,
        now if flags & Fstflags.MTIM_NOW else mtim if flags & Fstflags.MTIM else None,
    )


class FdCalls:
    """See the module."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._memory = context.memory
        self._table = context.table

    def fd_read(self, fd: int, iovs: int, count: int, out: int) -> int:
        descriptor = self._table.get(fd, _READ)
        memory = self._memory
        size, view = memory.size, memory.view
        if count == 1 and iovs + _IOVEC_BYTES <= size and out + 4 <= size:  # nearly every call, and without a detour
            start, length = _unpack_iovec(view, iovs)
            end = start + length
            if start < end <= size:
                _pack_u32(view, out, descriptor.read_one(view[start:end]))
                return 0
        memory.check(out, 4)
        memory.set_u32(out, descriptor.read(memory.iovecs(iovs, count)))
        return 0

    def fd_write(self, fd: int, iovs: int, count: int, out: int) -> int:
        descriptor = self._table.get(fd, _WRITE)
        memory = self._memory
        size, view = memory.size, memory.view
        if count == 1 and iovs + _IOVEC_BYTES <= size and out + 4 <= size:  # nearly every call, and without a detour
            start, length = _unpack_iovec(view, iovs)
            end = start + length
            if start < end <= size:
                _pack_u32(view, out, descriptor.write_one(view[start:end]))
                return 0
        memory.check(out, 4)
        memory.set_u32(out, descriptor.write(memory.iovecs(iovs, count)))
        return 0

    def fd_pread(self, fd: int, iovs: int, count: int, offset: int, out: int) -> int:
        descriptor = self._table.get(fd, Rights.FD_READ | Rights.FD_SEEK)
        self._memory.check(out, 4)
        self._memory.set_u32(out, descriptor.pread(self._memory.iovecs(iovs, count), offset))
        return 0

    def fd_pwrite(self, fd: int, iovs: int, count: int, offset: int, out: int) -> int:
        descriptor = self._table.get(fd, Rights.FD_WRITE | Rights.FD_SEEK)
        self._memory.check(out, 4)
        self._memory.set_u32(out, descriptor.pwrite(self._memory.iovecs(iovs, count), offset))
        return 0

    def fd_seek(self, fd: int, offset: int, whence: int, out: int) -> int:
        if whence > Whence.END:
            raise WasiError(Errno.INVAL)
        signed = offset - (1 << 64) if offset >> 63 else offset
        moves = signed != 0 or whence != Whence.CUR
        descriptor = self._table.get(fd)
        result = self._memory.slice(out, 8)
        if not descriptor.rights & Rights.FD_SEEK and (moves or not descriptor.rights & Rights.FD_TELL):
            descriptor.seek(0, Whence.CUR)  # its own reason, where it can never seek
            raise WasiError(Errno.NOTCAPABLE)
        result[:] = descriptor.seek(signed, whence).to_bytes(8, "little")
        return 0

    def fd_tell(self, fd: int, out: int) -> int:
        return self.fd_seek(fd, 0, Whence.CUR, out)

    def fd_close(self, fd: int) -> int:
        self._table.close(fd)
        return 0

    def fd_renumber(self, source: int, target: int) -> int:
        self._table.renumber(source, target)
        return 0

    def fd_sync(self, fd: int) -> int:
        self._table.get(fd, Rights.FD_SYNC).sync()
        return 0

    def fd_datasync(self, fd: int) -> int:
        self._table.get(fd, Rights.FD_DATASYNC).sync()
        return 0

    def fd_advise(self, fd: int, _offset: int, _length: int, advice: int) -> int:
        descriptor = self._table.get(fd, Rights.FD_ADVISE)
        if advice > _MAX_ADVICE:
            raise WasiError(Errno.INVAL)
        descriptor.advise()
        return 0

    def fd_allocate(self, fd: int, offset: int, length: int) -> int:
        self._table.get(fd, Rights.FD_ALLOCATE).allocate(offset, length)
        return 0

    def fd_fdstat_get(self, fd: int, out: int) -> int:
        descriptor = self._table.get(fd)
        self._memory.write(
            out, FDSTAT.pack(descriptor.filetype, descriptor.flags, descriptor.rights, descriptor.inheriting)
        )
        return 0

    def fd_fdstat_set_flags(self, fd: int, flags: int) -> int:
        self._table.get(fd, Rights.FD_FDSTAT_SET_FLAGS).set_flags(flags)
        return 0

    def fd_fdstat_set_rights(self, fd: int, base: int, inheriting: int) -> int:
        """Rights can be given up, never gained."""
        descriptor = self._table.get(fd)
        if base & ~descriptor.rights or inheriting & ~descriptor.inheriting:
            raise WasiError(Errno.NOTCAPABLE)
        descriptor.rights, descriptor.inheriting = base, inheriting
        self._table.generation += 1
        return 0

    def fd_filestat_get(self, fd: int, out: int) -> int:
        self._memory.write(out, pack_stat(self._table.get(fd, Rights.FD_FILESTAT_GET).stat()))
        return 0

    def fd_filestat_set_size(self, fd: int, size: int) -> int:
        self._table.get(fd, Rights.FD_FILESTAT_SET_SIZE).set_size(size)
        return 0

    def fd_filestat_set_times(self, fd: int, atim: int, mtim: int, flags: int) -> int:
        descriptor = self._table.get(fd, Rights.FD_FILESTAT_SET_TIMES)
        descriptor.set_times(*chosen_times(atim, mtim, flags))
        return 0

    def fd_readdir(self, fd: int, buffer: int, length: int, cookie: int, out: int) -> int:
        descriptor = self._table.get(fd, Rights.FD_READDIR)
        if not isinstance(descriptor, OpenDirectory):
            raise WasiError(Errno.NOTDIR)
        self._memory.slice(buffer, length)
        entries = descriptor.readdir(cookie, length)
        self._memory.write(buffer, entries)
        self._memory.set_u32(out, len(entries))
        return 0

    def fd_prestat_get(self, fd: int, out: int) -> int:
        """Preopened directories, in the way that guests look for them: from descriptor 3 up to the first BADF.

        Enarx numbers descriptors in the order of the config, so directories come after sockets, and a BADF at a
        socket would hide them. A descriptor that precedes a directory is therefore reported as something else,
        which wasi-libc and Go pass over.
        """
        descriptor = self._table.get(fd)
        if descriptor.preopen is not None:
            self._memory.write(out, PRESTAT.pack(0, len(descriptor.preopen)))
        elif self._table.precedes_preopen(fd):
            self._memory.write(out, PRESTAT.pack(_NOT_A_PREOPEN, 0))
        else:
            raise WasiError(Errno.BADF)
        return 0

    def fd_prestat_dir_name(self, fd: int, buffer: int, length: int) -> int:
        path = self._table.get(fd).preopen
        if path is None:
            raise WasiError(Errno.BADF)
        if length < len(path):
            raise WasiError(Errno.NAMETOOLONG)
        self._memory.write(buffer, path)
        return 0
