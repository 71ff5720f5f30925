"""What a module says of the tools that made it: its custom section ``producers``.

Source: WebAssembly tool conventions, "Producers Section". It is a statement of whoever made the module, no more.
"""

from __future__ import annotations

from typing import Final

from enarx.errors import MalformedError
from enarx.tenant.package.sections import Cursor, sections

FIELDS: Final = ("language", "processed-by", "sdk")
MAX_VALUES: Final = 64
"""Values of one field that are read."""
MAX_TEXT_BYTES: Final = 256
"""Longest name or version that is read."""
_CUSTOM: Final = 0


def producers(module: bytes) -> list[tuple[str, str]]:
    """Fields of `FIELDS` with ``NAME VERSION`` each; none when the module says nothing, or says it wrongly."""
    try:
        for kind, begin, end in sections(module):
            cursor = Cursor(module, begin, end)
            if kind == _CUSTOM and cursor.text(MAX_TEXT_BYTES) == "producers":
                return _fields(cursor)
    except MalformedError:
        return []
    return []


def _fields(cursor: Cursor) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for _ in range(min(cursor.number(), len(FIELDS))):
        field = cursor.text(MAX_TEXT_BYTES)
        for _ in range(cursor.number(MAX_VALUES)):
            value = f"{cursor.text(MAX_TEXT_BYTES)} {cursor.text(MAX_TEXT_BYTES)}".strip()
            if field in FIELDS:
                found.append((field, value))
    return sorted(found)
