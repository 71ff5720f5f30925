"""The engine: which WebAssembly is accepted, and how the workload calls us. The one place with raw pointers.

``wasmtime``'s public way to define a host function costs 8-14 us a call; its unchecked C interface costs half
a microsecond, and a server makes two such calls per request. ``UncheckedBinder`` wraps that interface,
``CheckedBinder`` is the public one; both take the same functions and the test suite runs both. No other module
of the Keep imports wasmtime's private names (``linear_memory``, which this module owns, apart).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, Protocol, cast

import wasmtime
from wasmtime import _ffi as ffi

from enarx.errors import WorkloadError
from enarx.keep.linear_memory import MemoryCreator
from enarx.keep.wasi.abi import Errno, WasiError
from enarx.keep.wasi.memory import GuestMemory

FEATURES: Final[Mapping[str, bool]] = {
    # What a workload may use. Pinned, because the defaults of the engine change and this is an attested surface.
    "wasm_simd": True,
    "wasm_bulk_memory": True,
    "wasm_reference_types": True,
    "wasm_multi_value": True,
    # Not deterministic across CPUs, or without a use under WASI preview 1.
    "wasm_relaxed_simd": False,
    "wasm_threads": False,
    "shared_memory": False,
    "wasm_tail_call": False,
    "wasm_multi_memory": False,
    "wasm_memory64": False,
    "wasm_function_references": False,
    "wasm_gc": False,
    "gc_support": False,
    "wasm_exceptions": False,
    "wasm_component_model": False,
    "wasm_wide_arithmetic": False,
    "wasm_custom_page_sizes": False,
    "wasm_stack_switching": False,
    "wasm_branch_hinting": False,
    "wasm_compact_imports": False,
}
MEMORY_RESERVATION: Final = 4 << 30
"""Address space reserved for a linear memory, in bytes: all that 32-bit memory can grow to, so it never moves."""
MEMORY_GUARD: Final = 32 << 20
"""Inaccessible bytes after it, so that offsets need no explicit check."""
TABLE_ELEMENTS: Final = 10_000_000
"""Most elements of all tables (8 bytes each)."""
WASM_STACK: Final = 1 << 20
"""Stack of the workload, in bytes."""
THREAD_STACK: Final = 8 << 20
"""Stack of the thread that runs it, in bytes: the above, host calls, and room."""

_MASKS: Final = {"i": 0xFFFFFFFF, "I": 0xFFFFFFFFFFFFFFFF}
_NEEDED: Final = (
    "wasmtime_linker_define_func_unchecked",
    "wasmtime_caller_export_get",
    "wasmtime_memory_data",
    "wasmtime_memory_data_size",
    "wasmtime_trap_new",
    "wasmtime_config_host_memory_creator_set",
    "wasmtime_error_new",
    "wasmtime_config_wasm_branch_hinting_set",
    "wasmtime_config_wasm_compact_imports_set",
)


class HostCallError(Exception):
    """A host function ended the workload; the reason is what the binder's ``on_failure`` was given."""


@dataclass(frozen=True, slots=True)
class HostFunction:
    """A function that the workload may import. ``params`` holds ``i`` (i32) and ``I`` (i64), all passed unsigned.

    ``call`` returns an errno, or raises WasiError for one; anything else it raises ends the workload.
    ``returns`` is False for a function that has no result.
    """

    module: str
    name: str
    params: str
    call: Callable[..., int]
    returns: bool = True


class Binder(Protocol):
    """Makes host functions importable. ``on_failure`` gets every exception that is not a WasiError."""

    def bind(
        self,
        linker: wasmtime.Linker,
        functions: Iterable[HostFunction],
        memory: GuestMemory,
        on_failure: Callable[[BaseException], None],
    ) -> None: ...


def check_engine() -> None:
    """Raise WorkloadError unless the installed wasmtime has the private names that this module uses."""
    missing = [name for name in _NEEDED if not hasattr(ffi.dll, name)]
    if missing:
        raise WorkloadError(
            f"the installed wasmtime is not the one this Keep was written for: it lacks {', '.join(missing)}",
            code="engine-version",
            hint='install the pinned version: pip install "wasmtime==50.0.*"',
        )


