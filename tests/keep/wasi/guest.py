"""A WebAssembly guest that a test drives by hand: every WASI function, called from real code in the real engine."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import wasmtime

from enarx.keep.engine import Binder, CheckedBinder, UncheckedBinder, make_engine
from enarx.keep.linear_memory import MemoryCreator
from enarx.keep.wasi import abi
from enarx.keep.wasi.abi import MODULE, SIGNATURES, Errno, Eventtype, Rights, WasiError
from enarx.keep.wasi.context import Context
from enarx.keep.wasi.functions import functions

PAGE: Final = 65536
PAGES: Final = 32
MEMORY_LIMIT: Final = 64 * PAGE
ALL_FILE: Final = Rights.FILE
ALL_DIRECTORY: Final = Rights.DIRECTORY


def module_text() -> str:
    """A module that imports all WASI functions and exports each again, with its memory and a way to grow it."""
    imports, exports = [], []
    for name, params in SIGNATURES.items():
        kinds = " ".join("i32" if kind == "i" else "i64" for kind in params)
        result = "" if name == "proc_exit" else "(result i32)"
        arguments = " ".join(f"(local.get {index})" for index in range(len(params)))
        imports.append(f'(import "{MODULE}" "{name}" (func ${name} (param {kinds}) {result}))')
        exports.append(f'(func (export "{name}") (param {kinds}) {result} (call ${name} {arguments}))')
    return f"""(module {" ".join(imports)}
        (memory (export "memory") {PAGES})
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        {" ".join(exports)})"""


@dataclass(frozen=True, slots=True)
class _Shared:
    """One engine and the compiled module: compiling it for every test would take most of the time."""

    engine: wasmtime.Engine
    creator: MemoryCreator
    module: wasmtime.Module


@cache
def _shared() -> _Shared:
    engine, creator = make_engine(MEMORY_LIMIT, lambda: None)
    return _Shared(engine, creator, wasmtime.Module(engine, module_text()))


class Fdstat(NamedTuple):
    filetype: int
    flags: int
    rights: int
    inheriting: int


class Filestat(NamedTuple):
    dev: int
    ino: int
    filetype: int
    nlink: int
    size: int
    atim: int
    mtim: int
    ctim: int


class Event(NamedTuple):
    userdata: int
    errno: int
    kind: int
    nbytes: int
    flags: int


class Entry(NamedTuple):
    cookie: int
    ino: int
    kind: int
    name: str


def on_clock(timeout: int, *, clock: int = 1, absolute: bool = False, userdata: int = 0xC10C) -> bytes:
    """A ``$subscription`` to a clock; ``timeout`` is in ns."""
    return abi.SUBSCRIPTION.pack(userdata, Eventtype.CLOCK, clock, timeout, int(absolute))


def on_read(fd: int, userdata: int = 0) -> bytes:
    """A ``$subscription`` to data on ``fd``."""
    return abi.SUBSCRIPTION.pack(userdata, Eventtype.FD_READ, fd, 0, 0)


def on_write(fd: int, userdata: int = 0) -> bytes:
    """A ``$subscription`` to room on ``fd``."""
    return abi.SUBSCRIPTION.pack(userdata, Eventtype.FD_WRITE, fd, 0, 0)


def fails(errno: Errno) -> pytest.RaisesExc[WasiError]:
    """A context whose block must end with this error number."""
    return pytest.raises(WasiError, check=lambda error: error.errno is errno)


class Caller:
    """``call`` is the bare call; the other methods put arguments into memory and take results out.

    They raise WasiError for an error number, and whatever else ended the call (WorkloadExited, LimitError).
    """

    def __init__(self, store: wasmtime.Store, linker: wasmtime.Linker) -> None:
        self.failure: BaseException | None = None
        self.store = store
        self._linker = linker
        self._exports = linker.instantiate(store, _shared().module).exports(store)
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self.memory = memory
        self._next = 1024

    def call(self, name: str, *arguments: int) -> int:
        """Call a WASI function with raw values; its errno."""
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        signed = [
            value - (1 << bits) if value >> (bits - 1) else value
            for value, bits in zip(arguments, [32 if kind == "i" else 64 for kind in SIGNATURES[name]], strict=True)
        ]
        try:
            errno = function(self.store, *signed)
        except BaseException:
            failure, self.failure = self.failure, None
            if failure is not None:
                raise failure from None
            raise
        return int(errno)

    def do(self, name: str, *arguments: int) -> None:
        """Call a WASI function. Raises WasiError unless it succeeds."""
        if errno := self.call(name, *arguments):
            raise WasiError(Errno(errno))

    def grow(self, pages: int) -> int:
        """``memory.grow``."""
        function = self._exports["grow"]
        assert isinstance(function, wasmtime.Func)
        return int(function(self.store, pages))

    # Memory. Room is handed out round and round: nothing that a test puts there has to last.

    @property
    def size(self) -> int:
        return self.memory.data_len(self.store)

    def room(self, size: int) -> int:
        """A pointer to ``size`` bytes, which hold 0xAA so that what is not written shows."""
        start = self._next if self._next + size <= PAGES * PAGE else 1024
        assert start + size <= PAGES * PAGE
        self._next = (start + size + 7) & ~7
        self.poke(start, b"\xaa" * size)
        return start

    def poke(self, pointer: int, data: bytes) -> None:
        self.memory.write(self.store, data, pointer)

    def peek(self, pointer: int, size: int) -> bytes:
        return bytes(self.memory.read(self.store, pointer, pointer + size))

    def put(self, data: bytes | str) -> tuple[int, int]:
        """Pointer and length of a string."""
        raw = data.encode() if isinstance(data, str) else data
        pointer = self.room(len(raw))
        self.poke(pointer, raw)
        return pointer, len(raw)

    def u32(self, pointer: int) -> int:
        return int.from_bytes(self.peek(pointer, 4), "little")

    def u64(self, pointer: int) -> int:
        return int.from_bytes(self.peek(pointer, 8), "little")

    def iovecs(self, buffers: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """Pointer and count of a list of (pointer, length)."""
        return self.put(b"".join(abi.IOVEC.pack(*buffer) for buffer in buffers))[0], len(buffers)

    def _in(self, name: str, fd: int, sizes: Sequence[int], *between: int, more: int = 0) -> list[bytes]:
        buffers = [(self.room(size), size) for size in sizes]
        out = self.room(8)
        self.do(name, fd, *self.iovecs(buffers), *between, out, *([out + 4] if more else []))
        data = b"".join(self.peek(*buffer) for buffer in buffers)
        return [data[: self.u32(out)], data[self.u32(out) :]]

    def _out(self, name: str, fd: int, chunks: Sequence[bytes], *between: int) -> int:
        out = self.room(4)
        self.do(name, fd, *self.iovecs([self.put(chunk) for chunk in chunks]), *between, out)
        return self.u32(out)

    # Descriptors

    def read(self, fd: int, *sizes: int) -> bytes:
        return self._in("fd_read", fd, sizes)[0]

    def pread(self, fd: int, offset: int, *sizes: int) -> bytes:
        return self._in("fd_pread", fd, sizes, offset)[0]

    def write(self, fd: int, *chunks: bytes) -> int:
        return self._out("fd_write", fd, chunks)

    def pwrite(self, fd: int, offset: int, *chunks: bytes) -> int:
        return self._out("fd_pwrite", fd, chunks, offset)

    def seek(self, fd: int, offset: int, whence: int = 0) -> int:
        out = self.room(8)
        self.do("fd_seek", fd, offset & (1 << 64) - 1, whence, out)
        return self.u64(out)

    def tell(self, fd: int) -> int:
        out = self.room(8)
        self.do("fd_tell", fd, out)
        return self.u64(out)

    def close(self, fd: int) -> None:
        self.do("fd_close", fd)

    def fdstat(self, fd: int) -> Fdstat:
        out = self.room(abi.FDSTAT.size)
        self.do("fd_fdstat_get", fd, out)
        return Fdstat(*abi.FDSTAT.unpack(self.peek(out, abi.FDSTAT.size)))

    def stat(self, fd: int) -> Filestat:
        out = self.room(abi.FILESTAT.size)
        self.do("fd_filestat_get", fd, out)
        return Filestat(*abi.FILESTAT.unpack(self.peek(out, abi.FILESTAT.size)))

    def readdir(self, fd: int, cookie: int, room: int) -> bytes:
        buffer, out = self.room(room), self.room(4)
        self.do("fd_readdir", fd, buffer, room, cookie, out)
        return self.peek(buffer, self.u32(out))

    def entries(self, fd: int, room: int = 4096) -> list[Entry]:
        """A whole directory as wasi-libc reads it: from the last complete entry on, until less than ``room`` comes."""
        found: list[Entry] = []
        cookie = 0
        while True:
            raw = self.readdir(fd, cookie, room)
            offset = 0
            while len(raw) - offset >= abi.DIRENT.size:
                cookie_next, ino, length, kind = abi.DIRENT.unpack_from(raw, offset)
                name = raw[offset + abi.DIRENT.size : offset + abi.DIRENT.size + length]
                if len(name) < length:
                    break
                found.append(Entry(cookie_next, ino, kind, name.decode()))
                cookie = cookie_next
                offset += abi.DIRENT.size + length
            if len(raw) < room:
                return found

    # Paths

    def open(
        self, path: str | bytes, *, at: int = 3, oflags: int = 0, rights: int = ALL_FILE, inheriting: int = 0,
        flags: int = 0, follow: bool = True,
    ) -> int:  # fmt: skip
        out = self.room(4)
        self.do("path_open", at, int(follow), *self.put(path), oflags, rights, inheriting, flags, out)
        return self.u32(out)

    def open_directory(self, path: str, at: int = 3) -> int:
        rights = ALL_DIRECTORY
        return self.open(path, at=at, oflags=abi.Oflags.DIRECTORY, rights=rights, inheriting=rights | ALL_FILE)

    def create(self, path: str, data: bytes = b"", at: int = 3) -> None:
        """A file with this content."""
        fd = self.open(path, at=at, oflags=abi.Oflags.CREAT | abi.Oflags.TRUNC)
        assert self.write(fd, data) == len(data)
        self.close(fd)

    def content(self, path: str, at: int = 3) -> bytes:
        fd = self.open(path, at=at)
        data = bytearray()
        while part := self.read(fd, 65536):
            data += part
        self.close(fd)
        return bytes(data)

    def mkdir(self, path: str, at: int = 3) -> None:
        self.do("path_create_directory", at, *self.put(path))

    def rmdir(self, path: str, at: int = 3) -> None:
        self.do("path_remove_directory", at, *self.put(path))

    def unlink(self, path: str, at: int = 3) -> None:
        self.do("path_unlink_file", at, *self.put(path))

    def rename(self, old: str, new: str, at: int = 3, to: int = 3) -> None:
        self.do("path_rename", at, *self.put(old), to, *self.put(new))

    def link(self, old: str, new: str, *, flags: int = 0, at: int = 3, to: int = 3) -> None:
        self.do("path_link", at, flags, *self.put(old), to, *self.put(new))

    def symlink(self, target: str, path: str, at: int = 3) -> None:
        self.do("path_symlink", *self.put(target), at, *self.put(path))

    def readlink(self, path: str, room: int = 256, at: int = 3) -> bytes:
        buffer, out = self.room(room), self.room(4)
        self.do("path_readlink", at, *self.put(path), buffer, room, out)
        return self.peek(buffer, self.u32(out))

    def path_stat(self, path: str, *, follow: bool = True, at: int = 3) -> Filestat:
        out = self.room(abi.FILESTAT.size)
        self.do("path_filestat_get", at, int(follow), *self.put(path), out)
        return Filestat(*abi.FILESTAT.unpack(self.peek(out, abi.FILESTAT.size)))

    # Sockets and waiting

    def accept(self, fd: int, flags: int = 0) -> int:
        out = self.room(4)
        self.do("sock_accept", fd, flags, out)
        return self.u32(out)

    def recv(self, fd: int, *sizes: int, flags: int = 0) -> bytes:
        return self._in("sock_recv", fd, sizes, flags, more=1)[0]

    def send(self, fd: int, *chunks: bytes) -> int:
        return self._out("sock_send", fd, chunks, 0)

    def shutdown(self, fd: int, how: int) -> None:
        self.do("sock_shutdown", fd, how)

    def poll(self, *subscriptions: bytes) -> list[Event]:
        """``poll_oneoff``."""
        into, out = self.room(len(subscriptions) * abi.EVENT.size), self.room(4)
        self.do("poll_oneoff", self.put(b"".join(subscriptions))[0], into, len(subscriptions), out)
        raw = self.peek(into, self.u32(out) * abi.EVENT.size)
        return [Event(*fields) for fields in abi.EVENT.iter_unpack(raw)]

    def strings(self, kind: str) -> list[bytes]:
        """``args`` or ``environ``."""
        out = self.room(8)
        self.do(f"{kind}_sizes_get", out, out + 4)
        count, size = struct.unpack("<II", self.peek(out, 8))
        pointers, buffer = self.room(4 * count), self.room(size)
        self.do(f"{kind}_get", pointers, buffer)
        starts = struct.unpack(f"<{count}I", self.peek(pointers, 4 * count))
        raw = self.peek(buffer, size)
        return [raw[start - buffer :].split(b"\0", 1)[0] for start in starts]


class Guest(Caller):
    """A guest of the Keep."""

    def __init__(self, context: Context, binder: Binder) -> None:
        self.context = context
        self._binder = binder
        linker = wasmtime.Linker(_shared().engine)
        binder.bind(linker, functions(context), context.memory, self._fail)
        super().__init__(wasmtime.Store(_shared().engine), linker)

    def _fail(self, error: BaseException) -> None:
        self.failure = error


class ReferenceGuest(Caller):
    """The same guest on the engine's own WASI over a directory of the host, to compare with."""

    def __init__(self, directory: Path) -> None:
        linker = wasmtime.Linker(_shared().engine)
        linker.define_wasi()
        store = wasmtime.Store(_shared().engine)
        config = wasmtime.WasiConfig()
        config.preopen_dir(str(directory), "/")
        store.set_wasi(config)
        super().__init__(store, linker)


def binder_named(name: str) -> Binder:
    """``checked`` or ``unchecked``."""
    return CheckedBinder() if name == "checked" else UncheckedBinder()
