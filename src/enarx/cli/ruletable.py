"""Rules of a decision as a table for a person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from enarx.evidence.appraisal import Rule

COLUMN_MAX: Final = 48
"""Longest cell (characters); JSON has everything."""


def rule_table(rules: Iterable[Rule]) -> list[str]:
    """A line for each rule, aligned, under a line of headings."""
    rows = [("", "check", "expected", "seen", "expectation from")]
    for rule in rules:
        verdict = "PASS" if rule.passed else "FAIL"
        rows.append((verdict, rule.name, _cell(rule.expected), _cell(rule.seen), rule.source))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(text: str) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown if len(shown) <= COLUMN_MAX else shown[: COLUMN_MAX - 3] + "..."
