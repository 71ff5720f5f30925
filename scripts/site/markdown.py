"""Words and tables as Markdown, so that what a program says of itself is shown and not interpreted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_MARKS = re.compile(r"([\\*_<>\[\]{}#$~])")
_CODE = re.compile(r"(`[^`]+`)")


def plain(text: str) -> str:
    """Text in which backquotes mean code, and nothing else means anything."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(part if part.startswith("`") and len(part) > 1 else _MARKS.sub(r"\\\1", part) for part in parts)


def cell(markdown: str) -> str:
    """The same inside a table."""
    return markdown.replace("|", r"\|")


def slug(text: str) -> str:
    """A label for links: lower case, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table, and an empty one behind it; nothing for no rows."""
    if not rows:
        return
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
