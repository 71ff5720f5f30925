"""Files of the locked inputs, read out of their packages into memory; nothing is unpacked to disk."""

from __future__ import annotations

import io
import lzma
import posixpath
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from enarx.errors import HostError

PACKAGE_MAX_BYTES: Final = 1 << 30
"""Bytes in all files that are taken from one package."""
MODULE_MAX_BYTES: Final = 16 << 20
"""Largest kernel module, decompressed (bytes)."""
UNPACK_SECONDS: Final = 300
"""How long a package may take to be unpacked, in seconds."""
LINKS_MAX: Final = 8
"""Symbolic links that are followed from one name (count)."""


def read_deb(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The files of a Debian package of which ``wanted(path)`` is true, by path without a leading slash.

    A wanted symbolic link within the package is the file that it leads to. HostError (``image-tool``, ``image-input``).
    """
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program
            ("dpkg-deb", "--fsys-tarfile", str(path)),  # noqa: S607 - wherever this machine has it
            capture_output=True, stdin=subprocess.DEVNULL, timeout=UNPACK_SECONDS, check=True,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise HostError(
            "there is no dpkg-deb on this machine, which is needed to read packages",
            code="image-tool",
            hint="images are built on Debian or a relative of it, with apt, dpkg and pip",
        ) from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
        raise _broken(path, "dpkg-deb cannot read it") from error
    try:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            return _wanted_members(path, archive, wanted)
    except (tarfile.TarError, EOFError) as error:
        raise _broken(path, str(error)) from error


def _wanted_members(path: Path, archive: tarfile.TarFile, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    members = {posixpath.normpath(member.name): member for member in archive.getmembers()}
    found: dict[str, bytes] = {}
    total = 0
    for name, member in members.items():
        if member.isdir() or not wanted(name):
            continue
        target, place = member, name
        for _ in range(LINKS_MAX):
            if not target.issym():
                break
            place = posixpath.normpath(posixpath.join("/", posixpath.dirname(place), target.linkname)).lstrip("/")
            if place not in members:
                break
            target = members[place]
        if not target.isreg():
            continue  # leads out of this package
        total += target.size
        if total > PACKAGE_MAX_BYTES:
            raise _broken(path, f"more than {PACKAGE_MAX_BYTES} bytes")
        file = archive.extractfile(target)
        found[name] = file.read() if file else b""
    return found


def read_wheel(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The files of a wheel of which ``wanted(path)`` is true. HostError (``image-input``)."""
    found: dict[str, bytes] = {}
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.is_dir() or not wanted(info.filename):
                    continue
                total += info.file_size
                if total > PACKAGE_MAX_BYTES:
                    raise _broken(path, f"more than {PACKAGE_MAX_BYTES} bytes")
                found[info.filename] = archive.read(info)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        raise _broken(path, str(error)) from error
    return found


def read_tree(directory: Path, names: tuple[str, ...], wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The files below ``directory`` that are one of ``names`` or below one, and wanted. HostError (``image-input``)."""
    found: dict[str, bytes] = {}
    try:
        for name in names:
            top = directory / name
            for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
                relative = path.relative_to(directory).as_posix()
                if path.is_file() and wanted(relative):
                    found[relative] = path.read_bytes()
    except OSError as error:
        raise _broken(directory, error.strerror or "it cannot be read") from error
    return found


def decompress(data: bytes) -> bytes:
    """A kernel module as the kernel loads it; Debian packs them with xz. HostError (``image-input``)."""
    reader = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=256 << 20)
    try:
        module = reader.decompress(data, MODULE_MAX_BYTES)
    except lzma.LZMAError as error:
        raise HostError(f"a kernel module cannot be read: {error}", code="image-input", hint=_HINT) from error
    if not reader.eof or reader.unused_data:
        raise HostError("a kernel module is truncated, or too large", code="image-input", hint=_HINT)
    return module


_HINT: Final = "lock again with `enarx image lock`"


def _broken(path: Path, what: str) -> HostError:
    return HostError(f"{path} is not what an image can be built from: {what}", code="image-input", hint=_HINT)
