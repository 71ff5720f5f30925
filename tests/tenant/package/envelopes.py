"""A second implementation of encrypted packages, as the text of the format has it, by other means.

HKDF is RFC 5869 over `hmac`, and the cipher is AES-GCM as a mode of `cryptography`'s low-level interface.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """32 bytes: one block of HKDF-SHA256."""
    extracted = hmac.digest(salt, key, hashlib.sha256)
    return hmac.digest(extracted, info + b"\1", hashlib.sha256)


def seal(plaintext: bytes, key: bytes, salt: bytes, chunk: int) -> bytes:
    key_id = hkdf(key, salt, b"enarx package key id v1")
    header = (
        b"ENARXPKG\1\1\0\0" + chunk.to_bytes(4, "big") + len(plaintext).to_bytes(8, "big") + key_id + salt + bytes(8)
    )
    content_key = hkdf(key, salt, b"enarx package content v1" + header)
    pieces = [plaintext[at : at + chunk] for at in range(0, len(plaintext), chunk)] or [b""]
    sealed = [header]
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        encryptor = Cipher(AES(content_key), GCM(number.to_bytes(11, "big") + (b"\1" if last else b"\0"))).encryptor()
        sealed += [encryptor.update(piece), encryptor.finalize(), encryptor.tag]
    return b"".join(sealed)


def chunks(sealed: bytes, chunk: int) -> tuple[bytes, list[bytes]]:
    """The header, and the sealed chunks behind it."""
    return sealed[:96], [sealed[at : at + chunk + 16] for at in range(96, len(sealed), chunk + 16)]
