"""What a workload may come as, told by its first bytes: the three kinds begin differently, so none is two of them."""

from __future__ import annotations

from typing import Final

from enarx import archive, envelope

WASM: Final = "application/wasm"
PACKAGE: Final = archive.MEDIA_TYPE
ENCRYPTED: Final = envelope.MEDIA_TYPE
HEAD_BYTES: Final = archive.BLOCK
"""How much of a file `media_type_of` looks at (bytes)."""

_WASM_MAGIC: Final = b"\0asm"
_FIRST: Final = tuple(name.encode() + b"\0" for name in (archive.CONFIG, archive.MODULE))


def media_type_of(head: bytes) -> str | None:
    """The media type of what begins with ``head``, `HEAD_BYTES` where there are as many; None for what no Keep runs.

    A module or package that is broken further on is told by whoever reads it.
    """
    if head.startswith(_WASM_MAGIC):
        return WASM
    if envelope.is_encrypted(head):
        return ENCRYPTED
    is_archive = len(head) >= HEAD_BYTES and archive.has_magic(head) and head.startswith(_FIRST)
    return PACKAGE if is_archive else None
