"""The initial RAM disk: an archive in the kernel's "newc" format, of which there is one for a given content.

Entries come in the order of their names, directories included, with owner 0, time 0 and inode numbers in sequence, so
that nothing of the machine, the user or the clock is in it. Not compressed: the digest depends on no compressor, the
kernel reads it faster, and what is measured is what runs.

Source: Linux ``Documentation/driver-api/early-userspace/buffer-format.rst``.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

FILE_MAX_BYTES: Final = (1 << 32) - 1
"""Largest file that the format can hold (bytes)."""
TRAILER: Final = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Node:
    """A character device."""

    major: int
    minor: int
    mode: int = 0o600


@dataclass(frozen=True, slots=True)
class File:
    """A regular file, of mode 0555 if it is ``executable``, else 0444."""

    data: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Directory:
    """An empty directory to mount on; those that only hold something need not be named."""

    mode: int = 0o555


Entry = File | Node | Directory


def pack(entries: Mapping[str, Entry]) -> Iterator[bytes]:
    """The archive of ``entries``, by path without a leading slash, in pieces. ValueError for what cannot be one."""
    whole: dict[str, Entry] = {}
    for name, entry in entries.items():
        path = PurePosixPath(name)
        if name != str(path) or path.is_absolute() or not path.parts or ".." in path.parts or name == TRAILER:
            raise ValueError(f"{name!r} is no path for an archive")
        for parent in path.parents:
            if parent.parts:
                whole.setdefault(str(parent), Directory())
        whole[name] = entry
    for name in whole:
        for parent in PurePosixPath(name).parents:
            if parent.parts and not isinstance(whole[str(parent)], Directory):
                raise ValueError(f"{parent} is no directory, and {name} is in it")
    for number, name in enumerate(sorted(whole, key=str.encode), 1):
        yield from _member(number, name, whole[name])
    yield from _raw(0, TRAILER, mode=0, links=1)


def _member(number: int, name: str, entry: Entry) -> Iterator[bytes]:
    if isinstance(entry, File):
        yield from _raw(number, name, mode=stat.S_IFREG | (0o555 if entry.executable else 0o444), data=entry.data)
    elif isinstance(entry, Node):
        yield from _raw(number, name, mode=stat.S_IFCHR | entry.mode, device=(entry.major, entry.minor))
    else:
        yield from _raw(number, name, mode=stat.S_IFDIR | entry.mode, links=2)


def _raw(
    number: int, name: str, *, mode: int, data: bytes = b"", links: int = 1, device: tuple[int, int] = (0, 0)
) -> Iterator[bytes]:
    if len(data) > FILE_MAX_BYTES:
        raise ValueError(f"{name} has {len(data)} bytes, more than the format can hold")
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(encoded), 0)
    yield _padded(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
    if data:
        yield data
        yield bytes(-len(data) % 4)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
