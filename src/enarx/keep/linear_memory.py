"""Linear memory under our own limit.

The engine's own limiter makes ``memory.grow`` return -1 and tells nobody, so a workload that hits it dies
later of something else. Here the engine asks us for memory: one reserved address range per memory, made
accessible as it grows, and a refusal is reported with the name of the limit.

Only ``engine`` uses this module; like it, this one holds raw addresses.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

from wasmtime import _ffi as ffi

_PROT_NONE: Final = 0
_PROT_READ_WRITE: Final = 3
_MAP_FLAGS: Final = 0x02 | 0x20 | 0x4000  # MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
_FAILED: Final = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_libc.mmap.restype = ctypes.c_void_p
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

_lib = ctypes.CDLL(ffi.dll._name)
_error_new = _lib.wasmtime_error_new
_error_new.argtypes = [ctypes.c_char_p]
_error_new.restype = ctypes.c_void_p

_FINALIZER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class MemoryCreator:
    """Gives the engine its linear memories, at most ``limit`` bytes each.

    ``on_limit`` is called, on the workload's thread, when more is asked for; it must not raise. Memories are
    never unmapped before the process ends: a view into one must not dangle. ``shortage`` tells what
    the machine lacked when it had less than that.
    """

    def __init__(self, limit: int, on_limit: Callable[[], None]) -> None:
        self._limit = limit
        self._on_limit = on_limit
        self.shortage = ""
        self._keep_alive: list[Any] = []

    def install(self, config: Any) -> None:
        """Make ``config`` (a ``wasmtime.Config``) use this creator, which must live as long as its engine."""
        new = ffi.wasmtime_new_memory_callback_t(self._new)
        done = _FINALIZER(0)
        creator = ffi.wasmtime_memory_creator_t(None, new, done)
        self._keep_alive += [new, done, creator]
        ffi.wasmtime_config_host_memory_creator_set(config.ptr(), ctypes.byref(creator))

    def _new(self, _env: Any, _type: Any, minimum: int, _maximum: int, reserved: int, guard: int, out: Any) -> int:
        if minimum > self._limit:
            self._on_limit()
            return _error("the module's initial memory is larger than the limit")
        span = max(reserved, minimum) + guard
        base = _libc.mmap(None, span, _PROT_NONE, _MAP_FLAGS, -1, 0)
        if base == _FAILED:
            return self._short("no address space for linear memory")
        size = 0

        def grow(_env: Any, wanted: int) -> int:
            nonlocal size
            if wanted > self._limit:
                self._on_limit()
                return _error("memory limit reached")
            if wanted > span - guard:
                return _error("linear memory cannot grow past its reservation")
            if wanted > size and _libc.mprotect(base + size, wanted - size, _PROT_READ_WRITE):
                return self._short("the system has no memory left")
            size = max(size, wanted)
            return 0

        def get(_env: Any, byte_size: Any, byte_capacity: Any) -> int:
            byte_size[0] = size
            byte_capacity[0] = span - guard
            return int(base)

        if error := grow(None, minimum):
            _libc.munmap(base, span)
            return error
        get_callback = ffi.wasmtime_memory_get_callback_t(get)
        grow_callback = ffi.wasmtime_memory_grow_callback_t(grow)
        self._keep_alive += [get_callback, grow_callback]
        out[0].env = None
        out[0].get_memory = get_callback
        out[0].grow_memory = grow_callback
        out[0].finalizer = _FINALIZER(0)
        return 0

    def _short(self, what: str) -> int:
        self.shortage = what
        return _error(what)


def _error(message: str) -> int:
    pointer: int = _error_new(message.encode())
    return pointer
