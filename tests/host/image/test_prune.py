"""What is left of a module of declarations: all that anybody names, as it was, and no more."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import wasmtime

from enarx.errors import HostError
from enarx.host.image import collect
from enarx.host.image.collect import DECLARATIONS
from enarx.host.image.prune import prune
from tests.support import ROOT

MODULE = b'''\
"""A module."""
import ctypes
from ctypes import c_int

number = c_int

class Used(ctypes.Structure):
    """Of a type."""
    _fields_ = [("one", number)]

class Unused(ctypes.Structure):
    pass

Unused._fields_ = [("self", Used)]

_call = ctypes.CDLL(None).getpid
_call.restype = number
def call():
    return _call()

_other = ctypes.CDLL(None).getppid
_other.restype = Used
@staticmethod
def other():  # with a remark
    return _other()

def set_one(): return 1
def set_two(): return 2

if True:
    late = number
'''


def names(source: bytes) -> set[str]:
    space: dict[str, object] = {}
    exec(compile(source, "module", "exec"), space)
    return {name for name in space if not name.startswith("__")} - {"ctypes", "c_int"}


@pytest.mark.parametrize(
    ("other", "left"),
    [
        (b"", {"number", "late"}),
        (b"import module; module.call()", {"number", "late", "_call", "call"}),
        (b"from module import other", {"number", "late", "_other", "other", "Used"}),
        (b"hasattr(module, 'Unused')", {"number", "late", "Unused", "Used"}),
        (b"getattr(module, f'set_{one}')", {"number", "late", "set_one", "set_two"}),
        (b"getattr(module, 'set_' + one)", {"number", "late", "set_one", "set_two"}),
        (b"print(f'{one}'); call = f' set_{one}'", {"number", "late", "_call", "call"}),
    ],
)
def test_names_that_are_used_stay_with_what_they_use(other: bytes, left: set[str]) -> None:
    assert names(prune(MODULE, [b"x = 1", other])) == left


def test_what_is_left_is_the_text_as_it_was() -> None:
    left = prune(MODULE, [b"other(call, Used)"]).decode()
    assert "@staticmethod\ndef other():  # with a remark\n    return _other()\n" in left
    assert '"""Of a type."""' in left
    assert prune(MODULE, [b"Unused; call; other; set_one; set_two; late"]).splitlines() == [
        line for line in MODULE.splitlines() if line
    ]
    assert prune(left.encode(), [b"other(call, Used)"]).decode() == left


@pytest.mark.parametrize("broken", [b"def", b"\0", b"\xff"])
def test_a_module_that_is_not_python_is_an_error_of_its_package(broken: bytes) -> None:
    for sources in ({DECLARATIONS: broken}, {DECLARATIONS: b"", DECLARATIONS.replace("_bindings", "_ffi"): broken}):
        with pytest.raises(HostError, match="the wheel has a module that is not Python") as caught:
            collect._pruned(sources, "the wheel")
        assert caught.value.code == "image-input"


def test_the_engine_finds_all_that_its_package_and_the_keep_name() -> None:
    package = Path(wasmtime.__file__).parent
    bindings = (package / "_bindings.py").read_bytes()
    others = [path.read_bytes() for path in package.glob("_*.py") if path.name != "_bindings.py"]
    others += [path.read_bytes() for path in (ROOT / "src/enarx/keep").rglob("*.py")]
    left = prune(bindings, others)
    assert len(left) < len(bindings) / 2
    defined = {node.name for node in ast.walk(ast.parse(left)) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    before = {node.name for node in ast.walk(ast.parse(bindings)) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for other in others:
        for node in ast.walk(ast.parse(other)):
            if isinstance(node, ast.Attribute) and node.attr in before:
                assert node.attr in defined
    assert {name for name in before if name.startswith("wasmtime_config_")} <= defined  # named by parts