def make_engine(memory_limit: int, on_memory_limit: Callable[[], None]) -> tuple[wasmtime.Engine, MemoryCreator]:
    """An engine with exactly ``FEATURES``. The creator must be kept as long as the engine."""
    check_engine()
    config = wasmtime.Config()
    for name, value in FEATURES.items():
        if hasattr(wasmtime.Config, name):
            setattr(config, name, value)
        else:  # wasmtime's Python interface lacks it
            getattr(ffi, f"wasmtime_config_{name}_set")(config.ptr(), value)
    config.memory_reservation = MEMORY_RESERVATION
    config.memory_guard_size = MEMORY_GUARD
    config.memory_may_move = False
    config.memory_init_cow = False  # images need memory that the engine itself maps
    config.max_wasm_stack = WASM_STACK
    creator = MemoryCreator(memory_limit, on_memory_limit)
    creator.install(config)
    return wasmtime.Engine(config), creator


def engine_identity() -> str:
    """What compiled code depends on, as part of a cache key. The engine itself refuses code of another version."""
    features = ",".join(f"{name}={int(value)}" for name, value in sorted(FEATURES.items()))
    return f"wasmtime-50;{features};{MEMORY_RESERVATION};{MEMORY_GUARD};{WASM_STACK}"


# A library handle of our own: argument types set on wasmtime's would change them under its feet.
_lib = ctypes.CDLL(ffi.dll._name)
_trap_new = _lib.wasmtime_trap_new
_trap_new.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
_trap_new.restype = ctypes.c_void_p
_caller_export_get = _lib.wasmtime_caller_export_get
_caller_export_get.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
_caller_export_get.restype = ctypes.c_bool
_caller_context = _lib.wasmtime_caller_context
_caller_context.argtypes = [ctypes.c_void_p]
_caller_context.restype = ctypes.c_void_p
_memory_data = _lib.wasmtime_memory_data
_memory_data.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
_memory_data.restype = ctypes.c_void_p
_memory_data_size = _lib.wasmtime_memory_data_size
_memory_data_size.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
_memory_data_size.restype = ctypes.c_size_t
_define = _lib.wasmtime_linker_define_func_unchecked
_define.argtypes = [
    ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t,
    ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
]  # fmt: skip
_define.restype = ctypes.c_void_p

_view_of = ctypes.pythonapi.PyMemoryView_FromMemory
_view_of.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int]
_view_of.restype = ctypes.py_object
_PYBUF_WRITE: Final = 0x200

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def _window(caller: int) -> Callable[[], memoryview]:
    """How to see the memory that ``caller`` exports. Raises WorkloadError when it exports none."""
    extern = ffi.wasmtime_extern_t()
    found = _caller_export_get(caller, b"memory", 6, ctypes.byref(extern))
    if not found or int(extern.kind) != ffi.WASMTIME_EXTERN_MEMORY.value:
        raise WorkloadError(
            "the workload calls the system but exports no memory named `memory`",
            code="workload-memory",
            hint="build it as a WASI command (wasm32-wasi); its memory must be exported",
        )
    memory = ctypes.addressof(extern.of.memory)
    context = _caller_context(caller)

    def window(_owner: object = extern) -> memoryview:  # _owner keeps the handle that `memory` points into
        size = _memory_data_size(context, memory)
        view: memoryview = _view_of(_memory_data(context, memory), size, _PYBUF_WRITE)
        return view

    return window


