"""Package archives for tests, and hostile ones: headers of any kind, with a checksum that fits."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable

from enarx import archive

Part = tuple[str, bytes | None]
"""A path and its content; None for a directory."""

MODULE = b"\0asm\1\0\0\0"


def pack(parts: Iterable[Part], *, end: bytes = archive.END) -> bytes:
    """The parts as they come, right or wrong, in canonical entries."""
    blocks = [entry(path, content) for path, content in parts]
    return b"".join(blocks) + end


def entry(path: str, content: bytes | None) -> bytes:
    if content is None:
        return archive.header(path, 0, directory=True)
    return archive.header(path, len(content)) + content + archive.padding(len(content))


def header(name: bytes, *, size: bytes = b"%011o\0" % 0, kind: bytes = b"0", **fields: bytes) -> bytes:
    """Any header at all. ``fields``: mode, uid, gid, mtime, linkname, magic, uname, gname, devmajor, prefix, rest."""
    layout = (
        ("name", 100, name), ("mode", 8, b"0000755\0" if kind == b"5" else b"0000644\0"), ("uid", 8, b"0000000\0"),
        ("gid", 8, b"0000000\0"), ("size", 12, size), ("mtime", 12, b"%011o\0" % 0), ("chksum", 8, b" " * 8),
        ("type", 1, kind), ("linkname", 100, b""), ("magic", 8, b"ustar\x0000"), ("uname", 32, b""),
        ("gname", 32, b""), ("devmajor", 8, b""), ("devminor", 8, b""), ("prefix", 155, b""), ("rest", 12, b""),
    )  # fmt: skip
    assert not fields.keys() - {field for field, _, _ in layout}
    block = b"".join(fields.get(field, value).ljust(width, b"\0") for field, width, value in layout)
    assert len(block) == archive.BLOCK
    return seal(block)


def seal(block: bytes) -> bytes:
    """The header with the checksum that fits."""
    total = sum(block[:148]) + sum(block[156:]) + 8 * 0x20
    return block[:148] + b"%06o\0 " % total + block[156:]


def info(path: str, content: bytes | None) -> tarfile.TarInfo:
    """The entry for the standard library's writer."""
    found = tarfile.TarInfo(path)
    found.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
    found.mode = 0o755 if content is None else 0o644
    found.size = len(content or b"")
    return found
