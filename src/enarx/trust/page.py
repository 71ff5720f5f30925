"""Trust stacks as one HTML page: stacks side by side, then every row with its reasons, evidence and versions.

The page needs no other file, no script and no network, and its content security policy says so. Everything that comes
from evidence was cleaned when it entered the model and is escaped by the template engine.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from enarx.evidence.appraisal import Rule
from enarx.trust.model import Owner, Row, Stack, Status, Text
from enarx.trust.words import Words

LOUD = (
    "note.simulated",
    "note.says-simulated",
    "note.debug",
    "note.migration",
    "note.sharing",
    "note.refused",
    "note.host",
)
"""Notes that are shown as warnings."""


@dataclass(frozen=True, slots=True)
class Check:
    """A rule of a stack, and where on the page it is."""

    id: str
    rule: Rule

    @property
    def name(self) -> str:
        return self.rule.name


@dataclass(frozen=True, slots=True)
class Cell:
    """What a row is in one stack, or in several that say the same. ``checks`` are those that the row names."""

    names: list[str]
    row: Row
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A row of all stacks. ``place`` is part of its address on the page; ``name`` a key of the words."""

    place: str
    name: str
    cells: list[Cell] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Tower:
    """A stack as it is drawn."""

    stack: Stack
    title: str
    checks: tuple[Check, ...]

    @property
    def judged(self) -> str:
        return shown_time(self.stack.judged_at) if self.stack.judged_at else ""

    @property
    def loud(self) -> tuple[Text, ...]:
        return tuple(note for note in self.stack.notes if note.key in LOUD)

    @property
    def quiet(self) -> tuple[Text, ...]:
        return tuple(note for note in self.stack.notes if note.key not in LOUD)

    @property
    def counts(self) -> list[tuple[str, int]]:
        found = ((status.value, self.stack.count(status)) for status in Status if status is not Status.ABSENT)
        return [(name, count) for name, count in found if count]

    @property
    def bar(self) -> list[str]:
        return [name for name, count in self.counts for _ in range(count)]


def page(stacks: Sequence[Stack], words: Words, now: datetime) -> str:
    """The page, as of ``now``. The same stacks, words and time give the same bytes."""
    from enarx import __version__

    towers = towers_of(stacks, words)
    style, style_hash = _style()
    return _environment().get_template("page.html").render(
        w=words,
        style=style,
        style_hash=style_hash,
        titles=[one.title for one in towers],
        towers=towers,
        many=len(stacks) > 1,
        owners=owners_of(stacks),
        statuses=list(Status),
        layers=groups(towers, [stack.rows for stack in stacks]),
        around=groups(towers, [stack.around for stack in stacks]),
        checks=[{"title": one.title, "rules": one.checks} for one in towers if one.checks],
        version=__version__,
        made=shown_time(now),
    ) + "\n"  # fmt: skip


def towers_of(stacks: Sequence[Stack], words: Words) -> list[Tower]:
    """The stacks as they are drawn, in order."""
    return [
        Tower(stack, title, tuple(Check(f"c{number}-{index}", rule) for index, rule in enumerate(stack.rules, 1)))
        for number, (stack, title) in enumerate(zip(stacks, tower_titles(stacks, words), strict=True), 1)
    ]


def owners_of(stacks: Sequence[Stack]) -> list[Owner]:
    """Whose layers and surroundings there are."""
    shown = {row.owner for stack in stacks for row in (*stack.there, *stack.around) if row.status is not Status.ABSENT}
    return [owner for owner in Owner if owner in shown]


def tower_titles(stacks: Sequence[Stack], words: Words) -> list[str]:
    """What each stack is called; two of one kind are told apart by their basis."""
    kinds = [stack.kind for stack in stacks]
    found = []
    for stack in stacks:
        title = words(f"kind.{stack.kind.value}")
        basis = words(f"basis.{stack.basis.value}")
        found.append(words("titled", title=title, basis=basis) if kinds.count(stack.kind) > 1 else title)
    return found


def shown_time(time: datetime) -> str:
    """A time in UTC as people of every language read it."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def groups(towers: Sequence[Tower], columns: Iterable[Sequence[Row]]) -> list[Group]:
    """The rows of all stacks, one group for each; ``columns`` are the rows of each tower, in order."""
    found = []
    for rows in zip(*columns, strict=True):
        names = {row.name for row in rows}
        default = f"{'layer' if rows[0] in towers[0].stack.rows else 'around'}.{rows[0].place.value}"
        group = Group(rows[0].place.value, names.pop() if len(names) == 1 else default)
        for tower, row in zip(towers, rows, strict=True):
            checks = tuple(check for check in tower.checks if check.name in row.checks)
            same = next((cell for cell in group.cells if _alike(cell.row, row) and not (cell.checks or checks)), None)
            if same is not None:
                same.names.append(tower.title)
            else:
                group.cells.append(Cell([tower.title], row, checks))
        found.append(group)
    return found


def _alike(one: Row, other: Row) -> bool:
    facts = (one.evidence, one.versions) == (other.evidence, other.versions)
    return facts and (one.status, one.owner, one.reason) == (other.status, other.owner, other.reason)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("enarx.trust"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _style() -> tuple[Markup, str]:
    """The style sheet, which is ours and so is not escaped, and its hash for the content security policy."""
    environment = _environment()
    assert environment.loader is not None  # noqa: S101 - it was given above
    text = environment.loader.get_source(environment, "page.css")[0].strip()
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(text), f"sha256-{digest}"  # noqa: S704 - a file of this package
