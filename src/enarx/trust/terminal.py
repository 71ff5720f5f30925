"""Trust stacks in a terminal: one in full, one in short, or several side by side.

Widths are in cells. ``MIN_WIDTH`` is the narrowest terminal that is not overrun.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from enarx.trust.columns import pad, width, wrap
from enarx.trust.look import ANSI, MARKS, OWNERS
from enarx.trust.model import Fact, Layer, Owner, Row, Stack, Status
from enarx.trust.words import Words

MIN_WIDTH: Final = 24
MAX_WIDTH: Final = 120
"""Least and greatest width that is used (cells)."""
DIGITS_SHOWN: Final = 16
"""How much is shown of a digest or another long number in hexadecimal (digits). JSON and the page have all of it."""
SYMBOLS: Final = "✓●✗○·─"
"""What a terminal must have for a style that is not ``ascii_only``."""
_DIGITS: Final = re.compile(rf"([0-9a-f]{{{DIGITS_SHOWN}}})[0-9a-f]{{9,}}")
_NAME: Final = 24
_OWNER: Final = 16
_STATUS: Final = 18
_COLUMN: Final = 14


@dataclass(frozen=True, slots=True)
class Style:
    """``color``: whether SGR sequences are written; ``ascii_only``: whether marks and frames must be ASCII."""

    width: int = 88
    color: bool = False
    ascii_only: bool = False

    def sgr(self, text: str, parameters: str) -> str:
        return f"\x1b[{parameters}m{text}\x1b[0m" if self.color and parameters else text

    def chip(self, owner: Owner) -> str:
        """The owner's letter on its colour, three cells; in brackets where there is none."""
        look = OWNERS[owner]
        if self.color:
            return self.sgr(f" {look.letter} ", f"1;38;5;231;48;5;{look.ansi}")
        return f"[{look.letter}]"

    def mark(self, status: Status) -> str:
        return self.sgr(MARKS[status][self.ascii_only], ANSI[status])

    @property
    def usable(self) -> int:
        return max(MIN_WIDTH, min(MAX_WIDTH, self.width))


def render(stacks: Sequence[Stack], words: Words, style: Style) -> Iterator[str]:
    """Lines: one stack with its reasons, several side by side with their reasons left to other forms."""
    if len(stacks) == 1:
        yield from _full(stacks[0], words, style)
    else:
        yield from _compared(stacks, words, style)
    yield ""
    yield from _legend(stacks, words, style)


def render_short(stack: Stack, words: Words, style: Style) -> Iterator[str]:
    """Heading, a line for each layer and the summary: what fits below something else."""
    yield from _heading(stack, words, style)
    yield ""
    for row in stack.there:
        yield _line(row, words, style)
    yield ""
    yield from _summary(stack, words, style)


def _full(stack: Stack, words: Words, style: Style) -> Iterator[str]:
    yield from _heading(stack, words, style)
    yield ""
    for row in stack.rows:
        yield from _explained(row, words, style)
    yield ""
    for line in wrap(words("page.around"), style.usable):
        yield style.sgr(line, "1")
    yield ""
    for row in stack.around:
        yield from _explained(row, words, style)
    yield ""
    yield from _summary(stack, words, style)


def _heading(stack: Stack, words: Words, style: Style) -> Iterator[str]:
    kind, basis = words(f"kind.{stack.kind.value}"), words(f"basis.{stack.basis.value}")
    for line in wrap(words("titled", title=kind, basis=basis), style.usable):
        yield style.sgr(line, "1")
    if stack.subject:
        yield from wrap(stack.subject, style.usable)
    if stack.verdict:
        shown = "32" if stack.verdict == "accepted" else "1;31" if stack.error else "33"
        for line in wrap(words(f"verdict.{stack.verdict}"), style.usable):
            yield style.sgr(line, shown)
    if stack.error:
        yield from wrap(f"{stack.error[0]} ({stack.error[1]})", style.usable)
    for note in stack.notes:
        yield from wrap(words(note), style.usable)


def _line(row: Row, words: Words, style: Style) -> str:
    absent = row.status is Status.ABSENT
    chip = "   " if absent else style.chip(row.owner)
    # In a narrow terminal the owner's letter, then the mark, has to do: the legend says what they mean.
    owned, spoken = style.usable >= _NAME + _OWNER + _STATUS + 6, style.usable >= _STATUS * 2 + 5
    name = pad(words(row.name), min(_NAME, style.usable - (_STATUS if spoken else 2) - 6))
    owner = pad("" if absent else words(f"owner.{row.owner.value}"), _OWNER) + " " if owned else ""
    status = f" {words(f'status.{row.status.value}')}" if spoken else ""
    return f" {chip} {name} {owner}{style.mark(row.status)}{status}"


