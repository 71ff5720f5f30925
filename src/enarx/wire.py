"""Frames between a host and a Keep: one definition for both ends, and both ends treat the other as hostile.

A frame is a 12-byte header and a payload::

    version u8 | type u8 | flags u8 | reserved u8 (0) | id u32 | length u32        all big-endian

``id`` names the request that a frame belongs to (0: none). A frame with ``FLAG_FD`` carries exactly one
file descriptor, as SCM_RIGHTS ancillary data. On a link that can only carry bytes (a virtio-serial port) the
number of a stream takes the descriptor's place, four bytes in front of the payload, and the stream's bytes
travel in frames of their own (`BYTE_LINK`). `enarx.mux` turns each into the other at both ends, which is why
nothing above it sees anything but "a stream, as a socket".

Payloads are either raw bytes (``BLOB``) or one strict JSON object whose fields are listed in ``SCHEMAS``:
unknown, missing or wrongly typed fields are refused, as is anything longer than its bound.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from enarx.errors import LinkError

VERSION: Final = 1
HEADER: Final = struct.Struct(">BBBBII")
FLAG_FD: Final = 1
MAX_PAYLOAD: Final = 1 << 20
"""Longest payload of one frame, in bytes. Longer objects travel as a sequence of BLOB frames."""
MAX_JSON: Final = 1 << 16
"""Longest JSON payload, in bytes; LAUNCH and EXIT, which carry arguments and messages, may fill a frame."""
MAX_PENDING_FDS: Final = 64
"""File descriptors received ahead of the frames that own them."""
MAX_OBJECTS: Final = 73
"""Objects that one launch may announce: 63 of config, module, layers and CA files; a manifest; 8 signatures; a
certificate table.
"""

STARTED: Final = "workload starts"
"""The step of STATUS.timings by which a Keep says that all is ready: the workload's first instruction follows."""


STDIO_KINDS: Final = ("", "file", "terminal")
"""What OPENED.name may say of a standard stream; a descriptor shows it too, unless its bytes come over the link."""


class Type(IntEnum):
    """Frame types. The comment names the sender."""

    LAUNCH = 1  # host: what to run; the objects it announces follow as BLOBs
    BLOB = 2  # both: the next bytes of the object or cache entry being transferred
    STOP = 3  # host: end the workload now
    INCOMING = 4  # host: a connection for listener `id` [fd]
    OPENED = 5  # host: request `id` succeeded [fd, except for LISTEN]
    FAILED = 6  # host: request `id` failed
    CACHED = 7  # host: the cache entry asked for by `id` has `size` bytes and follows as BLOBs
    STDIO = 16  # keep: open a standard stream
    LISTEN = 17  # keep: listen; incoming connections then carry this id
    ACCEPT = 18  # keep: `count` more connections may be sent for listener `id`
    CONNECT = 19  # keep: connect to host:port
    CLOSE = 20  # keep: close listener `id`
    CACHE_GET = 21  # keep: look up a cache entry
    CACHE_PUT = 22  # keep: store a cache entry, which follows as BLOBs
    STATUS = 23  # keep: what was applied, and where start-up time went
    EXIT = 24  # keep: the workload ended

    DATA = 32  # both: bytes of stream `id`
    CREDIT = 33  # both: as many more bytes of stream `id` may be sent; of frames for the other end, when it is 0
    FINISH = 34  # both: there are no more bytes of stream `id` in this direction
    CLOSED = 35  # both: stream `id` is closed at this end, which says and wants nothing more of it
    ACK = 36  # both: as many bytes of the link have arrived since it began


BYTE_LINK: Final = frozenset((Type.DATA, Type.CREDIT, Type.FINISH, Type.CLOSED, Type.ACK))
"""What only a link of bytes carries: neither a Keep nor its host sends or gets these."""
_KNOWN: Final = frozenset(Type) - BYTE_LINK
_STR = 4096
_TEXT = 32768

# field -> (type, bound). For str the bound is characters, for int the largest value (the smallest is 0), for
# list and dict the number of items (items are strings or pairs, checked by their reader).
SCHEMAS: Final[Mapping[Type, Mapping[str, tuple[type, int]]]] = {
    Type.LAUNCH: {
        "args": (list, 4096),
        "env": (list, 4096),
        "objects": (list, MAX_OBJECTS),
        "cache_key": (str, 128),
        "sandbox": (str, 16),
        "engine": (str, 16),
    },
    Type.STOP: {"reason": (str, _STR)},
    Type.INCOMING: {"peer": (str, _STR)},
    Type.OPENED: {"name": (str, _STR)},
    Type.FAILED: {"code": (str, 64), "message": (str, _STR), "hint": (str, _STR)},
    Type.CACHED: {"size": (int, 1 << 32)},
    Type.STDIO: {"name": (str, 16)},
    Type.LISTEN: {"addr": (str, 256), "port": (int, 65535)},
    Type.ACCEPT: {"count": (int, 4096)},
    Type.CONNECT: {"host": (str, 256), "port": (int, 65535)},
    Type.CLOSE: {},
    Type.CACHE_GET: {"name": (str, 128)},
    Type.CACHE_PUT: {"name": (str, 128), "size": (int, 1 << 32)},
    Type.STATUS: {"sandbox": (dict, 32), "timings": (list, 64), "evidence": (str, 32)},
    Type.EXIT: {"status": (int, 255), "code": (str, 64), "message": (str, _TEXT), "hint": (str, _STR)},
}


