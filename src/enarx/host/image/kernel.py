"""A kernel of our own: the digest of what it is built from, a cache of what was built, a record of what must come out.

``kernel.lock`` beside this module has the digest of the inputs that its kernel was built from, what of the machine was
among them, and the digest of the kernel. Equal inputs that give another kernel are an error, wherever that happens.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from enarx.errors import ConfigError, HostError
from enarx.host.image import kernelbuild
from enarx.host.image.fetch import Inputs
from enarx.host.image.kernelbuild import Product, Toolchain
from enarx.host.image.lock import Deb, Lock, quote

FORMAT: Final = 1
RECORD: Final = "kernel.lock"
VMLINUZ: Final = "vmlinuz"
CONFIG: Final = "config"
SYMBOLS: Final = "System.map"
DIGESTS: Final = "digests"
"""In an entry of the cache: the SHA-256 of each of the three, one a line."""
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Record:
    """What was built from what. ``inputs`` and ``vmlinuz``: ``sha256:`` and hexadecimal digits; ``size`` in bytes."""

    inputs: str
    toolchain: Toolchain
    vmlinuz: str
    size: int

    @property
    def made_with(self) -> dict[str, str]:
        """The digest of the inputs, and the tools."""
        tools = self.toolchain
        return {
            "inputs": self.inputs, "compiler": tools.compiler, "linker": tools.linker, "compressor": tools.compressor,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class OwnKernel:
    """A kernel, and what it was built from. ``recorded``: whether that is what the record is of."""

    product: Product
    record: Record
    recorded: bool


def source(lock: Lock) -> Deb:
    """The package of sources in a lock file. ConfigError (``lock-incomplete``)."""
    for deb in lock.of_use("source"):
        return deb
    raise ConfigError(
        "the lock file names no package of kernel sources",
        code="lock-incomplete",
        hint="write a new one with `enarx image lock`",
    )


def inputs_digest(sources: Deb, toolchain: Toolchain) -> str:
    """SHA-256 over everything that a kernel is built from, each part behind its length (8 bytes, big-endian)."""
    parts = (
        sources.sha256.encode(), kernelbuild.own_config(), kernelbuild.own_patch(), kernelbuild.recipe(),
        toolchain.compiler.encode(), toolchain.linker.encode(), toolchain.compressor.encode(),
    )  # fmt: skip
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return f"sha256:{state.hexdigest()}"


def own_record() -> Record:
    """The record that comes with this program."""
    return parse_record(resources.files("enarx.host.image").joinpath(RECORD).read_text(encoding="utf-8"))


def is_recorded(lock: Lock) -> bool:
    """Whether the record is of the sources, the configuration, the patch and the recipe at hand. Builds nothing."""
    record = own_record()
    return record.inputs == inputs_digest(source(lock), record.toolchain)


def parse_record(text: str) -> Record:
    """Read a record. ConfigError (``lock-value``)."""
    try:
        document: dict[str, Any] = tomllib.loads(text)
        texts = {key: document[key] for key in ("inputs", "compiler", "linker", "compressor", "vmlinuz")}
        size = document["bytes"]
    except (tomllib.TOMLDecodeError, KeyError, RecursionError) as error:
        raise _bad_record(f"{error}") from error
    if document.get("format") != FORMAT or len(document) != len(texts) + 2:
        raise _bad_record("another format, or unknown keys")
    if not all(isinstance(value, str) and value.isprintable() for value in texts.values()):
        raise _bad_record("a value is no text")
    if not (_DIGEST.fullmatch(texts["inputs"]) and _DIGEST.fullmatch(texts["vmlinuz"])):
        raise _bad_record("a digest is none")
    if isinstance(size, bool) or not isinstance(size, int) or size <= 0:
        raise _bad_record(f"bytes is {size!r}")
    toolchain = Toolchain(texts["compiler"], texts["linker"], texts["compressor"])
    return Record(texts["inputs"], toolchain, texts["vmlinuz"], size)


def format_record(record: Record) -> str:
    """The one text of a record."""
    lines = [
        "# What the kernel of our own was built from, and what came out. `enarx image kernel -o DIR` writes this file.",
        f"format = {FORMAT}",
    ]
    lines += [f"{key} = {quote(value)}" for key, value in {**record.made_with, "vmlinuz": record.vmlinuz}.items()]
    return "\n".join((*lines, f"bytes = {record.size}")) + "\n"


class Builder:
    """Builds the kernel of a lock file's sources on this machine. Made without building anything.

    ``jobs``: compilers at once, by default one a core. ``tell`` hears of a build before it starts. ConfigError as
    ``source``, HostError as ``kernelbuild.toolchain``.
    """

    def __init__(
        self, lock: Lock, inputs: Inputs, jobs: int | None = None, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self._sources = source(lock)
        self._inputs = inputs
        self._jobs = jobs or len(os.sched_getaffinity(0))
        self._tell = tell
        self._toolchain = kernelbuild.toolchain()
        self._digest = inputs_digest(self._sources, self._toolchain)

    def kernel(self, cache: Path) -> OwnKernel:
        """The kernel, from ``cache`` or built now, which takes minutes, and put there.

        HostError as ``Inputs.file`` and ``kernelbuild.build``, ``image-cache``, and ``kernel-differs`` when inputs that
        the record is of give another kernel.
        """
        entry = cache / self._digest.removeprefix("sha256:")
        product = _cached(entry)
        if product is not None:
            return self._judge(product)
        _make(cache)
        kernel = self._build(cache)
        _keep(kernel.product, entry)
        return kernel

    def check(self, directory: Path) -> OwnKernel:
        """Build twice, in directories below ``directory`` that have little in common, whatever a cache has.

        Raises as ``kernel``, and ``kernel-differs`` also when the two are not the same to the byte.
        """
        _make(directory)
        kernels = []
        with tempfile.TemporaryDirectory(prefix=".check-", dir=directory) as name:
            for place in (Path(name) / "a", Path(name) / "another" / "and-much-longer-place"):
                place.mkdir(parents=True)
                kernels.append(self._build(place))
        first, second = kernels
        if first.product != second.product:
            raise _differs(f"two builds in two directories gave {first.record.vmlinuz} and {second.record.vmlinuz}")
        return first

    def _build(self, directory: Path) -> OwnKernel:
        package = self._inputs.file(self._sources)
        self._tell(f"building a kernel from {self._sources.title} with {self._jobs} jobs, which takes minutes")
        name = self._digest.removeprefix("sha256:")
        return self._judge(kernelbuild.build(package, directory, name, self._jobs))

    def _judge(self, product: Product) -> OwnKernel:
        found = Record(self._digest, self._toolchain, _sha256(product.vmlinuz), len(product.vmlinuz))
        expected = own_record()
        recorded = expected.inputs == found.inputs
        if recorded and found != expected:
            raise _differs(f"the inputs of the kernel on record, {expected.vmlinuz}, gave {found.vmlinuz}")
        return OwnKernel(product, found, recorded)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_cache(directory, error) from error


def _cached(entry: Path) -> Product | None:
    """What the cache has, if it is whole."""
    try:
        digests = (entry / DIGESTS).read_text(encoding="ascii").split()
        files = [(entry / name).read_bytes() for name in (VMLINUZ, CONFIG, SYMBOLS)]
    except (OSError, UnicodeDecodeError):
        return None
    return Product(*files) if digests == [_sha256(data) for data in files] else None


def _keep(product: Product, entry: Path) -> None:
    """Put a kernel in the cache, whole or not at all."""
    try:
        with tempfile.TemporaryDirectory(prefix=".put-", dir=entry.parent) as scratch:
            draft = Path(scratch) / "kernel"
            draft.mkdir()
            files = _files(product)
            for name, data in files.items():
                (draft / name).write_bytes(data)
            (draft / DIGESTS).write_text("\n".join(map(_sha256, files.values())) + "\n", encoding="ascii")
            with contextlib.suppress(FileNotFoundError):
                entry.rename(Path(scratch) / "broken")
            with contextlib.suppress(FileExistsError):  # somebody was faster, with the same
                draft.rename(entry)
    except OSError as error:
        raise _no_cache(entry.parent, error) from error


def write(kernel: OwnKernel, directory: Path) -> None:
    """Write a kernel's files, and a record of it. Raises OSError."""
    for name, data in {**_files(kernel.product), RECORD: format_record(kernel.record).encode()}.items():
        draft = directory / f".{name}.new"
        draft.write_bytes(data)
        draft.replace(directory / name)


def _files(product: Product) -> dict[str, bytes]:
    return {VMLINUZ: product.vmlinuz, CONFIG: product.config, SYMBOLS: product.symbols}


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _bad_record(what: str) -> ConfigError:
    return ConfigError(f"{RECORD}: {what}", code="lock-value", hint="write a new one with `enarx image kernel -o DIR`")


def _differs(what: str) -> HostError:
    return HostError(
        f"the kernel does not come out as it must: {what}",
        code="kernel-differs",
        hint="something on this machine gets into the kernel that is none of its inputs, or one of them was changed",
    )


def _no_cache(cache: Path, error: OSError) -> HostError:
    return HostError(
        f"{cache} cannot be written: {error.strerror}",
        code="image-cache",
        hint="name another directory with --cache-dir",
    )
