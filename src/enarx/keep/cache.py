"""Compiled code that the host keeps for us. The engine runs whatever it is given, so nothing is loaded unsealed.

An entry is 32 bytes of keyed BLAKE2b and the compiled code. The key belongs to one installation and comes with
the launch; the entry's name covers the module and everything that compilation depends on, and so does its seal.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from typing import Final

from enarx.errors import StreamError
from enarx.keep.engine import engine_identity
from enarx.keep.link import Link
from enarx.wire import Type, encode_fields

SEAL: Final = 32
"""Bytes of the seal in front of an entry."""
MAX_ENTRY: Final = 1 << 30
"""Largest entry that is read or written, in bytes."""


class CodeCache:
    """Compiled modules by digest of the module. Without a key there is no cache."""

    def __init__(self, link: Link, key: bytes) -> None:
        self._link = link
        self._key = key

    def _name(self, module: bytes | bytearray) -> str:
        digest = hashlib.sha256(engine_identity().encode())
        digest.update(hashlib.sha256(module).digest())
        return digest.hexdigest()

    def _seal(self, name: str, code: bytes | bytearray | memoryview) -> bytes:
        seal = hashlib.blake2b(key=self._key, digest_size=SEAL, person=b"enarx-code")
        seal.update(name.encode())
        seal.update(code)
        return seal.digest()

    def load(self, module: bytes | bytearray) -> bytearray | None:
        """The compiled code for ``module``, or None when there is none or it is not what we stored."""
        if not self._key:
            return None
        name = self._name(module)
        with contextlib.suppress(StreamError):
            frame = self._link.call(Type.CACHE_GET, name=name)
            frame.close()
            size = frame.fields()["size"] if frame.type == Type.CACHED else 0
            if not SEAL < size <= MAX_ENTRY:
                return None
            entry = self._link.receive_blob(size)
            seal = bytes(entry[:SEAL])
            del entry[:SEAL]
            if hmac.compare_digest(seal, self._seal(name, entry)):
                return entry
        return None

    def store(self, module: bytes | bytearray, code: bytes | bytearray) -> None:
        """Hand compiled code to the host. Nothing waits for it, and nothing depends on it."""
        if self._key and len(code) + SEAL <= MAX_ENTRY:
            name = self._name(module)
            self._link.send(encode_fields(Type.CACHE_PUT, 0, name=name, size=len(code) + SEAL))
            self._link.send_blob(self._seal(name, code))
            self._link.send_blob(code)
