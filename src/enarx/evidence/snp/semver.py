"""Version requirements as the Enarx Steward's ``abi`` key takes them: ``>=1.51``, ``^1.2``, ``~1.2``, ``1.*``.

The grammar is Cargo's (a bare version means ``^``), narrowed to numbers: an ABI version has no pre-release part.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from enarx.errors import ConfigError

Version = tuple[int, int, int]

REQUIREMENT_MAX_CHARACTERS = 256
"""Longest requirement that is read (characters)."""

_COMPARATOR = re.compile(r"(>=|<=|=|>|<|\^|~)?\s*(\d{1,9})(?:\.(\d{1,9}|\*)(?:\.(\d{1,9}|\*))?)?")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A conjunction of half-open ranges ``low <= version < high``; ``text`` is how it was written."""

    text: str
    ranges: tuple[tuple[Version, Version], ...]

    def matches(self, version: Version) -> bool:
        """Whether every comparator accepts ``version``."""
        return all(low <= version < high for low, high in self.ranges)

    def __str__(self) -> str:
        return self.text


_TOP = (10**10, 0, 0)


def parse_requirement(text: str) -> Requirement:
    """Read a comma-separated requirement; ``*`` alone accepts everything. ConfigError for anything else."""
    if len(text) > REQUIREMENT_MAX_CHARACTERS:
        raise _bad(text[:32] + "...")
    if text.strip() == "*":
        return Requirement(text, ())
    return Requirement(text, tuple(_range(part.strip(), text) for part in text.split(",")))


def _range(part: str, text: str) -> tuple[Version, Version]:
    match = _COMPARATOR.fullmatch(part)
    if match is None:
        raise _bad(text)
    operator, *parts = match.groups()
    if parts[1] == "*" and parts[2] not in (None, "*"):
        raise _bad(text)
    if "*" in parts and operator not in (None, "="):
        raise _bad(text)
    numbers = [int(part) for part in parts if part not in (None, "*")]
    low = _padded(numbers)
    if "*" in parts:
        return low, _after(numbers)
    return _OPERATORS[operator or "^"](low, numbers)


def _after(numbers: list[int]) -> Version:
    """The first version beyond everything that begins with ``numbers``."""
    return _padded([*numbers[:-1], numbers[-1] + 1])


def _padded(numbers: list[int]) -> Version:
    filled = [*numbers, 0, 0]
    return filled[0], filled[1], filled[2]


def _caret(low: Version, numbers: list[int]) -> tuple[Version, Version]:
    significant = next((i for i, number in enumerate(numbers) if number), len(numbers) - 1)
    return low, _after(numbers[: significant + 1])


def _tilde(low: Version, numbers: list[int]) -> tuple[Version, Version]:
    return low, _after(numbers[:2])


_OPERATORS: dict[str, Callable[[Version, list[int]], tuple[Version, Version]]] = {
    "=": lambda low, numbers: (low, _after(numbers)),
    ">=": lambda low, numbers: (low, _TOP),
    ">": lambda low, numbers: (_after(numbers), _TOP),
    "<": lambda low, numbers: ((0, 0, 0), low),
    "<=": lambda low, numbers: ((0, 0, 0), _after(numbers)),
    "^": _caret,
    "~": _tilde,
}


def _bad(text: str) -> ConfigError:
    return ConfigError(
        f"{text!r} is not a version requirement", code="policy-version", hint='write for example abi = ">=1.51"'
    )