@dataclass(slots=True)
class Frame:
    """One received frame. ``fd`` is owned by whoever holds the frame; -1 means none."""

    type: Type
    id: int
    payload: bytes
    fd: int = -1

    def fields(self) -> dict[str, Any]:
        """The payload's JSON object, checked against ``SCHEMAS``. Raises LinkError."""
        return parse_fields(self.type, self.payload)

    def close(self) -> None:
        """Close the descriptor that came with the frame, if nobody has taken it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def take_fd(self) -> int:
        """Hand the descriptor over to the caller."""
        fd, self.fd = self.fd, -1
        return fd


def parse_fields(kind: Type, payload: bytes) -> dict[str, Any]:
    """Parse a JSON payload of ``kind``. Raises LinkError on anything but exactly the fields of its schema."""
    schema = SCHEMAS[kind]
    if len(payload) > MAX_JSON and kind not in (Type.LAUNCH, Type.EXIT):
        raise _bad(f"{kind.name} payload of {len(payload)} bytes is too long")
    try:
        value: Any = json.loads(payload.decode())
    except (ValueError, RecursionError):
        raise _bad(f"{kind.name} payload is not JSON") from None
    if not isinstance(value, dict) or value.keys() != schema.keys():
        raise _bad(f"{kind.name} must have exactly the fields {sorted(schema)}")
    for name, (wanted, bound) in schema.items():
        size = _measure(value[name], wanted)
        if size is None:
            raise _bad(f"{kind.name}.{name} must be {wanted.__name__}")
        if not 0 <= size <= bound:
            raise _bad(f"{kind.name}.{name} is out of range")
    return value


def _measure(item: Any, wanted: type) -> int | None:
    """What a schema bounds: the value of a number, the length of anything else; None for another type."""
    if type(item) is not wanted:  # not isinstance: a bool is an int
        return None
    return item if isinstance(item, int) else len(item) if isinstance(item, str | list | dict) else None


def encode(kind: Type, ident: int = 0, payload: bytes | memoryview = b"", *, fd: bool = False) -> bytes:
    """Bytes of one frame. ``payload`` is at most MAX_PAYLOAD bytes."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError("payload too long for one frame")
    return HEADER.pack(VERSION, kind, FLAG_FD if fd else 0, 0, ident, len(payload)) + payload


def encode_fields(kind: Type, ident: int = 0, *, fd: bool = False, **fields: Any) -> bytes:
    """Bytes of one frame with a JSON payload. The fields must satisfy the schema, or the peer will refuse them."""
    payload = json.dumps(fields, separators=(",", ":"), ensure_ascii=True).encode()
    parse_fields(kind, payload)
    return encode(kind, ident, payload, fd=fd)


class Decoder:
    """Reassembles frames from bytes and descriptors as they arrive. Does no I/O.

    After a LinkError the decoder is unusable: the stream has lost its framing.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._fds: list[int] = []

    def feed(self, data: bytes | memoryview, fds: list[int]) -> list[Frame]:
        """Add what one read returned; get every frame that is now complete, in order. Raises LinkError."""
        self._fds += fds
        self._buffer += data
        frames: list[Frame] = []
        try:
            if len(self._fds) > MAX_PENDING_FDS:
                raise _bad("more file descriptors than frames to carry them")
            offset = 0
            while (frame := self._next(offset)) is not None:
                offset += HEADER.size + len(frame.payload)
                frames.append(frame)
            del self._buffer[:offset]
        except LinkError:
            for frame in frames:
                frame.close()
            self.close()
            raise
        return frames

    def _next(self, offset: int) -> Frame | None:
        if len(self._buffer) - offset < HEADER.size:
            return None
        version, kind, flags, reserved, ident, length = HEADER.unpack_from(self._buffer, offset)
        if version != VERSION:
            raise _bad(f"version {version} is not {VERSION}")
        if kind not in _KNOWN:
            raise _bad(f"unknown frame type {kind}")
        if flags & ~FLAG_FD or reserved:
            raise _bad("reserved bits are set")
        if length > MAX_PAYLOAD:
            raise _bad(f"payload of {length} bytes is longer than {MAX_PAYLOAD}")
        start = offset + HEADER.size
        if len(self._buffer) - start < length:
            return None
        fd = -1
        if flags & FLAG_FD:
            if not self._fds:
                raise _bad("a frame announced a file descriptor that did not come")
            fd = self._fds.pop(0)
        with memoryview(self._buffer) as whole:
            return Frame(Type(kind), ident, bytes(whole[start : start + length]), fd)

    def close(self) -> None:
        """Close every descriptor that no frame has claimed."""
        while self._fds:
            os.close(self._fds.pop())


def _bad(message: str) -> LinkError:
    return LinkError(f"malformed frame: {message}", code="link-frame")
