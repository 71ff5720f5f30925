"""Frames from the bytes of a port, as they arrive. Everything here was written by the other end and is hostile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from enarx.errors import LinkError
from enarx.wire import BYTE_LINK, FLAG_FD, HEADER, MAX_PAYLOAD, VERSION, Type

NUMBER_BYTES: Final = 4
"""The number of the stream in front of the payload of a frame that brings one."""
_KINDS: Final = {int(kind): kind for kind in Type}
_SIZES: Final = {Type.CREDIT: 4, Type.FINISH: 0, Type.CLOSED: 0, Type.ACK: 8}
"""Payloads of the frames that have no choice, in bytes."""

Part = tuple[Type, int, int, memoryview | bytes]
"""Type, id, flags and payload of a frame. DATA comes in parts as it arrives; anything else comes whole."""


class Incoming:
    """Does no I/O, and holds one frame at most. After a LinkError it is unusable: the framing is lost."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._wanted = HEADER.size
        self._stream = 0
        self._data_left = 0

    def feed(self, data: memoryview) -> Iterator[Part]:
        """Take what one read returned. What is yielded of DATA is valid until the next step. Raises LinkError."""
        at = 0
        while at < len(data):
            if self._data_left:
                part = data[at : at + self._data_left]
                at += len(part)
                self._data_left -= len(part)
                yield Type.DATA, self._stream, 0, part
                continue
            part = data[at : at + self._wanted - len(self._held)]
            at += len(part)
            self._held += part
            if len(self._held) < self._wanted:
                return
            kind, flags, ident, length = _header(self._held)
            if kind is Type.DATA:
                self._stream, self._data_left = ident, length
            elif len(self._held) < HEADER.size + length:
                self._wanted = HEADER.size + length
                continue
            else:
                yield kind, ident, flags, bytes(self._held[HEADER.size :])
            self._held.clear()
            self._wanted = HEADER.size


def _header(data: bytearray) -> tuple[Type, int, int, int]:
    """Type, flags, id and length of payload. Raises LinkError for a frame that cannot be."""
    version, number, flags, reserved, ident, length = HEADER.unpack_from(data)
    kind = _KINDS.get(number)
    if version != VERSION or kind is None or reserved or flags & ~FLAG_FD:
        raise broken(f"a header that is none: {bytes(data[: HEADER.size]).hex()}")
    if flags and (kind in BYTE_LINK or length < NUMBER_BYTES):
        raise broken(f"{kind.name} of {length} bytes cannot bring a stream")
    if kind is Type.DATA and not (ident and 0 < length <= MAX_PAYLOAD):
        raise broken(f"DATA of {length} bytes for stream {ident}")
    if length != _SIZES.get(kind, length) or length > MAX_PAYLOAD + (NUMBER_BYTES if flags else 0):
        raise broken(f"{kind.name} of {length} bytes")
    return kind, flags, ident, length


def broken(what: str) -> LinkError:
    """The error for what breaks the protocol of the link."""
    return LinkError(f"malformed frame: {what}", code="link-frame")
