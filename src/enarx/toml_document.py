"""TOML with positions and bounds, for files that people write and strangers send.

tomllib decides what a document means but tells nothing of where its keys and values stand, and puts no bound on
nesting, number length or dotted keys (80 kB of ``a.a.a`` take it minutes and gigabytes). So a scanner goes first, for
both. Every error is a `ConfigError` whose message starts ``SOURCE:LINE:COLUMN:``.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from enarx.errors import ConfigError

MAX_DEPTH = 8  # keys and indices from the top of the document to a value
MAX_VALUES = 50_000  # values in one document
MAX_SCALAR_CHARS = 100  # characters of a number, date or boolean

Path = tuple[str | int, ...]

SHOWN_CHARS = 60


def show(text: str, limit: int = SHOWN_CHARS) -> str:
    """Quote foreign text for a message: short, and without control characters for the terminal."""
    shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[:limit])
    return f'"{shown}{"..." if len(text) > limit else ""}"'


def label(path: Path) -> str:
    """A path for a message, as in ``files[0].port``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{show(part)[1:-1]}" for part in path)
    return "".join(parts).removeprefix(".")


def _describe(value: object) -> str:
    match value:
        case str():
            return f"the string {show(value)}"
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {value}"  # short, because the scanner bounds it
        case list():
            return "an array"
        case dict():
            return "a table"
    return "a date or time"


def _decode(text: bytes | str, source: str, max_bytes: int) -> str:
    try:
        data = text.encode() if isinstance(text, str) else text
        if len(data) > max_bytes:
            what = f"{source}: {len(data)} bytes are more than {max_bytes}"
            raise ConfigError(what, code="config-too-large", hint="move data out of the configuration")
        decoded = data.decode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{source}: not UTF-8: lone surrogate", code="config-encoding") from error
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        what = f"{source}:{_position(before, len(before))}: not UTF-8: byte 0x{data[error.start]:02x}"
        raise ConfigError(what, code="config-encoding", hint="save the file as UTF-8") from error
    if decoded.startswith("\ufeff"):
        hint = "save the file as UTF-8 without one"
        raise ConfigError(f"{source}:1:1: starts with a byte order mark", code="config-encoding", hint=hint)
    return decoded.replace("\r\n", "\n")  # as tomllib does, so that offsets agree


def _position(text: str, offset: int) -> str:
    """``LINE:COLUMN``, both from 1, the column in characters."""
    return f"{text.count(chr(10), 0, offset) + 1}:{offset - text.rfind(chr(10), 0, offset)}"


_TOMLLIB_MESSAGE = re.compile(r"(.*) \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)", re.DOTALL)
_EXCERPT_CHARS = 100
_MESSAGE_CHARS = 200


