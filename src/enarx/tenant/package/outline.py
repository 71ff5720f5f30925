"""A module without its code: what it imports, exports and needs is all there, and is compiled in no time.

To know those an engine has to compile the module, which takes seconds for a large one. Whether the code is valid is
another question, and the engine answers that without compiling.
"""

from __future__ import annotations

from typing import Final

from enarx.tenant.package.sections import PREAMBLE_BYTES, Cursor, sections

_CUSTOM: Final = 0
_CODE: Final = 10
_DATA: Final = 11
_DATA_COUNT: Final = 12
_UNREACHABLE: Final = b"\x03\x00\x00\x0b"
"""A function body: its three bytes, no locals, ``unreachable``, ``end``."""


def outline(module: bytes) -> bytes:
    """``module`` with ``unreachable`` for the body of each function, and without data and custom sections.

    The other sections are as they were. For a module that an engine has found valid; of anything else it makes
    something that the engine refuses, or MalformedError (``wasm-sections``).
    """
    parts = [module[:PREAMBLE_BYTES]]
    for kind, begin, end in sections(module):
        content = module[begin:end]
        if kind == _CODE:
            count = Cursor(module, begin, end).number(end - begin)  # a body has a byte at least
            content = _leb(count) + _UNREACHABLE * count
        if kind not in (_CUSTOM, _DATA, _DATA_COUNT):
            parts += [bytes((kind,)), _leb(len(content)), content]
    return b"".join(parts)


def _leb(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))
