"""The peer of the CPU bench: run a module in the engine as it comes, with its own WASI.

``python -I direct.py MODULE``
"""

from __future__ import annotations

import sys

import wasmtime


def main() -> None:
    """Run the module's ``_start``."""
    engine = wasmtime.Engine(wasmtime.Config())
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    wasi = wasmtime.WasiConfig()
    wasi.inherit_stdout()
    store.set_wasi(wasi)
    instance = linker.instantiate(store, wasmtime.Module.from_file(engine, sys.argv[1]))
    start = instance.exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    try:
        start(store)
    except wasmtime.ExitTrap as error:
        sys.exit(error.code)


if __name__ == "__main__":
    main()
