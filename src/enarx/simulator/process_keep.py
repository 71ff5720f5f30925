"""What a process Keep is launched from, laid out as pages: the listing of its code that the processor measures.

A measured direct boot does not feed a kernel through the secure processor; it measures one page of SHA-256 digests, and
what those digests name is as fixed as if it had been. So here: the listing names every file of the Keep's code with its
size and SHA-256, and its pages are what SNP_LAUNCH_UPDATE measures. SHA-256, which processors compute in hardware,
reads the 65 MB of a Keep in some 50 ms; hashing each of their 17,000 pages into the launch digest would take thrice as
long. Nothing is cached: a file's size and times say nothing about its contents.

Measured, by these names, in the order of the names' bytes::

    code/enarx/...               the Keep and what it may import of ours (``OURS``)
    code/<package>/...           every file of the packages in ``PACKAGES``
    command                      the interpreter's arguments, each ended by a zero byte
    python/executable            the interpreter and, where it has one, its library
    python/library
    python/version               ``sys.version``

Not measured: the standard library but for its version, the C library and whatever else the operating system provides,
and ``__pycache__``, whose files differ between installations of the same code (a launch with ``-X pycache_prefix``
keeps them out of play). A process Keep stands on all of that, as it does on the kernel: it is isolated from nothing.
The image of a VM Keep holds everything that runs in it, and is measured to the last byte.

Listing: ``enarx process Keep 1`` and a zero byte, number of entries u32, then for each entry length of name u16, size
of contents u64, name in UTF-8, SHA-256 of contents; zeros to the end of the page. Integers are little-endian.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enarx.errors import HostError
from enarx.evidence.gctx import LaunchContext
from enarx.evidence.ovmf import PAGE_BYTES

OURS: Final = (
    "__init__.py",
    "archive.py",
    "challenge.py",
    "config.py",
    "config_reader.py",
    "config_values.py",
    "enrolment.py",
    "envelope.py",
    "errors.py",
    "evidence/__init__.py",
    "evidence/binding.py",
    "exporter.py",
    "keep",
    "manifest.py",
    "manifest_rules.py",
    "mux",
    "sealing.py",
    "toml_document.py",
    "wire.py",
)
"""Of the package ``enarx``: what the import rules permit inside a Keep."""
PACKAGES: Final = ("_cffi_backend", "bcrypt", "cryptography", "typing_extensions", "wasmtime")
"""Top-level names that the Keep's code imports, or would import if they were there; absent ones are not listed."""
REQUIRED: Final = ("cryptography", "wasmtime")

KEEP_GPA: Final = 0
"""Guest physical address of the listing's first page."""
FILES_MAX: Final = 8192
"""Files of a Keep (count)."""
FILE_MAX_BYTES: Final = 1 << 30
"""Largest file of a Keep (bytes)."""
DEPTH_MAX: Final = 16
"""Directories below one another (count)."""

_MAGIC: Final = b"enarx process Keep 1\0"
_ENTRY: Final = struct.Struct("<HQ")
_BUFFER_BYTES: Final = 256 * 1024  # stays in the second-level cache


@dataclass(frozen=True, slots=True)
class LaunchDigest:
    """``digest`` (48 bytes) is what a report of this launch says; ``pages`` is the listing, whole pages at KEEP_GPA.

    ``files`` and ``size`` (bytes) are how much was read for it.
    """

    digest: bytes
    pages: bytes
    files: int
    size: int


