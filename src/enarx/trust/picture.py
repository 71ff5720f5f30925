"""Trust stacks as one SVG picture, for documents and slides: what `page` has at its top, without the reasons.

SVG breaks no lines by itself, so text is wrapped by its width in cells: a rough measure, with room to spare.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from enarx.trust.columns import width, wrap
from enarx.trust.look import MARKS, OWNERS
from enarx.trust.model import Owner, Row, Stack, Status
from enarx.trust.page import LOUD, tower_titles
from enarx.trust.words import Words

PAD: Final = 40
COLUMN: Final = 300
GAP: Final = 28
TOP: Final = 104
SLAB: Final = 54
SLAB_GAP: Final = 4
LINE: Final = 19
HEADING: Final = 25
"""Sizes of the drawing (CSS pixels)."""
_CELLS: Final = 36
"""Cells of small text in a column; of its heading, three quarters."""
_CELL: Final = 7.4
"""Width of a cell of small text (CSS pixels)."""


@dataclass(frozen=True, slots=True)
class Line:
    style: str
    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Box:
    y: int
    height: int
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class Slab:
    y: int
    height: int
    owner: str
    owned: str
    fill: str
    status: str
    state: str
    mark: str
    name: str
    pill: float


@dataclass(frozen=True, slots=True)
class Entry:
    """Of the legend."""

    x: int
    y: int
    owner: str
    fill: str
    text: str


@dataclass(frozen=True, slots=True)
class Column:
    x: int
    width: int
    lines: list[Line]
    warnings: list[Box]
    slabs: list[Slab]


def picture(stacks: Sequence[Stack], words: Words) -> str:
    """The picture; the same stacks and words give the same bytes."""
    titles = tower_titles(stacks, words)
    heads = [_head(stack, title, words) for stack, title in zip(stacks, titles, strict=True)]
    base = TOP + max(_height(lines) + sum(len(box) * LINE + 22 for box in boxes) for lines, boxes in heads) + 88
    columns = [
        _column(stack, head, number, base, words)
        for number, (stack, head) in enumerate(zip(stacks, heads, strict=True))
    ]
    total = PAD * 2 + len(stacks) * COLUMN + (len(stacks) - 1) * GAP
    bottom = base + len(stacks[0].rows) * (SLAB + SLAB_GAP) + 34
    legend = list(_legend(stacks, words, bottom, total))
    bottom = legend[-1].y + 34
    said = wrap(words("page.honest"), int((total - 2 * PAD) / _CELL))
    footer = [Line("s", PAD, bottom + number * LINE, text) for number, text in enumerate(said)]
    return _environment().get_template("picture.svg").render(
        w=words,
        titles=titles,
        described=" ".join(_described(stack, title, words) for stack, title in zip(stacks, titles, strict=True)),
        width=total,
        height=bottom + len(footer) * LINE + 16,
        pad=PAD,
        columns=columns,
        legend=legend,
        footer=footer,
    ) + "\n"  # fmt: skip


def _head(stack: Stack, title: str, words: Words) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """Lines above a tower, each with its style, and its warnings, each in lines."""
    lines = [("k", text) for text in wrap(title, _CELLS * 3 // 4)]
    lines.append(("s", words(f"basis.{stack.basis.value}")))
    if stack.subject:
        lines += [("s", text) for text in wrap(stack.subject, _CELLS)]
    if stack.verdict:
        lines += [("l", text) for text in wrap(words(f"verdict.{stack.verdict}"), _CELLS)]
    lines += [("s", text) for note in stack.notes if note.key not in LOUD for text in wrap(words(note), _CELLS)]
    return lines, [list(wrap(words(note), _CELLS)) for note in stack.notes if note.key in LOUD]


def _column(
    stack: Stack, head: tuple[list[tuple[str, str]], list[list[str]]], number: int, base: int, words: Words
) -> Column:
    x = PAD + number * (COLUMN + GAP)
    lines = [Line(style, x, TOP + _height(head[0][:index]), text) for index, (style, text) in enumerate(head[0])]
    boxes, y = [], TOP + _height(head[0]) - 6
    for warning in head[1]:
        inner = [Line("w", 0, y + 20 + index * LINE, text) for index, text in enumerate(warning)]
        boxes.append(Box(y, len(warning) * LINE + 14, inner))
        y += len(warning) * LINE + 22
    count = str(len(stack.remaining))
    lines.append(Line("n", x, base - 34, count))
    for index, text in enumerate(words("page.of-layers", total=len(stack.there)).split("\n")):
        lines.append(Line("s", x + 16 + 36 * len(count), base - 56 + index * 18, text))
    lines.append(Line("s", x, base - 12, _counts(stack, words)))
    slabs = [_slab(row, base + index * (SLAB + SLAB_GAP), words) for index, row in enumerate(stack.rows)]
    return Column(x, COLUMN, lines, boxes, slabs)


def _height(lines: Sequence[tuple[str, str]]) -> int:
    """Of lines above a tower: headings are taller than the rest."""
    return sum(HEADING if style == "k" else LINE for style, _ in lines)


def _slab(row: Row, y: int, words: Words) -> Slab:
    state = words(f"status.{row.status.value}")
    return Slab(
        y, SLAB, row.owner.value, words(f"owner.{row.owner.value}"), OWNERS[row.owner].fill, row.status.value, state,
        MARKS[row.status][0], words(row.name), 34 + width(state) * _CELL,
    )  # fmt: skip


def _counts(stack: Stack, words: Words) -> str:
    shown = [(status, stack.count(status)) for status in Status if status is not Status.ABSENT]
    named = [
        words("page.count", count=count, status=words(f"status.{status.value}")) for status, count in shown if count
    ]
    return words("separator").join(named)


def _legend(stacks: Sequence[Stack], words: Words, y: int, total: int) -> Iterator[Entry]:
    shown = {row.owner for stack in stacks for row in stack.there}
    x = PAD
    for owner in Owner:
        if owner in shown:
            text = words(f"owner.{owner.value}")
            taken = int(29 + width(text) * _CELL + 26)
            if x > PAD and x + taken > total - PAD:
                x, y = PAD, y + 26
            yield Entry(x, y, owner.value, OWNERS[owner].fill, text)
            x += taken


def _described(stack: Stack, title: str, words: Words) -> str:
    """The same in words, for those who do not see the picture."""
    rows = [
        f"{words(row.name)}{words('separator')}{words(f'owner.{row.owner.value}')}{words('colon')}"
        f"{words(f'status.{row.status.value}')}"
        for row in stack.there
    ]
    notes = " ".join(words(note) for note in stack.notes)
    return f"{title}. {notes} {'; '.join(rows)}."


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("enarx.trust"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
