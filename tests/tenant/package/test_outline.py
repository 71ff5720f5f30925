"""The outline of a module: the same to look at, and nothing to compile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import EnarxError, MalformedError
from enarx.keep.runtime import inspect_module, validate_module
from enarx.tenant.package.outline import outline
from enarx.tenant.package.sections import sections
from tests import programs
from tests.tenant.package.modules import DEMO, EVERYTHING

MODULES = {
    "hello": programs.HELLO,
    "empty": programs.EMPTY,
    "everything": EVERYTHING,
    "demo": DEMO.read_bytes(),
    "imports": programs.assemble('(module (import "env" "f" (func)) (import "env" "m" (memory 1)))'),
    "bare": b"\0asm\1\0\0\0",
}


@pytest.mark.parametrize("name", MODULES)
def test_an_outline_tells_what_the_module_tells(name: str) -> None:
    """Both compiled by the engine: the differential that the outline stands on."""
    module = MODULES[name]
    full, outlined = inspect_module(module), inspect_module(outline(module))
    assert (full.imports, full.memory_bytes) == (outlined.imports, outlined.memory_bytes)
    assert [str(one) for one in full.problems] == [str(one) for one in outlined.problems]


def test_an_outline_has_neither_code_nor_data() -> None:
    module = MODULES["demo"]
    small = outline(module)
    validate_module(small)
    assert len(small) < len(module) / 10
    kinds = [kind for kind, _, _ in sections(small)]
    assert {0, 11, 12}.isdisjoint(kinds)
    assert kinds == [kind for kind, _, _ in sections(module) if kind not in (0, 11, 12)]
    assert outline(small) == small


@pytest.mark.parametrize(
    "tail",
    [b"\1", b"\1\5abc", b"\1\xff\xff\xff\xff", b"\1\xff\xff\xff\xff\xff\0", b"\1\x80\x80\x80\x80\x10", b"\x0a\1\2"],
    ids=["no-size", "short", "size-cut", "size-long", "size-33-bits", "more-bodies-than-bytes"],
)
def test_sections_that_do_not_fit_are_refused(tail: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        outline(b"\0asm\1\0\0\0" + tail)
    assert caught.value.code == "wasm-sections"


@given(st.binary(max_size=200) | st.binary(max_size=50).map(lambda tail: EVERYTHING[:-60] + tail))
def test_any_bytes_have_an_outline_or_none(data: bytes) -> None:
    try:
        small = outline(b"\0asm\1\0\0\0" + data)
        inspect_module(small)
    except EnarxError:
        return
    validate_module(small)


@given(st.data())
def test_what_the_engine_finds_valid_has_an_outline(data: st.DataObject) -> None:
    module = bytearray(EVERYTHING)
    module[data.draw(st.integers(8, len(module) - 1))] = data.draw(st.integers(0, 255))
    try:
        validate_module(bytes(module))
    except EnarxError:
        return
    full, outlined = inspect_module(bytes(module)), inspect_module(outline(bytes(module)))
    assert (full.imports, full.memory_bytes) == (outlined.imports, outlined.memory_bytes)
