"""The lock file: every input of an image by version, size and SHA-256.

::

    format = 1

    [archive]                 sources of Debian packages, by name; where `enarx image lock` looks for newer ones
    bookworm = ["http://deb.debian.org/debian bookworm main", ...]

    [[deb]]                   a Debian package: `use` is root, kernel, source, firmware or tool
    name, version, archive, use, url, bytes, sha256

    [[wheel]]                 a wheel from PyPI
    name, version, file, sha256
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from enarx.errors import ConfigError
from enarx.host.image.inputs import PACKAGES, WHEELS, Use

FORMAT: Final = 1
LOCK_MAX_BYTES: Final = 256 * 1024
"""Largest lock file that is read (bytes)."""
INPUTS_MAX: Final = 256
"""Inputs in a lock file (count)."""
INPUT_MAX_BYTES: Final = 512 << 20
"""Largest package (bytes)."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._~:-]{0,199}")
_URL: Final = re.compile(r"(https?|file)://[!-~]{1,1000}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Deb:
    """A Debian package. ``sha256``: 64 hexadecimal digits; ``size`` in bytes."""

    name: str
    version: str
    archive: str
    use: Use
    url: str
    size: int
    sha256: str

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel. ``file``: its name at PyPI."""

    name: str
    version: str
    file: str
    sha256: str

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file as read. ``archives``: lines of sources by name."""

    archives: Mapping[str, tuple[str, ...]]
    debs: tuple[Deb, ...]
    wheels: tuple[Wheel, ...]

    def for_kernel(self, kind: Literal["stock", "own"]) -> Lock:
        """What goes into an image with that kernel: without the sources, or without Debian's kernel."""
        other: Use = "source" if kind == "stock" else "kernel"
        return replace(self, debs=tuple(deb for deb in self.debs if deb.use != other))

    @property
    def inputs(self) -> tuple[Deb | Wheel, ...]:
        """All of them, in the order of the file."""
        return (*self.debs, *self.wheels)

    def of_use(self, use: Use) -> tuple[Deb, ...]:
        """The Debian packages of one use, in the order of the file."""
        return tuple(deb for deb in self.debs if deb.use == use)


def own_lock() -> bytes:
    """The lock file that comes with this program."""
    return resources.files("enarx.host.image").joinpath("image.lock").read_bytes()


def read_lock(path: Path | None, *, complete: bool = True) -> Lock:
    """The lock file at ``path``, or the one that comes with this program. Raises ConfigError as ``parse_lock``."""
    if path is None:
        return parse_lock(own_lock(), "the lock file of this program", complete=complete)
    try:
        with path.open("rb") as file:
            data = file.read(LOCK_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", code="lock-unreadable", hint="`enarx image lock` writes one"
        ) from error
    return parse_lock(data, str(path), complete=complete)


def parse_lock(data: bytes, source: str = "image.lock", *, complete: bool = True) -> Lock:
    """Read a lock file. ConfigError: ``lock-syntax``, ``lock-value`` with the place.

    One that has to be ``complete``, for an image is made of it, names every input (``lock-incomplete``).
    """
    if len(data) > LOCK_MAX_BYTES:
        raise _error(source, f"more than {LOCK_MAX_BYTES} bytes")
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{source} is not TOML: {error}", code="lock-syntax", hint=_HINT) from error
    if document.get("format") != FORMAT:
        raise _error(source, f"format is {document.get('format')!r}, expected {FORMAT}")
    reader = _Reader(source)
    lock = Lock(
        archives=reader.archives(document.get("archive")),
        debs=tuple(reader.deb(index, one) for index, one in enumerate(reader.listing("deb", document))),
        wheels=tuple(reader.wheel(index, one) for index, one in enumerate(reader.listing("wheel", document))),
    )
    unknown = sorted(set(document) - {"format", "archive", "deb", "wheel"})
    if unknown:
        raise _error(source, f"{unknown[0]} is not a key")
    _check_names(lock, source)
    if complete:
        _check_complete(lock, source)
    return lock


def _check_names(lock: Lock, source: str) -> None:
    names = [one.name for one in lock.inputs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _error(source, f"{twice[0]} is there twice")


def _check_complete(lock: Lock, source: str) -> None:
    for wanted in PACKAGES:
        of_use = [deb.name for deb in lock.of_use(wanted.use)]
        found = [name for name in of_use if name == wanted.name or (wanted.follow and name.startswith(wanted.follow))]
        if not found:
            raise _incomplete(source, wanted.name)
    for name in WHEELS:
        if name not in {wheel.name for wheel in lock.wheels}:
            raise _incomplete(source, name)


_HINT: Final = "write a new one with `enarx image lock`"


def _error(source: str, what: str) -> ConfigError:
    return ConfigError(f"{source}: {what}", code="lock-value", hint=_HINT)


def _incomplete(source: str, name: str) -> ConfigError:
    return ConfigError(f"{source} does not name {name}, which an image needs", code="lock-incomplete", hint=_HINT)


class _Reader:
    """Values of a lock file, each checked, with errors that say where."""

    def __init__(self, source: str) -> None:
        self._source = source

    def archives(self, value: Any) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for name, lines in (value if isinstance(value, dict) else {}).items():
            if not isinstance(lines, list) or not all(isinstance(line, str) and line.isprintable() for line in lines):
                raise _error(self._source, f"archive.{name} is not a list of sources")
            found[name] = tuple(lines)
        if not found:
            raise _error(self._source, "there is no [archive] table")
        return found

    def listing(self, key: str, document: dict[str, Any]) -> list[dict[str, Any]]:
        value = document.get(key, [])
        if not isinstance(value, list) or len(value) > INPUTS_MAX or not all(isinstance(one, dict) for one in value):
            raise _error(self._source, f"{key} is not a list of at most {INPUTS_MAX} tables")
        return value

    def deb(self, index: int, table: dict[str, Any]) -> Deb:
        place = f"deb {index + 1}"
        self._keys(place, table, ("name", "version", "archive", "use", "url", "bytes", "sha256"))
        size = table["bytes"]
        if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= INPUT_MAX_BYTES:
            raise _error(self._source, f"{place}: bytes is {size!r}, expected 1 to {INPUT_MAX_BYTES}")
        if table["use"] not in get_args(Use):
            raise _error(self._source, f"{place}: use is {table['use']!r}, expected {', '.join(get_args(Use))}")
        return Deb(
            name=self._text(place, table, "name", _NAME),
            version=self._text(place, table, "version", _NAME),
            archive=self._text(place, table, "archive", _NAME),
            use=cast(Use, table["use"]),
            url=self._text(place, table, "url", _URL),
            size=size,
            sha256=self._text(place, table, "sha256", _DIGEST),
        )

    def wheel(self, index: int, table: dict[str, Any]) -> Wheel:
        place = f"wheel {index + 1}"
        self._keys(place, table, ("name", "version", "file", "sha256"))
        return Wheel(
            name=self._text(place, table, "name", _NAME),
            version=self._text(place, table, "version", _NAME),
            file=self._text(place, table, "file", _NAME),
            sha256=self._text(place, table, "sha256", _DIGEST),
        )

    def _keys(self, place: str, table: dict[str, Any], keys: tuple[str, ...]) -> None:
        wrong = sorted(set(table) ^ set(keys))
        if wrong:
            what = "is not a key" if wrong[0] in table else "is missing"
            raise _error(self._source, f"{place}: {wrong[0]} {what}")

    def _text(self, place: str, table: dict[str, Any], key: str, form: re.Pattern[str]) -> str:
        value = table[key]
        if not isinstance(value, str) or not form.fullmatch(value):
            raise _error(self._source, f"{place}: {key} is {str(value)[:80]!r}, which is no such value")
        return value


def format_lock(lock: Lock) -> bytes:
    """The one text of a lock file."""
    lines = [
        "# The inputs of the image of a VM Keep, each by version, size and SHA-256.",
        "# `enarx image lock` writes this file; nothing in it is made to be edited but the sources and addresses.",
        f"format = {FORMAT}",
        "",
        "[archive]",
    ]
    for name, sources in lock.archives.items():
        lines += [f"{name} = [", *(f"    {quote(source)}," for source in sources), "]"]
    for deb in lock.debs:
        lines += ["", "[[deb]]"]
        for key in ("name", "version", "archive", "use", "url"):
            lines.append(f"{key} = {quote(getattr(deb, key))}")
        lines += [f"bytes = {deb.size}", f"sha256 = {quote(deb.sha256)}"]
    for wheel in lock.wheels:
        lines += ["", "[[wheel]]", *(f"{key} = {quote(getattr(wheel, key))}" for key in Wheel.__slots__)]
    return "\n".join(lines).encode() + b"\n"


def quote(text: str) -> str:
    """A basic string of TOML, of text without control characters."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
