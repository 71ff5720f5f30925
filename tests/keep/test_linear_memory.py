from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import pytest
import wasmtime
from wasmtime import _ffi as ffi

from enarx.keep.engine import make_engine
from enarx.keep.linear_memory import MemoryCreator

PAGE = 65536
TEXT = """(module (memory (export "memory") 1)
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "far") (param i32) (result i32) (i32.load offset=0xfffffff0 (local.get 0))))"""


class Instance:
    def __init__(self, limit: int, text: str = TEXT) -> None:
        self.refused = 0
        self._engine, self._creator = make_engine(limit, self._refuse)
        self._store = wasmtime.Store(self._engine)
        instance = wasmtime.Instance(self._store, wasmtime.Module(self._engine, text), [])
        self._exports = instance.exports(self._store)

    def _refuse(self) -> None:
        self.refused += 1

    def call(self, name: str, *values: int) -> int:
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        return int(function(self._store, *values))

    @property
    def address(self) -> int:
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        return ctypes.addressof(memory.data_ptr(self._store).contents)


def test_memory_grows_to_its_limit_and_not_further() -> None:
    instance = Instance(10 * PAGE)
    assert instance.call("grow", 8) == 1
    assert instance.call("grow", 1) == 9
    assert instance.refused == 0
    assert instance.call("grow", 1) == -1
    assert instance.refused == 1
    assert instance.call("grow", 0) == 10
    assert instance.call("grow", -1) == -1  # more than 32 bits can address: the engine's own answer


def test_memory_is_zero_when_it_is_new() -> None:
    instance = Instance(10 * PAGE)
    instance.call("grow", 9)
    assert [instance.call("load", offset) for offset in range(0, 10 * PAGE, PAGE // 2)] == [0] * 20


def test_memory_never_moves() -> None:
    instance = Instance(4 << 30)
    address = instance.address
    for pages in (1, 100, 10_000):
        instance.call("grow", pages)
        assert instance.address == address


@pytest.mark.parametrize("pointer", [PAGE - 3, PAGE, 2 * PAGE, -1, -(1 << 31)])
def test_an_access_past_the_end_traps(pointer: int) -> None:
    instance = Instance(10 * PAGE)
    for name in ("load", "far"):
        with pytest.raises(wasmtime.Trap, match="out of bounds"):
            instance.call(name, pointer)


def test_memory_that_starts_above_the_limit_is_refused_with_a_reason() -> None:
    refusals: list[int] = []
    engine, creator = make_engine(PAGE, lambda: refusals.append(1))
    module = wasmtime.Module(engine, "(module (memory 2))")
    with pytest.raises(wasmtime.WasmtimeError, match="larger than the limit"):
        wasmtime.Instance(wasmtime.Store(engine), module, [])
    assert refusals == [1]
    assert creator


def message_of(error: int) -> str:
    """The text of an error that a callback returned, which is freed."""
    pointer = ctypes.cast(error, ctypes.POINTER(ffi.wasmtime_error_t))
    return str(wasmtime.WasmtimeError._from_ptr(pointer))


def test_without_address_space_there_is_no_memory() -> None:
    out = ffi.wasmtime_linear_memory_t()
    error = MemoryCreator(1 << 40, lambda: None)._new(None, None, PAGE, 0, 1 << 60, PAGE, ctypes.pointer(out))
    assert "no address space" in message_of(error)


def test_memory_does_not_grow_into_its_guard() -> None:
    out = ffi.wasmtime_linear_memory_t()
    creator = MemoryCreator(1 << 40, lambda: None)
    assert creator._new(None, None, PAGE, 0, 4 * PAGE, PAGE, ctypes.pointer(out)) == 0
    grow: Any = out.grow_memory
    assert not grow(None, 4 * PAGE)
    error = ctypes.cast(grow(None, 4 * PAGE + 1), ctypes.c_void_p).value
    assert error is not None
    assert "past its reservation" in message_of(error)


SCRIPT = """
import resource
import wasmtime
from enarx.keep.engine import make_engine
refused = []
engine, creator = make_engine(4 << 30, lambda: refused.append(1))
store = wasmtime.Store(engine)
text = '(module (memory 1) (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))'
module = wasmtime.Module(engine, text)
grow = wasmtime.Instance(store, module, []).exports(store)["grow"]
resource.setrlimit(resource.RLIMIT_DATA, (1 << 29, 1 << 29))
print(grow(store, 100), grow(store, 40000), grow(store, 100), refused)
try:
    wasmtime.Instance(wasmtime.Store(engine), wasmtime.Module(engine, "(module (memory 40000))"), [])
except wasmtime.WasmtimeError as error:
    print("the system has no memory left" in str(error))
"""


def test_when_the_system_has_no_memory_growing_fails_and_the_limit_is_not_blamed() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["1", "-1", "101", "[]", "True"]