class Document:
    """A TOML document that knows where its keys and values stand.

    tomllib gives no positions and puts no bound on nesting, number length or dotted keys (80 kB of ``a.a.a`` take it
    minutes and gigabytes), so a `Scanner` goes first for both. tomllib alone decides what the document means.
    """

    def __init__(self, text: bytes | str, source: str, max_bytes: int) -> None:
        """Parse at most ``max_bytes`` of UTF-8. ``source`` is what messages call it. Raises ConfigError."""
        self._text = text = _decode(text, source, max_bytes)
        self._source = source
        self._scanner = Scanner(text)
        try:
            self._scanner.scan()
            self.data: dict[str, Any] = tomllib.loads(text)
        except _TooMuchError as error:
            what, offset = error.args
            hint = "no Enarx.toml needs that much; look for a missing quote or a stray bracket or dot"
            raise ConfigError(
                f"{source}:{_position(text, offset)}: {what}", code="config-too-large", hint=hint
            ) from None
        except (ValueError, RecursionError) as error:  # ValueError covers TOMLDecodeError
            raise self._syntax_error(str(error)) from None  # which says all that it says

    def error(self, path: Path, code: str, what: str, hint: str, *, key: bool = False) -> ConfigError:
        """An error about the value at ``path``, or about its key."""
        keys, values = self._scanner.keys, self._scanner.values
        offset = (keys if key else values).get(path, keys.get(path, 0))  # a dotted key makes tables without a place
        return ConfigError(f"{self._source}:{_position(self._text, offset)}: {what}", code=code, hint=hint)

    def type_error(self, path: Path, wanted: str, value: object) -> ConfigError:
        """An error about a value of the wrong type."""
        what = f"{label(path)} must be {wanted}, not {_describe(value)}"
        return self.error(path, "config-type", what, f"make it {wanted}")

    def _syntax_error(self, message: str) -> ConfigError:
        match = _TOMLLIB_MESSAGE.fullmatch(message)
        where = _position(self._text, len(self._text.rstrip("\n")))
        if match and match[2]:
            where = f"{match[2]}:{match[3]}"
        line, column = map(int, where.split(":"))
        start = max(0, column - 1 - _EXCERPT_CHARS // 2)
        excerpt = self._text.split("\n")[line - 1][start : start + _EXCERPT_CHARS]
        excerpt = "".join(c if c.isprintable() else " " for c in excerpt)
        what = (match[1] if match else message)[:_MESSAGE_CHARS]
        what += f"\n    {excerpt}\n    {' ' * (column - 1 - start)}^"
        hint = "the file must be TOML 1.0; text values need quotes"
        return ConfigError(f"{self._source}:{where}: {what}", code="config-syntax", hint=hint)


class _TooMuchError(Exception):
    """The document exceeds a bound; args are what and offset."""


class _NotTomlError(Exception):
    """The scanner cannot go on; tomllib, which is stricter, will refuse the text at or before this point."""


_BLANK = re.compile(r"[ \t]*")
_BLANK_LINES = re.compile(r"[ \t\r\n]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^\n,\]}#]+")
_STRING_STOPS = {  # opening quotes: an escape to step over, or where the string ends (newline: it does not)
    '"': re.compile(r'\\.|"|\n', re.DOTALL),
    "'": re.compile(r"'|\n"),
    '"""': re.compile(r'\\.|"{3,5}', re.DOTALL),
    "'''": re.compile(r"'{3,5}"),
}


class Scanner:
    """Finds the offset of every key and value, in one pass, accepting a superset of TOML."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._arrays: dict[Path, int] = {}  # arrays of tables: how many so far
        self.keys: dict[Path, int] = {}
        self.values: dict[Path, int] = {}

    def scan(self) -> None:
        """Fill ``keys`` and ``values``, as far as the text is TOML. Raises `_TooMuchError`."""
        try:
            self._statements()
        except _NotTomlError:
            return

    def _statements(self) -> None:
        table: Path = ()
        pos = self._gap(0)
        while pos < len(self._text):
            if self._text.startswith("[", pos):
                table, pos = self._header(pos)
            else:
                pos = self._pair(pos, table)
            pos = self._gap(pos)

    def _header(self, start: int) -> tuple[Path, int]:
        brackets = 2 if self._text.startswith("[[", start) else 1
        parts, pos = self._key(start + brackets)
        path: Path = ()
        for index, part in enumerate(parts):
            path += (part,)
            self.keys.setdefault(path, start)
            self._place(path, start)
            if brackets == 2 and index == len(parts) - 1:
                self._arrays[path] = self._arrays.get(path, 0) + 1
            if path in self._arrays:
                path += (self._arrays[path] - 1,)
        self._place(path, start)
        return path, self._expect("]" * brackets, pos)

    def _pair(self, start: int, table: Path) -> int:
        parts, pos = self._key(start)
        for count in range(1, len(parts) + 1):
            self.keys.setdefault(table + parts[:count], start)
        pos = self._blank(self._expect("=", pos))
        return self._value(pos, table + parts)

    def _key(self, pos: int) -> tuple[tuple[str, ...], int]:
        start = pos
        parts: list[str] = []
        while True:
            pos = self._blank(pos)
            if self._text.startswith(('"', "'"), pos):
                end = self._string(pos)
                parts.append(_unquote(self._text[pos:end]))
            else:
                match = _BARE_KEY.match(self._text, pos)
                if match is None:
                    raise _NotTomlError
                end = match.end()
                parts.append(match[0])
            if len(parts) > MAX_DEPTH:
                raise _TooMuchError(f"a key has more than {MAX_DEPTH} parts", start)
            pos = self._blank(end)
            if not self._text.startswith(".", pos):
                return tuple(parts), pos
            pos += 1

    def _value(self, start: int, path: Path) -> int:
        self._place(path, start)
        text = self._text
        if text.startswith(('"', "'"), start):
            return self._string(start)
        if text.startswith(("[", "{"), start):
            close = "]" if text[start] == "[" else "}"
            pos, index = self._gap(start + 1), 0
            while not text.startswith(close, pos):
                pos = self._gap(self._value(pos, (*path, index)) if close == "]" else self._pair(pos, path))
                if not text.startswith(close, pos):
                    pos = self._gap(self._expect(",", pos))
                index += 1
            return pos + 1
        match = _BARE_VALUE.match(text, start)
        if match is None:
            raise _NotTomlError
        if len(match[0].rstrip()) > MAX_SCALAR_CHARS:
            raise _TooMuchError(f"a value without quotes is longer than {MAX_SCALAR_CHARS} characters", start)
        return match.end()

    def _place(self, path: Path, offset: int) -> None:
        if len(path) > MAX_DEPTH:
            raise _TooMuchError(f"nested more than {MAX_DEPTH} deep", offset)
        if len(self.values) >= MAX_VALUES:
            raise _TooMuchError(f"more than {MAX_VALUES} values", offset)
        self.values.setdefault(path, offset)

    def _string(self, start: int) -> int:
        quote = self._text[start]
        opening = quote * 3 if self._text.startswith(quote * 3, start) else quote
        for match in _STRING_STOPS[opening].finditer(self._text, start + len(opening)):
            if match[0].startswith(quote):
                return match.end()
            if match[0] == "\n":
                break
        raise _NotTomlError

    def _expect(self, token: str, pos: int) -> int:
        if not self._text.startswith(token, pos):
            raise _NotTomlError
        return pos + len(token)

    def _blank(self, pos: int) -> int:
        match = _BLANK.match(self._text, pos)
        return match.end() if match else pos

    def _gap(self, pos: int) -> int:
        """Step over white space, newlines and comments."""
        while True:
            match = _BLANK_LINES.match(self._text, pos)
            pos = match.end() if match else pos
            if not self._text.startswith("#", pos):
                return pos
            newline = self._text.find("\n", pos)
            pos = len(self._text) if newline < 0 else newline


def _unquote(token: str) -> str:
    """The key that a quoted token stands for; tomllib knows the escapes."""
    if "\\" not in token:
        return token[1:-1]
    try:
        return str(tomllib.loads(f"key = {token}")["key"])
    except tomllib.TOMLDecodeError as error:
        raise _NotTomlError from error
