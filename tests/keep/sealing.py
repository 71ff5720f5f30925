"""Seals packages for tests, from the text of the format alone: the Keep opens what other code than ours has made."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY = bytes(range(200, 232))
SALT = bytes(range(32))
CHUNK = 4096


def derived(key: bytes, info: bytes, salt: bytes = SALT, size: int = 32) -> bytes:
    return HKDF(SHA256(), size, salt, info).derive(key)


def head_of(length: int, key: bytes = KEY, *, salt: bytes = SALT, chunk: int = CHUNK) -> bytes:
    key_id = derived(key, b"enarx package key id v1", salt)
    parts = [b"ENARXPKG", b"\1\1\0\0", chunk.to_bytes(4, "big"), length.to_bytes(8, "big"), key_id, salt, bytes(8)]
    return b"".join(parts)


def chunks_of(plain: bytes, key: bytes = KEY, *, salt: bytes = SALT, chunk: int = CHUNK) -> list[bytes]:
    head = head_of(len(plain), key, salt=salt, chunk=chunk)
    cipher = AESGCM(derived(key, b"enarx package content v1" + head, salt))
    pieces = [plain[start : start + chunk] for start in range(0, len(plain), chunk)] or [b""]
    last = len(pieces) - 1
    return [
        cipher.encrypt(number.to_bytes(11, "big") + bytes([number == last]), piece, None)
        for number, piece in enumerate(pieces)
    ]


def seal(plain: bytes, key: bytes = KEY, *, salt: bytes = SALT, chunk: int = CHUNK) -> bytes:
    """``plain`` as an encrypted package."""
    return head_of(len(plain), key, salt=salt, chunk=chunk) + b"".join(chunks_of(plain, key, salt=salt, chunk=chunk))
