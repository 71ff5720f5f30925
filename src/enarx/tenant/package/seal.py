"""Encrypts a package, and opens one again for its owner. The format is that of ``enarx.envelope``."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Iterator
from io import BufferedIOBase
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from enarx.envelope import (
    DEFAULT_CHUNK_BYTES,
    HEADER_BYTES,
    KEY_BYTES,
    KEY_ID_BYTES,
    KEY_ID_INFO,
    SALT_BYTES,
    Header,
    nonce,
    parse_header,
)
from enarx.errors import AuthenticityError, UsageError

KEY_HINT: Final = "it is in the key file that `enarx package build` wrote, or among the secrets of the Steward"


def new_key() -> bytes:
    """A package key: fresh random bytes, for one package."""
    return os.urandom(KEY_BYTES)


def key_id(key: bytes, salt: bytes) -> bytes:
    """The name of ``key`` in the header of a package with this ``salt``."""
    return _derive(key, salt, KEY_ID_INFO, KEY_ID_BYTES)


def seal(
    pieces: Iterable[bytes | memoryview],
    length: int,
    key: bytes,
    *,
    salt: bytes | None = None,
    chunk_bytes: int = DEFAULT_CHUNK_BYTES,
) -> Iterator[bytes]:
    """The encrypted package of a plaintext that comes in ``pieces`` of ``length`` bytes together.

    ``key`` is `new_key` and must never seal another package; ``salt`` is random when it is not given. MalformedError
    when no package can be that large; ValueError when the pieces are not ``length`` bytes.
    """
    _check_key(key)
    salt = os.urandom(SALT_BYTES) if salt is None else salt
    header = Header(chunk_bytes, length, key_id(key, salt), salt)
    cipher = _content_cipher(key, header)
    yield header.encode()
    index = filled = 0
    chunk = memoryview(bytearray(chunk_bytes))
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            if filled == chunk_bytes:  # and there is more: so this chunk is not the last
                yield cipher.encrypt(nonce(index, False), chunk, None)
                index, filled = index + 1, 0
            count = min(len(rest), chunk_bytes - filled)
            chunk[filled : filled + count] = rest[:count]
            filled, rest = filled + count, rest[count:]
    if index * chunk_bytes + filled != length:
        raise ValueError("the plaintext is not as long as it was said to be")
    yield cipher.encrypt(nonce(index, True), chunk[:filled], None)


class Opener:
    """Opens the chunks of one encrypted package with its key, in any order.

    AuthenticityError (``package-key``) for a key that is not this package's; UsageError for what is no key.
    """

    def __init__(self, header: Header, key: bytes) -> None:
        _check_key(key)
        if not hmac.compare_digest(key_id(key, header.salt), header.key_id):
            raise AuthenticityError(
                "the key is not the one that this package is encrypted with", code="package-key", hint=KEY_HINT
            )
        self.header = header
        self._cipher = _content_cipher(key, header)

    def open(self, index: int, sealed: bytes | memoryview) -> bytes:
        """The plaintext of chunk ``index``; AuthenticityError (``package-sealed``) unless it is what was sealed."""
        try:
            return self._cipher.decrypt(nonce(index, self.header.is_final(index)), sealed, None)
        except InvalidTag:
            raise AuthenticityError(
                f"chunk {index} of the encrypted package is not what was sealed: it was changed, moved or cut short",
                code="package-sealed",
                hint="get the package again from where it was published, and compare its digest",
            ) from None


def unseal(file: BufferedIOBase, key: bytes) -> Iterator[bytes]:
    """The plaintext of an encrypted package, chunk by chunk, from a file that is at its beginning.

    AuthenticityError and MalformedError. **They can come late:** what was yielded is authentic as far as it goes, and
    all of the package only when the iteration has ended.
    """
    opener = Opener(parse_header(file.read(HEADER_BYTES)), key)
    header = opener.header
    buffer = memoryview(bytearray(header.chunk(0)[1]))
    for index in range(header.chunks):
        offset, size = header.chunk(index)
        count = file.readinto(buffer[:size])
        if count < size:
            header.check_total(offset + count)
        yield opener.open(index, buffer[:size])
    header.check_total(header.total_bytes + len(file.read(1)))


def _content_cipher(key: bytes, header: Header) -> AESGCM:
    return AESGCM(_derive(key, header.salt, header.content_info(), KEY_BYTES))


def _derive(key: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(key)


def _check_key(key: bytes) -> None:
    if len(key) != KEY_BYTES:
        raise UsageError(f"a package key has {KEY_BYTES} bytes, not {len(key)}", code="package-key-size", hint=KEY_HINT)
