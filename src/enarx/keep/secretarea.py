"""The secret area of a SEV guest: what was injected at launch, as it lies in the guest's memory.

Linux reads it itself and shows each entry as a file (Linux ``Documentation/security/secrets/coco.rst``); this reader
is for a SIMULATED processor, which hands the area over as it is::

    table GUID 16   length u32   then per secret:   GUID 16   length u32   data        zero padding

Lengths count their own header and are little-endian; GUIDs have their first three fields little-endian. On hardware the
firmware has checked who wrote these bytes; here they are as hostile as everything else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from enarx.errors import MalformedError

AREA_MAX_BYTES: Final = 16 * 1024
"""Largest area (bytes): what one LAUNCH_SECRET takes (SEV API 55766, 6.6)."""
SECRETS_MAX: Final = 64
"""Entries that are read (count), as Linux does."""

_TABLE_GUID: Final = "1e74f542-71dd-4d66-963e-ef4287ff173b"
_HEAD: Final = struct.Struct("<16sI")


def read_area(area: bytes) -> dict[str, bytes]:
    """The secrets by their GUIDs, in lower case; MalformedError (``secret-area``) for anything that is not a table."""
    if len(area) > AREA_MAX_BYTES:
        raise _malformed(f"{len(area)} bytes, more than {AREA_MAX_BYTES}")
    ((guid, entries), end) = _entry(area, 0, len(area))
    if guid != _TABLE_GUID:
        raise _malformed(f"it begins with {guid}")
    if any(area[end:]):
        raise _malformed("something follows the table")
    found: dict[str, bytes] = {}
    for name, data in _entries(entries):
        if name in found:
            raise _malformed(f"{name} is there twice")
        if len(found) == SECRETS_MAX:
            raise _malformed(f"more than {SECRETS_MAX} secrets")
        found[name] = data
    return found


def _entries(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    while at < len(data):
        entry, at = _entry(data, at, len(data))
        yield entry


def _entry(data: bytes, at: int, stop: int) -> tuple[tuple[str, bytes], int]:
    if stop - at < _HEAD.size:
        raise _malformed(f"{stop - at} bytes are left where an entry should begin")
    guid, length = _HEAD.unpack_from(data, at)
    if not _HEAD.size <= length <= stop - at:
        raise _malformed(f"an entry says that it has {length} bytes, {stop - at} are there")
    return (_text(guid), data[at + _HEAD.size : at + length]), at + length


def _text(guid: bytes) -> str:
    """A GUID as Linux writes it; by hand, because the module for it would be one more in the Keep's image."""
    first, second, third = struct.unpack_from("<IHH", guid)
    return f"{first:08x}-{second:04x}-{third:04x}-{guid[8:10].hex()}-{guid[10:].hex()}"


def _malformed(what: str) -> MalformedError:
    return MalformedError(
        f"the secret area cannot be read: {what}",
        code="secret-area",
        hint="launch with an approver of a fitting version (`enarx launch approve`)",
    )