def _explained(row: Row, words: Words, style: Style) -> Iterator[str]:
    yield _line(row, words, style)
    if row.status is Status.ABSENT and row.reason.key == "absent":
        return
    room = style.usable - 5
    for line in wrap(words(row.reason), room):
        yield f"     {style.sgr(line, '2')}"
    for fact in (*row.evidence, *row.versions):
        for line in wrap(_said(fact, words), room - 2):
            yield f"       {line}"
    if row.checks:
        checked = words("page.checked-by") + words("colon") + words("separator").join(row.checks)
        for line in wrap(checked, room - 2):
            yield f"       {style.sgr(line, '2')}"


def _said(fact: Fact, words: Words) -> str:
    value = _DIGITS.sub(r"\1…", fact.value)
    said = f"{words.label(fact.name)}{words('colon')}{value}"
    return words("sourced", fact=said, source=words(f"source.{fact.source.value}"))


def _summary(stack: Stack, words: Words, style: Style) -> Iterator[str]:
    counts = {status.value: stack.count(status) for status in (Status.PROVED, Status.ASSUMED, Status.UNKNOWN)}
    said = words("summary.remain", count=len(stack.remaining), total=len(stack.there), **counts)
    owners = words("summary.owners", owners=_named(stack.owners, words))
    lines = [said, owners]
    if stack.gone:
        lines.append(words("summary.gone", owners=_named(stack.gone, words)))
    for text in lines:
        for line in wrap(text, style.usable):
            yield style.sgr(line, "1" if text is said else "")


def _named(owners: Sequence[Owner], words: Words) -> str:
    return words("separator").join(words(f"owner.{owner.value}") for owner in owners) or words("page.none")


def _compared(stacks: Sequence[Stack], words: Words, style: Style) -> Iterator[str]:
    name = 2 + max(width(words(f"layer.{layer.value}")) for layer in Layer)
    if style.usable < name + _COLUMN + 1:  # no room for two columns
        for number, stack in enumerate(stacks):
            yield from [""] * bool(number)
            yield from render_short(stack, words, style)
        return
    cells = max(_COLUMN, (style.usable - name) // len(stacks) - 1)
    fitting = max(1, (style.usable - name) // (cells + 1))
    for start in range(0, len(stacks), fitting):
        if start:
            yield ""
        yield from _beside(stacks[start : start + fitting], words, style, name - 1, cells)
    for stack in stacks:
        yield ""
        yield from _heading(stack, words, style)
        yield from _summary(stack, words, style)


def _beside(stacks: Sequence[Stack], words: Words, style: Style, name: int, cells: int) -> Iterator[str]:
    titles = [list(wrap(words(f"kind.{stack.kind.value}"), cells)) for stack in stacks]
    for number in range(max(map(len, titles))):
        shown = (pad(lines[number] if number < len(lines) else "", cells) for lines in titles)
        yield style.sgr(f"{pad('', name)} {' '.join(shown)}".rstrip(), "1")
    rule = "-" if style.ascii_only else "─"
    yield f"{pad('', name)} {' '.join(rule * cells for _ in stacks)}"
    for rows in zip(*(stack.rows for stack in stacks), strict=True):
        label = pad(words(f"layer.{rows[0].place.value}"), name)
        yield f"{label} {_cells(rows, words, style, cells)}".rstrip()
    yield f"{pad('', name)} {' '.join(rule * cells for _ in stacks)}"
    for rows in zip(*(stack.around for stack in stacks), strict=True):
        yield f"{pad(words(rows[0].name), name)} {_cells(rows, words, style, cells)}".rstrip()


def _cells(rows: Sequence[Row], words: Words, style: Style, cells: int) -> str:
    found = []
    for row in rows:
        status = pad(words(f"status.{row.status.value}"), cells - 6)
        chip = "   " if row.status is Status.ABSENT else style.chip(row.owner)
        found.append(f"{chip} {style.mark(row.status)} {style.sgr(status, ANSI[row.status])}")
    return " ".join(found)


def _legend(stacks: Sequence[Stack], words: Words, style: Style) -> Iterator[str]:
    shown = {row.owner for stack in stacks for row in (*stack.rows, *stack.around)}
    owners = [f"{style.chip(owner)} {words(f'owner.{owner.value}')}" for owner in Owner if owner in shown]
    marks = [f"{style.mark(status)} {words(f'status.{status.value}')}" for status in Status]
    for items, sizes in (
        (owners, [4 + width(words(f"owner.{owner.value}")) for owner in Owner if owner in shown]),
        (marks, [2 + width(words(f"status.{status.value}")) for status in Status]),
    ):
        line, taken = "", 0
        for item, size in zip(items, sizes, strict=True):
            if line and taken + 3 + size > style.usable:
                yield line
                line, taken = "", 0
            line, taken = (f"{line}   {item}", taken + 3 + size) if line else (item, size)
        yield line
