"""Modules and workloads that the tests of packages pack, and the Keep's rules that they are judged by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from enarx.cli.packagefile import keep_rules
from tests import programs
from tests.support import ROOT

RULES = keep_rules()
HELLO = programs.HELLO
DEMO = ROOT / "src" / "enarx" / "data" / "https-page.wasm"
EVERYTHING = programs.assemble(
    '(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
    ' (memory (export "memory") 2 4) (table 3 funcref) (global (mut i32) (i32.const 7))'
    ' (elem (i32.const 0) $a $b) (data (i32.const 0) "data") (data $passive "more")'
    " (func $a (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 1))) (func $b (local i64 f32) (call $a))"
    ' (start $b) (func (export "_start") (call $exit (i32.const 0))))'
)
"""A module with every kind of section."""
CONFIG = '[[files]]\nkind = "stdout"\n'


def workload(
    directory: Path,
    files: Mapping[str, bytes | None] = MappingProxyType({}),
    *,
    module: bytes = HELLO,
    config: str | None = CONFIG,
) -> Path:
    """A directory to be packed. ``files`` are paths below ``files/`` and their contents; None for a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "main.wasm").write_bytes(module)
    if config is not None:
        (directory / "Enarx.toml").write_text(config)
    for name, content in files.items():
        place = directory / "files" / name
        (place if content is None else place.parent).mkdir(parents=True, exist_ok=True)
        if content is not None:
            place.write_bytes(content)
    return directory
