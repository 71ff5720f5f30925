"""Coverage-guided fuzzing of packages: archives, encrypted packages, and what is read of their modules.

Run with ``python -m fuzz.package CORPUS -runs=N``, or all targets with ``make fuzz``; see ``fuzz.harness``. An archive
that is read must be the one encoding of what was found in it; a sealed one must be exactly what was sealed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import atheris

with atheris.instrument_imports(include=["enarx"]):
    from enarx import archive, envelope
    from enarx.tenant.package.outline import outline
    from enarx.tenant.package.producers import FIELDS, producers
    from enarx.tenant.package.seal import seal, unseal

from fuzz.harness import Reader, Seed, expect, fuzz
from tests import archives

KEY = bytes(32)
CHUNK = envelope.MIN_CHUNK_BYTES
PARTS: list[archives.Part] = [
    ("Enarx.toml", b"args = []\n"),
    ("main.wasm", archives.MODULE),
    ("files", None),
    ("files/d", None),
    ("files/d/e", b"content"),
]
PLAIN = archives.pack(PARTS)
SEALED = b"".join(seal([PLAIN], len(PLAIN), KEY, salt=bytes(32), chunk_bytes=CHUNK))


def read_archive(data: bytes) -> None:
    found: list[archives.Part] = []
    for entry in archive.entries(data):
        expect(0 <= entry.offset <= entry.offset + entry.size <= len(data))
        found.append((entry.path, None if entry.directory else data[entry.offset : entry.offset + entry.size]))
    expect(archives.pack(found) == data)


def read_header(data: bytes) -> None:
    """Inputs of the fields that vary, with a checksum that fits, so that the fuzzer need not find it."""
    block = archives.header(data[:100], kind=data[100:101] or b"0", size=data[101:113], prefix=data[113:268])
    read_archive(archives.entry("main.wasm", b"") + block + data[268:] + archive.END)


def read_envelope(data: bytes) -> None:
    header = envelope.parse_header(data)
    expect(header.encode() == data[: envelope.HEADER_BYTES])
    offset, size = header.chunk(header.chunks - 1)
    expect(offset + size == header.total_bytes)


def read_sealed(data: bytes) -> None:
    expect(b"".join(unseal(io.BytesIO(data), KEY)) == PLAIN)


def read_module(data: bytes) -> None:
    module = archives.MODULE + data
    expect(all(field in FIELDS for field, _ in producers(module)))
    expect(outline(outline(module)) == outline(module))


READERS: tuple[Reader, ...] = (read_archive, read_header, read_envelope, read_sealed, read_module)


def seeds() -> Iterable[Seed]:
    """Well-formed inputs of every kind."""
    return (
        (read_archive, PLAIN),
        (read_header, b"files/".ljust(100, b"\0") + b"5" + b"00000000000\0"),
        (read_header, b"files".ljust(100, b"\0") + b"0" + b"00000000000\0"),
        (read_envelope, SEALED),
        (read_sealed, SEALED),
        (read_module, b"\0\x1b\x09producers\1\x08language\1\4Rust\0\x0a\4\1\2\0\x0b"),
    )


if __name__ == "__main__":
    fuzz(READERS, seeds)
