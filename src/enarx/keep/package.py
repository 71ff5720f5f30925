"""A package as a Keep opens it: its config and module, and its files in the workload's file system.

The archive is hostile until ``archive.entries`` has accepted all of it, and its config decides the limits by which the
rest is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from enarx.archive import CONFIG, FILES, MODULE, Entry, entries
from enarx.config import MAX_CONFIG_BYTES
from enarx.errors import ConfigError, WorkloadError
from enarx.keep.wasi.abi import WasiError
from enarx.keep.wasi.tree import Directory, FileSystem

GUEST_PATH: Final = "/"
"""Where the workload finds the package's ``files/``."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in an archive: ``config`` is None when there is none; ``files`` are the entries below ``files/``."""

    archive: bytearray = field(repr=False)
    config: bytes | None
    module: memoryview
    files: Sequence[Entry] | None


def contents(archive: bytearray) -> Contents:
    """Take an archive apart. MalformedError (``package-...``), ConfigError (``config-limit``)."""
    view = memoryview(archive)
    config, module, files = None, view[:0], None
    for entry in entries(archive):
        content = view[entry.offset : entry.offset + entry.size]
        if entry.path == CONFIG:
            if entry.size > MAX_CONFIG_BYTES:
                raise ConfigError(
                    f"Enarx.toml has {entry.size} bytes, more than {MAX_CONFIG_BYTES}",
                    code="config-limit",
                    hint="build the package with a smaller one",
                )
            config = bytes(content)
        elif entry.path == MODULE:
            module = content
        elif entry.path == FILES:
            files = list[Entry]()
        elif files is not None:
            files.append(entry)
    return Contents(archive, config, module, files)


def unpack(package: Contents, fs: FileSystem, root: Directory) -> None:
    """Put the files of ``package`` below ``root``, all of time 0. Raises LimitError or WorkloadError."""
    directories = {FILES: root}
    view = memoryview(package.archive)
    try:
        for entry in package.files or ():
            parent, _, name = entry.path.rpartition("/")
            if entry.directory:
                directories[entry.path] = fs.create_directory(directories[parent], name)
            else:
                fs.charge(entry.size)  # before it is copied
                fs.charge(-entry.size)
                fs.create_file(directories[parent], name, bytes(view[entry.offset : entry.offset + entry.size]))
    except WasiError as error:
        raise WorkloadError(
            f"the package's files cannot be unpacked: {error}", code="package-files", hint="build the package anew"
        ) from error
    for directory in directories.values():
        for node in (directory, *directory.entries.values()):
            node.atim = node.mtim = node.ctim = 0