def measure_process_keep(directories: Sequence[str], command: Sequence[str] = ()) -> LaunchDigest:
    """Read and measure what a process Keep runs that finds its code in ``directories``, in this order.

    ``command`` are the arguments of the interpreter that are the same on every machine, as the code given to ``-c``.
    HostError: ``host-install`` when a required package is missing, ``keep-unmeasurable`` for what cannot be read or
    could change what is imported unseen (a directory that is a symbolic link).
    """
    buffer = bytearray(_BUFFER_BYTES)
    entries = [_entry(name, *_digest(path, buffer)) for name, path in _files(directories)]
    files, size = len(entries), sum(entry.size for entry in entries)
    for name, contents in (
        ("command", b"".join(argument.encode() + b"\0" for argument in command)),
        ("python/version", sys.version.encode()),
    ):
        entries.append(_entry(name, len(contents), hashlib.sha256(contents).digest()))
    entries.sort(key=lambda entry: entry.name)
    listing = _MAGIC + struct.pack("<I", len(entries)) + b"".join(entry.encode() for entry in entries)
    pages = listing.ljust(-(-len(listing) // PAGE_BYTES) * PAGE_BYTES, b"\0")
    context = LaunchContext()
    context.add_data(KEEP_GPA, pages)
    return LaunchDigest(context.digest, pages, files, size)


@dataclass(frozen=True, slots=True)
class _Entry:
    name: bytes
    size: int
    sha256: bytes

    def encode(self) -> bytes:
        return _ENTRY.pack(len(self.name), self.size) + self.name + self.sha256


def _entry(name: str, size: int, sha256: bytes) -> _Entry:
    try:
        encoded = name.encode()
    except UnicodeEncodeError as error:
        raise _unmeasurable(ascii(name), "its name is not UTF-8") from error
    if len(encoded) > 0xFFFF:
        raise _unmeasurable(name[:80], "its name is too long")
    return _Entry(encoded, size, sha256)


def _files(directories: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and path of every file that is measured."""
    for count, (name, path) in enumerate(_code(directories)):
        if count == FILES_MAX:
            raise _unmeasurable(path, f"there are more than {FILES_MAX} files")
        yield f"code/{name}", path
    yield "python/executable", os.path.realpath(sys.executable)
    library = _python_library()
    if library:
        yield "python/library", library


def _code(directories: Sequence[str]) -> Iterator[tuple[str, str]]:
    ours = _find("enarx", directories)
    if len(ours) != 1:
        raise _missing("enarx")
    for part in OURS:
        path = Path(ours[0].path, part)
        if path.is_dir():
            yield from _below(f"enarx/{part}", str(path), 1)
        elif path.exists():
            yield f"enarx/{part}", str(path)
    for package in PACKAGES:
        places = _find(package, directories)
        if not places and package in REQUIRED:
            raise _missing(package)
        for entry in places:
            if entry.is_dir():
                yield from _below(entry.name, entry.path, 1)
            else:
                yield entry.name, entry.path


def _find(package: str, directories: Sequence[str]) -> list[os.DirEntry[str]]:
    """Whatever an import of ``package`` could mean: in the first directory that has any, all that has its name.

    A package, an extension module and a source file of one name hide each other; which one wins is not decided here.
    """
    for directory in directories:
        found = [entry for entry in _listed(directory) if entry.name == package or entry.name.startswith(f"{package}.")]
        if found:
            return found
    return []


def _below(name: str, directory: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > DEPTH_MAX:
        raise _unmeasurable(directory, "directories nest too deep")
    if Path(directory).is_symlink():
        raise _unmeasurable(directory, "it is a symbolic link")
    for entry in _listed(directory):
        if entry.name == "__pycache__":
            continue
        if entry.is_dir():
            yield from _below(f"{name}/{entry.name}", entry.path, depth + 1)
        else:
            yield f"{name}/{entry.name}", entry.path


def _listed(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError as error:
        raise _unmeasurable(directory, error.strerror or str(error)) from error


def _python_library() -> str:
    """The path of ``libpython``, where the interpreter has its code in one: what this process has mapped."""
    with Path("/proc/self/maps").open(encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            directory, slash, name = line.rstrip("\n").partition("/")[2].rpartition("/")
            if name.startswith("libpython3."):
                return f"/{directory}{slash}{name}"
    return ""


def _digest(path: str, buffer: bytearray) -> tuple[int, bytes]:
    """Size and SHA-256 of a file, of the bytes that were read and nothing else."""
    view, digest, size = memoryview(buffer), hashlib.sha256(), 0
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _unmeasurable(path, "it is no ordinary file")
            while count := os.readv(descriptor, [buffer]):
                digest.update(view[:count])
                size += count
                if size > FILE_MAX_BYTES:
                    raise _unmeasurable(path, f"it has more than {FILE_MAX_BYTES} bytes")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unmeasurable(path, error.strerror or str(error)) from error
    return size, digest.digest()


def _missing(package: str) -> HostError:
    return HostError(
        f"the Python package {package} is missing", code="host-install", hint="install Enarx again: pip install enarx"
    )


def _unmeasurable(path: str, why: str) -> HostError:
    return HostError(
        f"the Keep cannot be measured: {path}: {why}",
        code="keep-unmeasurable",
        hint="install Enarx again in a fresh environment: pip install enarx",
    )
