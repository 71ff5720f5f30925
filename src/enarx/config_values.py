"""Values of ``Enarx.toml``: numbers, sizes, spans of time and texts, each with its error. See `config_reader`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from enarx.config import GIB, KIB, MIB
from enarx.toml_document import SHOWN_CHARS, Document, Path, label, show


def integer(doc: Document, path: Path, value: object, wanted: str = "an integer") -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise doc.type_error(path, wanted, value)
    return value


_SIZE = re.compile(r"([0-9]{1,20}) ?(B|KiB|MiB|GiB)?")
_UNIT = {None: 1, "B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}
_SPAN = re.compile(r"(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)s)?(?:([0-9]{1,9})ms)?")


def size(doc: Document, path: Path, value: object) -> int:
    """Bytes from an integer or from text such as ``64KiB``."""
    if not isinstance(value, str):
        return integer(doc, path, value, 'an integer (bytes) or a string such as "512 MiB"')
    match = _SIZE.fullmatch(value)
    if match is None:
        hint = 'write bytes as an integer, or text such as "512 MiB" with B, KiB, MiB or GiB'
        raise doc.error(path, "config-value", f"{label(path)} is not a size: {show(value)}", hint)
    return int(match[1]) * _UNIT[match[2]]


def span(doc: Document, path: Path, value: object) -> float:
    """Seconds from a number or from text such as ``1h30m``."""
    if isinstance(value, float):
        return value
    if not isinstance(value, str):
        return integer(doc, path, value, 'a number (seconds) or a string such as "30s"')
    match = _SPAN.fullmatch(value)
    if match is None or not value:
        hint = 'write seconds as a number, or text such as "30s", "5m" or "1h30m"'
        raise doc.error(path, "config-value", f"{label(path)} is not a time span: {show(value)}", hint)
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def check_range(doc: Document, path: Path, number: float, bounds: tuple[float, float], words: str) -> None:
    low, high = bounds
    if not low <= number <= high:  # so that NaN is out of any range
        raise doc.error(path, "config-value", f"{label(path)} is out of range: {number}", f"it must be {words}")


def nearest(word: str, valid: tuple[str, ...], plural: str) -> str:
    near = difflib.get_close_matches(word[:SHOWN_CHARS].lower(), valid, n=1)
    return f'did you mean "{near[0]}"?' if near else f"valid {plural}: {', '.join(valid)}"


def choice(doc: Document, path: Path, value: object, valid: tuple[str, ...]) -> str:
    text = text_of(doc, path, value)
    if text not in valid:
        hint = nearest(text, valid, "values")
        raise doc.error(path, "config-value", f"{label(path)} cannot be {show(text)}", hint)
    return text


def text_of(doc: Document, path: Path, value: object) -> str:
    if not isinstance(value, str):
        raise doc.type_error(path, "a string", value)
    if "\0" in value:
        raise doc.error(path, "config-value", f"{label(path)} contains a NUL", "remove \\u0000")
    return value


def items(doc: Document, path: Path, value: object) -> Iterator[tuple[Path, object]]:
    if not isinstance(value, list):
        wanted = "an array of tables, [[files]]" if path == ("files",) else "an array of strings"
        raise doc.type_error(path, wanted, value)
    for index, item in enumerate(value):
        yield (*path, index), item


def is_graphic(text: str) -> bool:
    return text.isprintable() and not any(char.isspace() for char in text)
