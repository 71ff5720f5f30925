"""Text in columns of a terminal: how wide it is there, cut, padded and wrapped, in any script."""

from __future__ import annotations

from collections.abc import Iterator
from unicodedata import combining, east_asian_width

NOT_AT_START = "、。，．）」』：；・ー,.):;"
"""What no line begins with (JIS X 4051)."""


def width(text: str) -> int:
    """Cells that ``text`` takes: two for a wide character, none for one that combines with the one before."""
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def pad(text: str, cells: int) -> str:
    """``text`` in exactly ``cells`` cells, cut with an ellipsis where it is longer."""
    if width(text) <= cells:
        return text + " " * (cells - width(text))
    kept = ""
    for char in text:
        if width(kept + char) > cells - 1:
            break
        kept += char
    return kept + "…" + " " * (cells - 1 - width(kept))


def wrap(text: str, cells: int) -> Iterator[str]:
    """Lines of at most ``cells`` cells, broken at blanks and between wide characters; longer words are cut."""
    line = ""
    for word in _words(text):
        if line and width(line + word.rstrip()) > cells:
            yield line.rstrip()
            line = ""
        while width(word.rstrip()) > cells:
            head = _head(word, cells)
            yield head
            word = word[len(head) :]  # noqa: PLW2901 - what is left of it
        line += word if line or word.strip() else ""
    if line.strip():
        yield line.rstrip()


def _head(text: str, cells: int) -> str:
    """As much of the beginning as fits, at least a character."""
    taken = 1
    while taken < len(text) and width(text[: taken + 1]) <= cells:
        taken += 1
    return text[:taken]


def _words(text: str) -> Iterator[str]:
    """What must stay together: words with the blank after them, wide characters with the punctuation after them."""
    word = ""
    for char in text:
        wide = east_asian_width(char) in "WF" and char not in NOT_AT_START
        if word and (word[-1] == " " or wide or (east_asian_width(word[-1]) in "WF" and char not in NOT_AT_START)):
            yield word
            word = ""
        word += char
    if word:
        yield word
