"""The package archive, ``application/vnd.enarx.package.v1+tar``: a POSIX ustar archive with one encoding per content.

Entries, in this order: ``Enarx.toml`` (may be absent), ``main.wasm``, and, when the workload has a file system of its
own, ``files/`` with everything below it, sorted by the bytes of the parts of the path. So a directory stands before
what is in it, each has an entry, and nothing appears twice. Each entry is a header of one block and, for a regular
file, its content, padded with zeros to whole blocks. Two blocks of zeros end the archive; nothing follows them.

Of the fields of a header (POSIX.1-2017, pax, "ustar Interchange Format") only these vary:

========================  ==============================================================================================
``name``, ``prefix``      the path in UTF-8; the name ends in ``/`` for a directory; the prefix is as short as can be
``size``                  bytes of content in 11 octal digits, so less than 8 GiB; 0 for a directory
``mode``, ``typeflag``    0644 and ``0`` for a regular file, 0755 and ``5`` for a directory; there is nothing else
``chksum``                the sum of the header's bytes
========================  ==============================================================================================

All others are constant: no owners, times, links, devices, nor extensions of pax or GNU. The reader makes each header
anew from what it has read and refuses one that differs, so that tools which read ustar more freely cannot see another
content. Nothing is ever decompressed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from enarx.errors import MalformedError

MEDIA_TYPE: Final = "application/vnd.enarx.package.v1+tar"
CONFIG: Final = "Enarx.toml"
MODULE: Final = "main.wasm"
FILES: Final = "files"

BLOCK: Final = 512
"""Bytes of a header, and what contents are padded to."""
END: Final = bytes(2 * BLOCK)
"""What an archive ends with."""
MAX_BYTES: Final = 4 << 30
"""Largest package that a Keep is given, encrypted or not."""
MAX_ENTRIES: Final = 1_000_000
"""Most entries of an archive (count)."""
MAX_SIZE_BYTES: Final = 8**11 - 1
"""Largest content of an entry: what 11 octal digits can say."""
MAX_NAME_BYTES: Final = 100
MAX_PREFIX_BYTES: Final = 155

_NAME: Final = slice(0, MAX_NAME_BYTES)
_SIZE: Final = slice(124, 135)
_CHECKSUM: Final = slice(148, 156)
_TYPE: Final = slice(156, 157)
_MAGIC: Final = slice(257, 265)
_PREFIX: Final = slice(345, 345 + MAX_PREFIX_BYTES)
_USTAR: Final = b"ustar\x0000"
_TYPES: Final = {b"0": False, b"5": True}
"""Whether an entry of this type is a directory."""


class Archive(Protocol):
    """Bytes in memory, or whatever gives slices of bytes as they do, such as a view of a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> bytes | bytearray | memoryview: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its path without a final slash, and where its content is, ``archive[offset : offset + size]``."""

    path: str
    directory: bool
    offset: int
    size: int


def entries(archive: Archive) -> Iterator[Entry]:
    """The entries in their order. No content is copied, or looked at.

    MalformedError (``package-...``) for anything but the one encoding. **It can come late:** an archive is accepted
    when the iteration has ended, not before.
    """
    order = _Order()
    at = 0
    while True:
        block = bytes(archive[at : at + BLOCK])
        if len(block) < BLOCK:
            raise _bad("truncated", f"it ends within the block at byte {at}") if at else _no_header(at)
        if at and not any(block):
            break
        entry = _entry(block, at)
        order.check(entry)
        end = entry.offset + entry.size
        at = end + -end % BLOCK
        if at + len(END) > len(archive):
            raise _bad(
                "truncated", f"the content of {_shown(entry.path)} does not fit: {entry.size} bytes are promised"
            )
        if any(archive[end:at]):
            raise _bad("padding", f"the padding after {_shown(entry.path)} is not zero")
        yield entry
    order.finish()
    if len(archive) > at + len(END) or any(archive[at:]):
        raise _bad("trailing", f"there is something after the end of the archive at byte {at}")


def header(path: str, size: int, *, directory: bool = False) -> bytes:
    """The header of an entry. MalformedError (``package-path``, ``package-size``) when there is none."""
    prefix, name = _split(path, directory)
    if not 0 <= size <= (0 if directory else MAX_SIZE_BYTES):
        raise _bad("size", f"{_shown(path)} cannot have {size} bytes")
    block = bytearray(BLOCK)
    block[: len(name)] = name
    block[100:124] = b"0000755\x000000000\x000000000\0" if directory else b"0000644\x000000000\x000000000\0"
    block[124:148] = b"%011o\x0000000000000\0" % size
    block[_CHECKSUM] = b" " * 8
    block[_TYPE] = b"5" if directory else b"0"
    block[_MAGIC] = _USTAR
    block[345 : 345 + len(prefix)] = prefix
    block[_CHECKSUM] = b"%06o\0 " % sum(block)
    return bytes(block)


def has_magic(head: bytes) -> bool:
    """Whether ``head`` is the first block of a ustar archive as packages are."""
    return head[_MAGIC] == _USTAR


def padding(size: int) -> bytes:
    """What follows a content of ``size`` bytes."""
    return bytes(-size % BLOCK)


def sort_key(path: str) -> list[bytes]:
    """What the entries of ``files/`` are sorted by."""
    return path.encode().split(b"/")


def _split(path: str, directory: bool) -> tuple[bytes, bytes]:
    """Prefix and name of the header, the prefix as short as can be."""
    try:
        parts = sort_key(path)
    except UnicodeEncodeError as error:
        raise _bad("path", f"the path {_shown(path)} has no UTF-8 form") from error
    if any(part in (b"", b".", b"..") or b"\0" in part for part in parts):
        hint = "paths are relative, without `.`, `..`, NUL or a doubled slash"
        raise _bad("path", f"the path {_shown(path)} is not allowed", hint)
    if directory:
        parts[-1] += b"/"
    for count in range(len(parts)):
        prefix, name = b"/".join(parts[:count]), b"/".join(parts[count:])
        if len(name) <= MAX_NAME_BYTES:
            if len(prefix) <= MAX_PREFIX_BYTES:
                return prefix, name
            break
    hint = f"a name has at most {MAX_NAME_BYTES} bytes, the directories before it {MAX_PREFIX_BYTES}: shorten them"
    raise _bad("path", f"the path {_shown(path)} is too long", hint)


def _entry(block: bytes, at: int) -> Entry:
    if not has_magic(block):
        raise _no_header(at)
    name, prefix = block[_NAME].rstrip(b"\0"), block[_PREFIX].rstrip(b"\0")
    try:
        path = (prefix + b"/" + name if prefix else name).decode()
    except UnicodeDecodeError as error:
        raise _bad("path", f"the path of the entry at byte {at} is not UTF-8") from error
    directory = _TYPES.get(block[_TYPE])
    if directory is None:
        hint = "links, devices and extended headers have no place in a package"
        raise _bad("entry", f"{_shown(path)} is neither a regular file nor a directory", hint)
    path = path.removesuffix("/") if directory else path
    digits = block[_SIZE]
    if not digits.isdigit() or block[135] != 0 or b"8" in digits or b"9" in digits:
        raise _bad("size", f"the size of {_shown(path)} is not 11 octal digits")
    size = int(digits, 8)
    if header(path, size, directory=directory) != block:
        raise _bad("not-canonical", f"the header of {_shown(path)} is not written in the one way that packages have")
    return Entry(path, directory, at + BLOCK, size)


class _Order:
    """Checks that entries come in the one order, and that there is a module."""

    def __init__(self) -> None:
        self._top = 0  # how many of the names at the top have gone by
        self._last: list[bytes] = []  # the path of the last entry below files/
        self._directories: list[list[bytes]] = []  # those that the last entry is in, or is
        self._count = 0
        self._module = False

    def check(self, entry: Entry) -> None:
        self._count += 1
        if self._count > MAX_ENTRIES:
            raise _bad("too-many", f"there are more than {MAX_ENTRIES} entries")
        parts = sort_key(entry.path)
        if len(parts) == 1:
            self._check_top(entry)
        elif parts <= self._last:
            duplicate = parts == self._last
            what = "appears twice" if duplicate else "is not where its name sorts"
            raise _bad("duplicate" if duplicate else "order", f"{_shown(entry.path)} {what}")
        while self._directories and self._directories[-1] != parts[: len(self._directories[-1])]:
            self._directories.pop()
        if len(parts) > 1 and (not self._directories or self._directories[-1] != parts[:-1]):
            raise _bad("order", f"{_shown(entry.path)} is in no directory that has an entry")
        if entry.directory:
            self._directories.append(parts)
        self._last = parts

    def _check_top(self, entry: Entry) -> None:
        names = (CONFIG, MODULE, FILES)
        if entry.path not in names or entry.directory != (entry.path == FILES):
            hint = f"a package holds {CONFIG}, {MODULE} and {FILES}/, and nothing beside them"
            raise _bad("name", f"{_shown(entry.path)} has no place in a package", hint)
        place = names.index(entry.path)
        if place < self._top:
            twice = place == self._top - 1
            raise _bad(
                "duplicate" if twice else "order", f"{entry.path} {'appears twice' if twice else 'comes too late'}"
            )
        self._top = place + 1
        self._module = self._module or entry.path == MODULE

    def finish(self) -> None:
        if not self._module:
            raise _bad("no-module", f"there is no {MODULE}")


def _no_header(at: int) -> MalformedError:
    hint = "a package is a ustar archive that is not compressed, as `enarx package build` writes it"
    return _bad("not-archive", f"there is no ustar header at byte {at}", hint)


def _shown(path: str) -> str:
    """A foreign path for a message: short, and without control characters for the terminal."""
    return ascii(path if len(path) <= 120 else f"{path[:120]}...")


def _bad(
    code: str, what: str, hint: str = "make it anew with `enarx package build`, and move it as it is"
) -> MalformedError:
    return MalformedError(f"this is not a package: {what}", code=f"package-{code}", hint=hint)
