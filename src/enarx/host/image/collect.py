"""From locked inputs to the files of the initial RAM disk: who provides each, and what is done to it on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import enarx
from enarx.errors import HostError
from enarx.host.image import tools
from enarx.host.image.contents import read_deb, read_tree, read_wheel
from enarx.host.image.fetch import Inputs
from enarx.host.image.lock import Lock
from enarx.host.image.prune import prune
from enarx.simulator.process_keep import OURS

PYTHON_LIBRARY: Final = "usr/lib/python3.11"
"""Where everything in Python is: the standard library, the wheels and the Keep side by side, on the built-in path."""
OWN: Final = "enarx"
"""The provider of the Keep's own code."""

STORE: Final = "etc/ssl/certs/ca-certificates.crt"
"""Certificates of public CAs, which a workload's connections trust that name no other."""

DECLARATIONS: Final = f"{PYTHON_LIBRARY}/wasmtime/_bindings.py"
"""The module of which the image has what its neighbours and the Keep name."""

_STORE_PACKAGE: Final = "ca-certificates"
_STORE_PARTS: Final = "usr/share/ca-certificates/mozilla/"
_ELF: Final = b"\x7fELF"
_COMPILER: Final = (f"{PYTHON_LIBRARY}/", tools.PYTHON, tools.LOADER, "lib/", "usr/lib/x86_64-linux-gnu/")


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of the image. ``provider``: the package, wheel or ``OWN`` that it is from."""

    data: bytes
    provider: str


def collect(lock: Lock, inputs: Inputs, wanted: Callable[[str], bool]) -> dict[str, Piece]:
    """The files of which ``wanted(path in the image)`` is true: modules compiled, libraries of wheels stripped.

    HostError: as the packages' readers and tools raise, ``image-clash`` when two inputs provide one path.
    """
    raw: dict[str, Piece] = {}

    def add(provider: str, files: Mapping[str, bytes], prefix: str = "") -> None:
        for name, data in files.items():
            path = prefix + name
            if path in raw:
                raise HostError(
                    f"both {raw[path].provider} and {provider} provide {path}", code="image-clash", hint="report it"
                )
            raw[path] = Piece(data, provider)

    def in_library(name: str) -> bool:
        return wanted(_compiled(f"{PYTHON_LIBRARY}/{name}"))

    for deb in lock.of_use("root"):
        if deb.name == _STORE_PACKAGE:
            add(deb.name, _certificate_store(inputs.file(deb)) if wanted(STORE) else {})
        else:
            add(deb.name, read_deb(inputs.file(deb), lambda path: wanted(_compiled(path))))
    for wheel in lock.wheels:
        add(wheel.name, read_wheel(inputs.file(wheel), in_library), f"{PYTHON_LIBRARY}/")
    own = read_tree(Path(enarx.__file__).parent, OURS, lambda name: in_library(f"enarx/{name}"))
    add(OWN, own, f"{PYTHON_LIBRARY}/enarx/")
    return _made(lock, inputs, raw)


def _certificate_store(package: Path) -> dict[str, bytes]:
    """What Debian's package makes when it is installed: all its certificates in one file, in the order of names."""
    parts = read_deb(package, lambda path: path.startswith(_STORE_PARTS) and path.endswith(".crt"))
    return {STORE: b"".join(parts[name] for name in sorted(parts))}


def _compiled(path: str) -> str:
    return f"{path}c" if path.endswith(".py") else path


def _made(lock: Lock, inputs: Inputs, raw: dict[str, Piece]) -> dict[str, Piece]:
    wheels = {wheel.name for wheel in lock.wheels}
    sources = {path: piece.data for path, piece in raw.items() if path.endswith(".py")}
    made = {path: piece for path, piece in raw.items() if path not in sources}
    if DECLARATIONS in sources:
        sources[DECLARATIONS] = _pruned(sources, raw[DECLARATIONS].provider)
    with tools.unpacked(_tool_files(lock, inputs)) as toolbox:
        for path, data in toolbox.compile(sources).items():
            made[_compiled(path)] = Piece(data, raw[path].provider)
        for path, piece in made.items():
            if piece.provider in wheels and piece.data.startswith(_ELF):
                made[path] = Piece(toolbox.strip(piece.data), piece.provider)
    return made


def _pruned(sources: Mapping[str, bytes], provider: str) -> bytes:
    """What is left of `DECLARATIONS` among ``sources``, which are by path."""
    users = (f"{PYTHON_LIBRARY}/wasmtime/", f"{PYTHON_LIBRARY}/enarx/")
    others = [data for path, data in sources.items() if path.startswith(users) and path != DECLARATIONS]
    try:
        return prune(sources[DECLARATIONS], others)
    except (SyntaxError, ValueError) as error:
        raise HostError(
            f"{provider} has a module that is not Python: {error}",
            code="image-input",
            hint="lock again with `enarx image lock`",
        ) from error


def _tool_files(lock: Lock, inputs: Inputs) -> dict[str, bytes]:
    """The interpreter with its C library, and `strip` with what it loads."""
    files: dict[str, bytes] = {}
    for deb in (*lock.of_use("root"), *lock.of_use("tool")):
        compiler = deb.use == "root"
        files |= read_deb(
            inputs.file(deb),
            lambda path, compiler=compiler: path.startswith(
                _COMPILER if compiler else ("usr/lib/", "lib/", tools.STRIP)
            ),  # type: ignore[misc]
        )
    return files
