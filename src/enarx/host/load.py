"""Read what the user wants to run from disk, with errors that name the file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from enarx.errors import ConfigError, HostError, UsageError
from enarx.host.contract import Package
from enarx.host.filebytes import Data

if TYPE_CHECKING:
    import tarfile

MAX_MODULE_BYTES: Final = 1 << 30
"""Largest module that is read at all; the workload's own limit is checked in the Keep."""
MAX_FILES: Final = 63
"""Config, module, CA files and directories that are handed over (count); a manifest and signatures come beside."""
MAX_DIRECTORY_BYTES: Final = 4 << 30
"""Largest directory that ``--dir`` copies, in bytes of its archive."""


def path_of(text: str) -> Path:
    """A path from the command line. Raises UsageError for one that cannot be a path."""
    if not text or "\0" in text:
        raise UsageError(f"{text!r} is not a path")
    return Path(text)


def load_package(*, module: Path, config: Path | None, directories: Sequence[str], env: Sequence[str]) -> Package:
    """Read everything. Raises ConfigError, HostError or UsageError."""
    objects: list[tuple[str, str, Data]] = []
    if config is not None:
        objects += load_config(config)
    objects.append(("module", "main.wasm", _read(module, "failed to open WASM module at", MAX_MODULE_BYTES)))
    objects += [_directory(text) for text in directories]
    if len(objects) > MAX_FILES:
        raise UsageError(
            f"the workload has {len(objects)} files to be handed over, with those of `ca` and the directories of "
            f"--dir, which is more than {MAX_FILES}",
            hint="write certificates into Enarx.toml itself, and give directories as parts of one",
        )
    return Package(objects, env=[_variable(text) for text in env])


def _read(path: Path, failure: str, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(limit + 1) if size <= limit else b""
    except OSError as error:
        raise HostError(
            f"{failure} {path}: {error.strerror}", code="file-unreadable", hint="check the path and its permissions"
        ) from error
    if size > limit or len(data) > limit:
        raise HostError(f"{failure} {path}: it is larger than {limit} bytes", code="file-too-large")
    return data


def load_config(path: Path) -> list[tuple[str, str, bytes]]:
    """The config, and the CA files that it names, relative to it. Raises ConfigError or HostError."""
    from enarx.config import MAX_CONFIG_BYTES, MAX_PEM_BYTES, parse

    try:
        text = _read(path, "failed to open package config at", MAX_CONFIG_BYTES)
    except HostError as error:
        raise ConfigError(error.message, code=error.code, hint=error.hint) from error.__cause__
    parsed = parse(text, source=str(path))
    files = [
        ("ca", name, _read(path.parent / name, "failed to open the CA certificate at", MAX_PEM_BYTES))
        for name in parsed.ca_paths()
    ]
    return [("config", "Enarx.toml", text), *files]


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--env {text!r} is not NAME=VALUE", hint="for example --env GREETING=hello")
    return name, value


def _directory(text: str) -> tuple[str, str, memoryview]:
    """A directory of ours as a tar archive, for the Keep to unpack into its own file system."""
    host, separator, guest = text.rpartition("::")
    if not separator or not host or not guest:
        raise UsageError(f"--dir {text!r} is not HOST::GUEST", hint="for example --dir ./site::/")
    root = path_of(host)
    if not root.is_dir():
        raise HostError(f"--dir: {root} is not a directory", code="file-unreadable", hint="check the path")
    return "layer", guest, archive(root)


def archive(root: Path) -> memoryview:
    """The tree below ``root`` as a tar archive (links as links; other kinds of file left out). Raises HostError."""
    import io
    import tarfile

    buffer = io.BytesIO()
    try:
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            pending = [(root, "")]  # not by recursion: directories nest deeper than calls may
            while pending:
                pending += _add_directory(tar, buffer, *pending.pop())
    except OSError as error:
        raise HostError(
            f"--dir: {error.filename or root} cannot be read: {error.strerror}",
            code="file-unreadable",
            hint="check its permissions, or leave it out of the directory",
        ) from error
    return buffer.getbuffer()


def _add_directory(tar: tarfile.TarFile, buffer: IO[bytes], directory: Path, prefix: str) -> list[tuple[Path, str]]:
    """Add what is in ``directory``; the directories in it are still to be filled."""
    below = []
    for entry in sorted(os.scandir(directory), key=lambda item: item.name):
        info = tar.gettarinfo(entry.path, prefix + entry.name)
        if info is None or not (info.isdir() or info.issym() or info.isreg() or info.islnk()):
            continue
        _check_names(entry.path, info.name, info.linkname if info.issym() else "")
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        if info.isdir():
            below.append((Path(entry.path), prefix + entry.name + "/"))
        if info.isdir() or info.issym():
            tar.addfile(info)
        else:
            info.type, info.linkname = b"0", ""
            with open(entry.path, "rb") as file:
                info.size = os.fstat(file.fileno()).st_size
                _check_room(buffer.tell() + info.size)
                tar.addfile(info, file)
        _check_room(buffer.tell())
    return below


def _check_names(path: str, *names: str) -> None:
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        raise HostError(
            f"--dir: {path}: the name, or where the link leads, is not UTF-8, and WASI has no other names",
            code="file-name",
            hint="rename it, or leave it out of the directory",
        ) from None


def _check_room(size: int) -> None:
    if size > MAX_DIRECTORY_BYTES:
        raise HostError(
            f"--dir: the directory is larger than {MAX_DIRECTORY_BYTES} bytes",
            code="file-too-large",
            hint="give the workload fewer files",
        )
