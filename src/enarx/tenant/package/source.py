"""What a package is made of: a directory with ``main.wasm``, ``Enarx.toml`` and ``files/``, or one module."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enarx import archive
from enarx.archive import Entry
from enarx.config import MAX_CONFIG_BYTES, Config, parse
from enarx.errors import MalformedError, UsageError, WorkloadError

MAX_MODULE_BYTES: Final = 1 << 30
"""Largest module that is read at all: the greatest value of the limit ``module``."""
PIECE_BYTES: Final = 1 << 20
"""How much of a file is in memory at a time."""
_TOP: Final = (archive.CONFIG, archive.MODULE, archive.FILES)
_KINDS: Final = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A workload as it lies on disk. ``config_bytes`` is None without an ``Enarx.toml``, which `config` stands for.

    ``files`` are ``files`` and what is below it, sorted as in the archive; their contents are still on disk.
    """

    module: bytes
    config_bytes: bytes | None
    config: Config
    files: tuple[tuple[Path, Entry], ...]

    @property
    def archive_bytes(self) -> int:
        """Length of the archive."""
        sizes = [len(self.module), *(entry.size for _, entry in self.files)]
        if self.config_bytes is not None:
            sizes.append(len(self.config_bytes))
        return sum(archive.BLOCK + size + len(archive.padding(size)) for size in sizes) + len(archive.END)

    def entries(self) -> Iterator[Entry]:
        """The entries below ``files/``."""
        return (entry for _, entry in self.files)

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The archive. UsageError (``file-changed``, ``file-unreadable``) when a file is no longer what it was."""
        if self.config_bytes is not None:
            yield from _whole(archive.CONFIG, self.config_bytes)
        yield from _whole(archive.MODULE, self.module)
        for place, entry in self.files:
            yield archive.header(entry.path, entry.size, directory=entry.directory)
            if not entry.directory:
                yield from _content(place, entry.size)
                yield archive.padding(entry.size)
        yield archive.END


def read_source(place: Path) -> Source:
    """Read a directory, or a module, which becomes a package without configuration and files.

    ConfigError for a wrong ``Enarx.toml``; UsageError for what cannot be read; WorkloadError (``package-...``) for what
    cannot be in a package.
    """
    try:
        is_directory = stat.S_ISDIR(place.stat().st_mode)
    except (OSError, ValueError) as error:
        raise _unreadable(place, error) from error
    if not is_directory:
        return Source(_read(place, MAX_MODULE_BYTES, follow=True), None, Config.default(), ())
    found = {one.name: one for one in _listed(place)}
    for name, one in found.items():
        if name not in _TOP:
            raise WorkloadError(
                f"Invalid file name: {_shown(one.path)}",
                code="package-file-name",
                hint=f"a package has {', '.join(_TOP[:2])} and {archive.FILES}/ with whatever the workload reads",
            )
        _check_kind(one, directory=name == archive.FILES)
    if archive.MODULE not in found:
        raise WorkloadError(
            f"directory does not contain `{archive.MODULE}`",
            code="package-no-module",
            hint=f"give {place} a {archive.MODULE}, or name a module instead of a directory",
        )
    config_bytes, config = None, Config.default()
    if archive.CONFIG in found:
        config_bytes = _read(place / archive.CONFIG, MAX_CONFIG_BYTES)
        config = parse(config_bytes, source=str(place / archive.CONFIG))
    files = tuple(_files(place / archive.FILES)) if archive.FILES in found else ()
    return Source(_read(place / archive.MODULE, MAX_MODULE_BYTES), config_bytes, config, files)


def _files(root: Path) -> list[tuple[Path, Entry]]:
    found = [(root, Entry(archive.FILES, directory=True, offset=0, size=0))]
    pending = [(root, archive.FILES)]  # not by recursion: directories nest deeper than calls may
    while pending:
        directory, prefix = pending.pop()
        for one in _listed(directory):
            path = f"{prefix}/{one.name}"
            is_directory = _check_kind(one)
            size = 0 if is_directory else one.stat(follow_symlinks=False).st_size
            _check_entry(one, path, size, directory=is_directory)
            found.append((Path(one.path), Entry(path, is_directory, 0, size)))
            if len(found) >= archive.MAX_ENTRIES - len(_TOP):
                raise _unfit(one, "is one file too many", f"a package has at most {archive.MAX_ENTRIES} entries")
            if is_directory:
                pending.append((Path(one.path), path))
    return sorted(found, key=lambda item: archive.sort_key(item[1].path))


def _listed(directory: Path) -> list[os.DirEntry[str]]:
    """What is in a directory, in an order that depends on names alone: the first error is the same everywhere."""
    try:
        with os.scandir(directory) as found:
            return sorted(found, key=lambda one: os.fsencode(one.name))
    except OSError as error:
        raise _unreadable(directory, error) from error


def _check_kind(one: os.DirEntry[str], *, directory: bool | None = None) -> bool:
    """Whether it is a directory; WorkloadError for what is neither that nor a file, or not what it must be."""
    try:
        mode = one.stat(follow_symlinks=False).st_mode
    except OSError as error:
        raise _unreadable(Path(one.path), error) from error
    kind = _KINDS.get(stat.S_IFMT(mode))
    if kind == "a link":
        hint = "put what it leads to in its place: cp --dereference"
        raise _unfit(one, "is a link, and a package has none", hint)
    if kind is not None:
        raise _unfit(one, f"is {kind}", "a package has regular files and directories")
    found = stat.S_ISDIR(mode)
    if directory is not None and found is not directory:
        raise _unfit(
            one, f"is {'a directory' if found else 'a file'}", f"{archive.FILES}/ is the directory of a package"
        )
    return found


def _check_entry(one: os.DirEntry[str], path: str, size: int, *, directory: bool) -> None:
    try:
        archive.header(path, size, directory=directory)
    except MalformedError as error:
        raise _unfit(one, "cannot be in a package", error.hint) from error


def _whole(path: str, content: bytes) -> Iterator[bytes | memoryview]:
    yield archive.header(path, len(content))
    for begin in range(0, len(content), PIECE_BYTES):
        yield memoryview(content)[begin : begin + PIECE_BYTES]
    yield archive.padding(len(content))


def _content(place: Path, size: int) -> Iterator[bytes]:
    """Exactly ``size`` bytes of a regular file."""
    left = size
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            while regular and left and (piece := file.read(min(left, PIECE_BYTES))):
                left -= len(piece)
                yield piece
            longer = bool(regular and file.read(1))
    except OSError as error:
        raise _unreadable(place, error) from error
    if left or longer or not regular:
        raise UsageError(
            f"{_shown(place)} changed while it was read",
            code="file-changed",
            hint="build again when nothing writes to it",
        )


def _read(place: Path, limit: int, *, follow: bool = False) -> bytes:
    """The whole of a regular file of at most ``limit`` bytes."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
        with os.fdopen(descriptor, "rb") as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read(limit + 1) if regular else b""
    except (OSError, ValueError) as error:
        raise _unreadable(place, error) from error
    if not regular:
        raise UsageError(f"{_shown(place)} is not a file", code="file-unreadable", hint="name a module or a directory")
    if len(data) > limit:
        raise UsageError(
            f"{_shown(place)} is larger than {limit} bytes", code="file-size", hint="this is not the file you mean"
        )
    return data


def _unfit(one: os.DirEntry[str], what: str, hint: str) -> WorkloadError:
    return WorkloadError(f"{_shown(one.path)} {what}", code="package-file", hint=hint)


def _unreadable(place: Path, error: Exception) -> UsageError:
    cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UsageError(
        f"cannot read {_shown(place)}: {cause}", code="file-unreadable", hint="check the path and its permissions"
    )


def _shown(place: Path | str) -> str:
    """A path for a message: names on disk may hold anything."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(place))
