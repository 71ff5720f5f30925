"""Compiled code that the host keeps for us. The engine runs whatever it is given, so nothing is loaded unsealed.

Whose key seals it decides who could forge code, so it depends on what the Keep has to prove:

- Without a manifest nothing is proved, and the key belongs to the installation: `Authenticated`. The host knows it.
- A Keep whose manifest is in its evidence must not run code that a host could have made. It uses only a key that no
  host has, and seals what it stores against being read as well: `Secret`. Without such a key it compiles every time.

An entry's name covers the module and everything that compilation depends on, and so does its seal.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
from typing import Final, Protocol

from enarx.errors import LinkError, StreamError
from enarx.keep.engine import engine_identity
from enarx.keep.link import Link
from enarx.wire import Type, encode_fields

MAC_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
SECRET_KEY_BYTES: Final = 64
"""Size of a key for `Secret`: half of it is for names, half for contents."""
MAX_ENTRY: Final = 1 << 30
"""Largest entry that is read or written, in bytes."""

Code = bytes | bytearray | memoryview


class Seal(Protocol):
    """A key, and what it makes of names and entries."""

    overhead: int
    """How much longer an entry is than the code in it, in bytes."""

    def name(self, identity: bytes) -> str:
        """The name of the entry for what ``identity`` (32 bytes) stands for: 64 hexadecimal digits."""

    def seal(self, name: str, code: Code) -> list[Code]:
        """The parts of the entry, in order."""

    def open(self, name: str, entry: bytearray) -> bytes | bytearray | None:
        """The code in an entry, or None when it is not what this key has sealed under ``name``."""


class Authenticated:
    """Keyed BLAKE2b in front of the code: a flipped bit, or an entry of another installation, is not loaded."""

    overhead = MAC_BYTES

    def __init__(self, key: bytes) -> None:
        self._key = key

    def name(self, identity: bytes) -> str:
        return identity.hex()

    def seal(self, name: str, code: Code) -> list[Code]:
        return [self._mac(name, code), code]

    def open(self, name: str, entry: bytearray) -> bytes | bytearray | None:
        with memoryview(entry) as whole:
            if not hmac.compare_digest(whole[:MAC_BYTES], self._mac(name, whole[MAC_BYTES:])):
                return None
        del entry[:MAC_BYTES]
        return entry

    def _mac(self, name: str, code: Code) -> bytes:
        mac = hashlib.blake2b(key=self._key, digest_size=MAC_BYTES, person=b"enarx-code")
        mac.update(name.encode())
        mac.update(code)
        return mac.digest()


class Secret:
    """AES-256-GCM under a random nonce, with the name as associated data; names say nothing of the module.

    A key seals some entries a release of the engine for one module, far below the 2^32 at which random nonces end.
    """

    overhead = NONCE_BYTES + TAG_BYTES

    def __init__(self, key: bytes) -> None:
        """``key`` has `SECRET_KEY_BYTES`, and is known to no host."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(key) != SECRET_KEY_BYTES:
            raise ValueError(f"a key for sealed code has {SECRET_KEY_BYTES} bytes")
        self._names, self._cipher = key[:32], AESGCM(key[32:])

    def name(self, identity: bytes) -> str:
        return hashlib.blake2b(identity, key=self._names, digest_size=32, person=b"enarx-name").hexdigest()

    def seal(self, name: str, code: Code) -> list[Code]:
        nonce = os.urandom(NONCE_BYTES)
        return [nonce, self._cipher.encrypt(nonce, code, name.encode())]

    def open(self, name: str, entry: bytearray) -> bytes | bytearray | None:
        from cryptography.exceptions import InvalidTag

        if len(entry) < self.overhead:
            return None
        with memoryview(entry) as whole:
            try:
                return self._cipher.decrypt(whole[:NONCE_BYTES], whole[NONCE_BYTES:], name.encode())
            except InvalidTag:
                return None


class CodeCache:
    """Compiled modules by digest of the module. Without a seal there is no cache."""

    def __init__(self, link: Link, seal: Seal | None) -> None:
        self._link = link
        self._seal = seal

    @staticmethod
    def _identity(module: Code) -> bytes:
        digest = hashlib.sha256(engine_identity().encode())
        digest.update(hashlib.sha256(module).digest())
        return digest.digest()

    def load(self, module: Code) -> bytes | bytearray | None:
        """The compiled code for ``module``, or None when there is none or it is not what we stored."""
        if self._seal is None:
            return None
        name = self._seal.name(self._identity(module))
        with contextlib.suppress(StreamError):
            frame = self._link.call(Type.CACHE_GET, name=name)
            frame.close()
            size = frame.fields()["size"] if frame.type == Type.CACHED else 0
            if size > MAX_ENTRY:
                raise LinkError("the host announced a cache entry that is too large", code="link-frame")
            if size:
                return self._seal.open(name, self._link.receive_blob(size))
        return None

    def store(self, module: Code, code: bytes | bytearray) -> None:
        """Hand compiled code to the host. Nothing waits for it, and nothing depends on it."""
        if self._seal is None or len(code) + self._seal.overhead > MAX_ENTRY:
            return
        name = self._seal.name(self._identity(module))
        self._link.send(encode_fields(Type.CACHE_PUT, 0, name=name, size=len(code) + self._seal.overhead))
        for part in self._seal.seal(name, code):
            self._link.send_blob(part)
