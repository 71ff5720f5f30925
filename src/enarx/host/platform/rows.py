"""The result of a survey: rows, each of which passes or says what to do, under the kinds of Keep that they are for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that a kind of Keep needs, or is better with.

    ``info``: what was found. ``advice``: what to do, where it does not pass. ``required``: whether a launch fails
    without it. A row with ``rows`` passes when all that are required among them do.
    """

    name: str
    passed: bool
    info: str = ""
    advice: str = ""
    required: bool = True
    rows: tuple[Row, ...] = ()

    def failures(self) -> Iterator[Row]:
        """The innermost required rows that do not pass, itself or within."""
        if not self.required or self.passed:
            return
        inner = [failure for row in self.rows for failure in row.failures()]
        yield from inner or (self,)

    def as_json(self) -> dict[str, Any]:
        """As ``enarx platform info --json`` prints it; the published tool's keys, and ``required``."""
        return {
            "name": self.name,
            "pass": self.passed,
            "info": self.info or "null",
            "mesg": self.advice or "null",
            "required": self.required,
            "data": [row.as_json() for row in self.rows],
        }


def group(name: str, *rows: Row, info: str = "", required: bool = True) -> Row:
    """A row that passes when each required one of ``rows`` does."""
    return Row(name, all(row.passed for row in rows if row.required), info, required=required, rows=rows)


@dataclass(frozen=True, slots=True)
class Backend:
    """A kind of Keep and what it needs."""

    name: str
    rows: tuple[Row, ...]

    @property
    def have(self) -> bool:
        """Whether nothing that is required is missing."""
        return all(row.passed for row in self.rows if row.required)

    def failures(self) -> list[Row]:
        """What is missing, innermost rows alone."""
        return [failure for row in self.rows for failure in row.failures()]

    def as_json(self) -> dict[str, Any]:
        """As ``enarx platform info --json`` prints it."""
        return {"backend": self.name, "have": self.have, "data": [row.as_json() for row in self.rows]}
