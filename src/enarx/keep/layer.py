"""Files that come with the workload, as a tar archive, unpacked into the in-memory file system.

The archive is hostile: names are checked part by part, only directories, regular files and symbolic links are
taken, nothing may appear twice, and every byte counts against the file system's limit before it is read.
"""

from __future__ import annotations

import io
import tarfile
from typing import Final

from enarx.errors import WorkloadError
from enarx.keep.wasi.abi import MAX_NAME, MAX_PATH, WasiError
from enarx.keep.wasi.tree import Directory, FileSystem

MAX_ENTRIES: Final = 1_000_000
"""Most entries of one archive."""
NANOSECONDS: Final = 1_000_000_000


def unpack(archive: bytes | bytearray, fs: FileSystem, root: Directory) -> None:
    """Unpack ``archive`` (tar, uncompressed) below ``root``. Raises WorkloadError, or LimitError past the limit."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for count, member in enumerate(tar):
                if count >= MAX_ENTRIES:
                    raise _bad("it has too many entries")
                _add(tar, member, fs, root)
    except (tarfile.TarError, ValueError, EOFError, OverflowError, WasiError) as error:
        raise _bad(str(error)) from error


def _add(tar: tarfile.TarFile, member: tarfile.TarInfo, fs: FileSystem, root: Directory) -> None:
    parts = member.name.split("/")
    if len(member.name.encode()) > MAX_PATH or any(not _usable(part) for part in parts):
        raise _bad(f"entry {member.name!r} has a path that is not allowed")
    parent = root
    for part in parts[:-1]:
        child = parent.entries.get(part)
        parent = child if isinstance(child, Directory) else _no_parent(member)
    name = parts[-1]
    if name in parent.entries:
        raise _bad(f"entry {member.name!r} appears twice")
    if member.isdir():
        fs.create_directory(parent, name)
    elif member.issym():
        if not 0 < len(member.linkname.encode()) <= MAX_PATH:
            raise _bad(f"entry {member.name!r} is a link to nothing")
        fs.create_symlink(parent, name, member.linkname)
    elif member.isreg() and not member.issparse():
        fs.charge(member.size)  # before reading, so that a size that lies costs nothing
        fs.charge(-member.size)
        content = tar.extractfile(member)
        data = content.read(member.size) if content else b""
        if len(data) != member.size:
            raise _bad(f"entry {member.name!r} is cut short")
        fs.create_file(parent, name, data)
    else:
        raise _bad(f"entry {member.name!r} is neither a file, nor a directory, nor a symbolic link")
    node = parent.entries[name]
    node.atim = node.mtim = node.ctim = max(0, min(int(member.mtime), (1 << 63) // NANOSECONDS)) * NANOSECONDS


def _usable(part: str) -> bool:
    return part not in ("", ".", "..") and "\0" not in part and len(part.encode()) <= MAX_NAME


def _no_parent(member: tarfile.TarInfo) -> Directory:
    raise _bad(f"entry {member.name!r} comes before its directory")


def _bad(reason: str) -> WorkloadError:
    return WorkloadError(
        f"the workload's files cannot be unpacked: {reason}",
        code="layer-malformed",
        hint="the archive must hold files, directories and symbolic links with plain relative names",
    )
