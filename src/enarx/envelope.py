"""The encrypted package, ``application/vnd.enarx.package.v1.encrypted``: its format, nonces and bounds.

A header of 96 bytes, all numbers big-endian, and then chunks::

    magic            8   ENARXPKG
    version          1   1
    cipher           1   1: AES-256-GCM
    reserved         2   0
    chunk size       4   plaintext bytes of a chunk: a power of two from 4 KiB to 16 MiB
    length           8   plaintext bytes of all chunks
    key id          32
    salt            32   random
    reserved         8   0

Every chunk but the last holds a full chunk of plaintext, the last what is left of it; a plaintext of no bytes is one
empty chunk. A chunk is its ciphertext and the tag of 16 bytes. So the length of the whole follows from the header.

From the package key, 32 random bytes that are made for one package, HKDF-SHA256 (RFC 5869) derives with the salt:

- the key id, info `KEY_ID_INFO`. It names the key and commits to it, which AES-GCM does not do by itself: no package
  can be made that two keys open.
- the content key, info `Header.content_info`: the header is a part of it, so that one changed bit there opens nothing.
- `CACHE_INFO` is for the Keep, which seals what it compiled.

The nonce of a chunk is its number and whether it is the last: STREAM of Hoang, Reyhanitabar, Rogaway and Vizár, "Online
Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015. A chunk that is moved, repeated, left out, taken
from another package or made the last is refused. There is no associated data.

Nothing here encrypts or decrypts: the tenant seals and the Keep opens, and both calculate by this module.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from enarx.errors import MalformedError

MEDIA_TYPE: Final = "application/vnd.enarx.package.v1.encrypted"
MAGIC: Final = b"ENARXPKG"
VERSION: Final = 1
AES_256_GCM: Final = 1
HEADER_BYTES: Final = 96
KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 32
SALT_BYTES: Final = 32
TAG_BYTES: Final = 16
NONCE_BYTES: Final = 12
MIN_CHUNK_BYTES: Final = 4 << 10
MAX_CHUNK_BYTES: Final = 16 << 20
DEFAULT_CHUNK_BYTES: Final = 1 << 20
MAX_LENGTH_BYTES: Final = 16 << 30
"""Largest plaintext: room for the largest module, and the largest file system made of small files."""
CACHE_BYTES: Final = 64
"""What is derived with `CACHE_INFO`."""

KEY_ID_INFO: Final = b"enarx package key id v1"
CONTENT_INFO: Final = b"enarx package content v1"
CACHE_INFO: Final = b"enarx package code cache v1"

_LAYOUT: Final = struct.Struct(">8sBBHIQ32s32s8s")
_RESERVED: Final = bytes(8)


@dataclass(frozen=True, slots=True)
class Header:
    """What an encrypted package begins with. One that breaks a bound raises MalformedError (``package-...``).

    ``chunk_bytes`` and ``length`` count plaintext. ``key_id`` and ``salt`` are not secret.
    """

    chunk_bytes: int
    length: int
    key_id: bytes
    salt: bytes

    def __post_init__(self) -> None:
        size = self.chunk_bytes
        if not MIN_CHUNK_BYTES <= size <= MAX_CHUNK_BYTES or size & (size - 1):
            raise _bad("header", f"its chunks of {size} bytes are not a power of two from 4 KiB to 16 MiB")
        if not 0 <= self.length <= MAX_LENGTH_BYTES:
            raise _bad("size", f"its content of {self.length} bytes is more than {MAX_LENGTH_BYTES}")
        if len(self.key_id) != KEY_ID_BYTES or len(self.salt) != SALT_BYTES:
            raise _bad("header", "its key id or its salt is not 32 bytes")

    def encode(self) -> bytes:
        """The `HEADER_BYTES` bytes."""
        return _LAYOUT.pack(
            MAGIC, VERSION, AES_256_GCM, 0, self.chunk_bytes, self.length, self.key_id, self.salt, _RESERVED
        )

    def content_info(self) -> bytes:
        """The ``info`` that the content key is derived with."""
        return CONTENT_INFO + self.encode()

    @property
    def chunks(self) -> int:
        """How many chunks there are, at least one."""
        return max(1, -(-self.length // self.chunk_bytes))

    @property
    def total_bytes(self) -> int:
        """Bytes of the whole encrypted package."""
        return HEADER_BYTES + self.length + self.chunks * TAG_BYTES

    def chunk(self, index: int) -> tuple[int, int]:
        """Where the sealed chunk ``index`` is in the encrypted package: offset and bytes, its tag included.

        IndexError for a number that is none.
        """
        if not 0 <= index < self.chunks:
            raise IndexError(index)
        before = index * self.chunk_bytes
        return HEADER_BYTES + before + index * TAG_BYTES, min(self.chunk_bytes, self.length - before) + TAG_BYTES

    def is_final(self, index: int) -> bool:
        """Whether chunk ``index`` is the last."""
        return index == self.chunks - 1

    def check_total(self, size: int) -> None:
        """Raise MalformedError (``package-truncated``, ``package-trailing``) unless ``size`` is `total_bytes`."""
        if size < self.total_bytes:
            raise _bad("truncated", f"it has {size} bytes of the {self.total_bytes} that its header promises")
        if size > self.total_bytes:
            raise _bad("trailing", f"it has {size} bytes, more than the {self.total_bytes} that its header promises")


def is_encrypted(data: bytes | bytearray | memoryview) -> bool:
    """Whether ``data`` begins as an encrypted package does; no archive and no module does."""
    return bytes(data[: len(MAGIC)]) == MAGIC


def parse_header(data: bytes | bytearray | memoryview) -> Header:
    """The header at the beginning of ``data``; what follows is not looked at. MalformedError (``package-...``)."""
    head = bytes(data[:HEADER_BYTES])
    if not is_encrypted(head):
        raise _bad("not-encrypted", "it does not begin as one")
    if len(head) < HEADER_BYTES:
        raise _bad("truncated", f"it has {len(head)} bytes and no whole header")
    _, version, cipher, reserved, chunk_bytes, length, key_id, salt, rest = _LAYOUT.unpack(head)
    if version != VERSION or cipher != AES_256_GCM:
        hint = "it was made by a newer Enarx; use that one, or make the package anew"
        raise _bad(
            "version", f"its version is {version} and its cipher {cipher}, not {VERSION} and {AES_256_GCM}", hint
        )
    if reserved or rest != _RESERVED:
        raise _bad("header", "its reserved bytes are not zero")
    return Header(chunk_bytes, length, key_id, salt)


def nonce(index: int, final: bool) -> bytes:
    """The nonce of chunk ``index``: 11 bytes of its number and one that is 1 for the last chunk, else 0."""
    return index.to_bytes(NONCE_BYTES - 1, "big") + (b"\1" if final else b"\0")


def _bad(code: str, what: str, hint: str = "") -> MalformedError:
    return MalformedError(
        f"this is not an encrypted package: {what}",
        code=f"package-{code}",
        hint=hint or "get it again from where it was published, and compare its digest",
    )
