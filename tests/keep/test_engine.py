"""Both ways of calling from the engine into Python must pass the same values and errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st
from wasmtime import _ffi as ffi

from enarx.errors import WorkloadError
from enarx.keep import engine
from enarx.keep.engine import (
    FEATURES,
    Binder,
    CheckedBinder,
    HostCallError,
    HostFunction,
    UncheckedBinder,
    engine_identity,
    make_engine,
)
from enarx.keep.wasi.abi import Errno, WasiError
from enarx.keep.wasi.memory import GuestMemory

KINDS = {"i": "i32", "I": "i64"}
BITS = {"i": 32, "I": 64}
BINDERS: list[type[Binder]] = [UncheckedBinder, CheckedBinder]
ENGINE, CREATOR = make_engine(1 << 20, lambda: None)


def bound(
    binder: type[Binder],
    params: str,
    call: Callable[..., int],
    on_failure: Callable[[BaseException], None] = lambda error: None,
    *,
    returns: bool = True,
) -> Callable[..., int | None]:
    """``call`` behind a WebAssembly function that passes its parameters on."""
    kinds = " ".join(KINDS[kind] for kind in params)
    result = "(result i32)" if returns else ""
    arguments = " ".join(f"(local.get {index})" for index in range(len(params)))
    text = f"""(module (import "m" "f" (func $f (param {kinds}) {result})) (memory (export "memory") 1)
        (func (export "call") (param {kinds}) {result} (call $f {arguments})))"""
    linker, store, keeper = wasmtime.Linker(ENGINE), wasmtime.Store(ENGINE), binder()
    keeper.bind(linker, [HostFunction("m", "f", params, call, returns)], GuestMemory(), on_failure)
    function = linker.instantiate(store, wasmtime.Module(ENGINE, text)).exports(store)["call"]
    assert isinstance(function, wasmtime.Func)

    def invoke(*values: int, _alive: object = (linker, keeper)) -> int | None:
        signed = [
            value - (1 << BITS[kind]) if value >> (BITS[kind] - 1) else value
            for value, kind in zip(values, params, strict=True)
        ]
        answer: int | None = function(store, *signed)
        return answer

    return invoke


def values_of(params: str) -> st.SearchStrategy[list[int]]:
    edges = {
        kind: st.one_of(
            st.integers(0, (1 << bits) - 1),
            st.sampled_from([0, 1, (1 << bits - 1) - 1, 1 << bits - 1, (1 << bits) - 1]),
        )
        for kind, bits in BITS.items()
    }
    return st.tuples(*[edges[kind] for kind in params]).map(list)


@pytest.mark.parametrize("binder", BINDERS)
@given(data=st.data())
def test_every_parameter_arrives_unsigned_and_whole(binder: type[Binder], data: st.DataObject) -> None:
    params = data.draw(st.text("iI", max_size=9))
    seen: list[int] = []

    def note(*values: int) -> int:
        seen.extend(values)
        return 0

    invoke = bound(binder, params, note)
    for _ in range(3):
        values = data.draw(values_of(params))
        seen.clear()
        assert invoke(*values) == 0
        assert seen == values


@pytest.mark.parametrize("binder", BINDERS)
@pytest.mark.parametrize("params", ["", "i", "I", "iI"])
def test_an_error_number_is_returned_and_raised_alike(binder: type[Binder], params: str) -> None:
    def fail(*_: int) -> int:
        raise WasiError(Errno.LOOP)

    arguments = [0xFFFFFFFF] * len(params)
    assert bound(binder, params, fail)(*arguments) == Errno.LOOP
    assert bound(binder, params, lambda *_: Errno.BADF)(*arguments) == Errno.BADF


@pytest.mark.parametrize("binder", BINDERS)
def test_a_function_without_a_result_has_none(binder: type[Binder]) -> None:
    seen: list[int] = []

    def note(value: int) -> int:
        seen.append(value)
        return 99

    assert bound(binder, "i", note, returns=False)(5) is None
    assert seen == [5]


@pytest.mark.parametrize("binder", BINDERS)
@pytest.mark.parametrize("params", ["", "i", "I"])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit])
def test_whatever_else_is_raised_traps_and_is_handed_over(
    binder: type[Binder], params: str, kind: type[BaseException]
) -> None:
    failures: list[BaseException] = []

    def fail(*_: int) -> int:
        raise kind

    with pytest.raises((wasmtime.Trap, wasmtime.WasmtimeError, HostCallError)):
        bound(binder, params, fail, failures.append)(*[1] * len(params))
    assert [type(failure) for failure in failures] == [kind]


@pytest.mark.parametrize("binder", BINDERS)
def test_a_recursion_that_is_too_deep_for_python_is_a_trap(binder: type[Binder]) -> None:
    failures: list[BaseException] = []

    def recurse(value: int) -> int:
        return recurse(value + 1)

    with pytest.raises((wasmtime.Trap, wasmtime.WasmtimeError, HostCallError)):
        bound(binder, "i", recurse, failures.append)(0)
    assert isinstance(failures[0], RecursionError)


def test_a_name_that_is_taken_is_an_error() -> None:
    linker = wasmtime.Linker(ENGINE)
    twice = [HostFunction("m", "f", "i", lambda value: value)] * 2
    with pytest.raises(WorkloadError, match="refused host function f"):
        UncheckedBinder().bind(linker, twice, GuestMemory(), lambda error: None)


def test_an_engine_of_another_version_is_refused_by_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_NEEDED", ("wasmtime_memory_data", "wasmtime_no_such_function"))
    with pytest.raises(WorkloadError, match="lacks wasmtime_no_such_function") as refused:
        make_engine(1 << 20, lambda: None)
    assert refused.value.code == "engine-version"
    assert "pip install" in refused.value.hint


def test_every_feature_that_the_engine_can_be_told_of_is_pinned() -> None:
    """But for parts of components, which are off as a whole, and a choice within relaxed SIMD, which is off, too."""
    told = {name.removeprefix("wasmtime_config_").removesuffix("_set") for name in dir(ffi) if "_config_wasm_" in name}
    told.discard("wasm_relaxed_simd_deterministic")
    assert {name for name in told if not name.startswith("wasm_component_model_")} <= FEATURES.keys()


def test_compiled_code_depends_on_every_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    before = engine_identity()
    assert all(name in before for name in FEATURES)
    monkeypatch.setattr(engine, "FEATURES", {**FEATURES, "wasm_simd": False})
    assert engine_identity() != before