class UncheckedBinder:
    """Binds through the C interface that passes raw values: fast, and safe only because this class is careful.

    Arguments arrive in 16-byte slots of which an i32 fills the low four bytes and leaves the rest as it was.
    An exception must not leave the callback (ctypes would print and drop it), so each becomes a trap.
    """

    def __init__(self) -> None:
        self._keep_alive: list[Any] = []

    def bind(
        self,
        linker: wasmtime.Linker,
        functions: Iterable[HostFunction],
        memory: GuestMemory,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        for function in functions:
            callback = _CALLBACK(_unchecked(function, memory, on_failure))
            kind = _functype(function)  # a named reference: its pointer dies with it
            module, name = function.module.encode(), function.name.encode()
            error = _define(
                ctypes.cast(linker.ptr(), ctypes.c_void_p), module, len(module), name, len(name),
                ctypes.cast(kind.ptr(), ctypes.c_void_p), ctypes.cast(callback, ctypes.c_void_p), None, None,
            )  # fmt: skip
            if error:
                raise WorkloadError(f"the engine refused host function {function.name}", code="engine-bind")
            self._keep_alive.append(callback)


def _unchecked(
    function: HostFunction, memory: GuestMemory, on_failure: Callable[[BaseException], None]
) -> Callable[..., int]:
    call, returns = function.call, function.returns
    masks = [_MASKS[kind] for kind in function.params]
    slots_at = (ctypes.c_uint32 * (4 * max(1, len(masks)))).from_address
    low = itemgetter(*range(0, max(8, 4 * len(masks)), 4))
    where, slots = 0, cast("Any", None)

    def fail(error: BaseException) -> int:
        on_failure(error)
        trap: int = _trap_new(b"host call", 9)
        return trap

    # A workload mostly calls from one depth of its stack, so the arguments are mostly where they were the last time,
    # and what sees them is kept: to make it takes as long as to read them. It is used for this very address alone.

    def narrow(_env: int, caller: int, raw: int, _count: int) -> int:
        """Two parameters or more, and every one is an i32: the low word of every slot."""
        nonlocal where, slots
        try:
            if not memory.size:
                memory.attach(_window(caller))
            if raw != where:
                where, slots = raw, slots_at(raw)
            slots[0] = call(*low(slots))
        except WasiError as error:
            slots[0] = error.errno
        except BaseException as error:  # noqa: BLE001 - nothing may leave a C callback
            return fail(error)
        return 0

    def wide(_env: int, caller: int, raw: int, _count: int) -> int:
        nonlocal where, slots
        try:
            if not memory.size:
                memory.attach(_window(caller))
            if raw != where:
                where, slots = raw, slots_at(raw)
            result = call(*[
                (slots[4 * i] | slots[4 * i + 1] << 32) & mask for i, mask in enumerate(masks)
            ])  # fmt: skip
            if returns:
                slots[0] = result
        except WasiError as error:
            slots[0] = error.errno
        except BaseException as error:  # noqa: BLE001 - nothing may leave a C callback
            return fail(error)
        return 0

    return narrow if returns and len(masks) > 1 and "I" not in function.params else wide


class CheckedBinder:
    """Binds through wasmtime's public interface: slower, and the reference that the other one is tested against."""

    def bind(
        self,
        linker: wasmtime.Linker,
        functions: Iterable[HostFunction],
        memory: GuestMemory,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        for function in functions:
            wrapped = _checked(function, memory, on_failure)
            linker.define_func(function.module, function.name, _functype(function), wrapped, access_caller=True)


def _checked(
    function: HostFunction, memory: GuestMemory, on_failure: Callable[[BaseException], None]
) -> Callable[..., int | None]:
    masks = [_MASKS[kind] for kind in function.params]

    def wrapped(caller: wasmtime.Caller, *values: int) -> int | None:
        try:
            if not memory.size:
                pointer = caller._Caller__ptr  # type: ignore[attr-defined]
                memory.attach(_window(ctypes.cast(pointer, ctypes.c_void_p).value or 0))
            result = function.call(*[value & mask for value, mask in zip(values, masks, strict=True)])
        except WasiError as error:
            return int(error.errno)
        except BaseException as error:  # noqa: BLE001 - the engine would keep a reference to it
            on_failure(error)
            raise HostCallError from None
        return int(result) if function.returns else None

    return wrapped


def _functype(function: HostFunction) -> wasmtime.FuncType:
    kinds = {"i": wasmtime.ValType.i32(), "I": wasmtime.ValType.i64()}
    results = [wasmtime.ValType.i32()] if function.returns else []
    return wasmtime.FuncType([kinds[kind] for kind in function.params], results)


__all__ = ["Binder", "CheckedBinder", "Errno", "HostCallError", "HostFunction", "UncheckedBinder", "make_engine"]
