"""The sections of a module. Source: WebAssembly Core Specification 2.0, 5.2 and 5.5."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from enarx.errors import MalformedError

PREAMBLE_BYTES: Final = 8
_MAX_LEB_BYTES: Final = 5


class Cursor:
    """Reads values one after the other from ``data[at:end]``; MalformedError (``wasm-sections``) past the end."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def number(self, limit: int = 0xFFFF_FFFF) -> int:
        """An unsigned LEB128 of at most ``limit``."""
        value = 0
        for index, byte in enumerate(self.data[self.at : min(self.at + _MAX_LEB_BYTES, self.end)]):
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80 and value <= limit:
                self.at += index + 1
                return value
        raise _bad()

    def bytes(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        begin, self.at = self.at, self.at + size
        if self.at > self.end:
            raise _bad()
        return self.data[begin : self.at]

    def text(self, limit: int) -> str:
        """A name of at most ``limit`` bytes, its length before it."""
        try:
            return self.bytes(self.number(limit)).decode()
        except UnicodeDecodeError as error:
            raise _bad() from error


def sections(module: bytes) -> Iterator[tuple[int, int, int]]:
    """Number of each section, and where its content begins and ends. MalformedError (``wasm-sections``)."""
    at = PREAMBLE_BYTES
    while at < len(module):
        cursor = Cursor(module, at + 1, len(module))
        size = cursor.number()
        if cursor.at + size > len(module):
            raise _bad()
        yield module[at], cursor.at, cursor.at + size
        at = cursor.at + size


def _bad() -> MalformedError:
    return MalformedError(
        "the module's sections do not fit together", code="wasm-sections", hint="the file is damaged; build it anew"
    )
