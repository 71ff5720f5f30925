"""Fields of a bundle, read strictly: one encoding, exact keys, and bounds; MalformedError (``bundle``) otherwise."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, TypeVar

from enarx.errors import MalformedError

T = TypeVar("T")


def encoded(data: bytes) -> str:
    """Bytes as they stand in a bundle."""
    return base64.b64encode(data).decode("ascii")


def all_encoded(several: tuple[bytes, ...]) -> list[str]:
    return list(map(encoded, several))


def mapping(value: Any, what: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != set(keys):
        raise bad(f"{what} has not exactly the keys {', '.join(keys)}")
    return value


def items(value: Any, what: str, most: int, item: Callable[[Any], T], least: int = 0) -> tuple[T, ...]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise bad(f"{what} is not a list of {least} to {most}")
    return tuple(map(item, value))


def octets(limit: int, exactly: int = 0) -> Callable[[Any], bytes]:
    """A reader of at most ``limit`` bytes in their one encoding."""

    def reader(value: Any) -> bytes:
        try:
            data = base64.b64decode(value, validate=True) if isinstance(value, str) else None
        except (binascii.Error, ValueError):
            data = None
        if data is None or encoded(data) != value:
            raise bad("base64 is damaged")
        if len(data) > limit or (exactly and len(data) != exactly):
            raise bad(f"a field has {len(data)} bytes, expected {exactly or f'at most {limit}'}")
        return data

    return reader


def nullable(reader: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda value: None if value is None else reader(value)


def text(value: Any, limit: int) -> str:
    if not isinstance(value, str) or len(value) > limit:
        raise bad(f"a field is not text of at most {limit} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise bad("a field is not Unicode text") from error
    return value


def bad(what: str) -> MalformedError:
    return MalformedError(
        f"this is no bundle: {what}", code="bundle", hint="`enarx bundle save` writes bundles; this file is damaged"
    )
