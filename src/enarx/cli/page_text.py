"""The words of an HTML page, for a terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

MAX_BLOCKS: Final = 1000
"""Paragraphs and facts of one page that are kept."""
_SKIPPED: Final = frozenset({"style", "script", "svg"})
_BLOCKS: Final = frozenset({"title", "h1", "h2", "h3", "p", "dt", "dd"})


@dataclass(slots=True)
class PageText:
    """``paragraphs`` holds headings too; ``facts`` the pairs of every ``<dl>``."""

    title: str = ""
    paragraphs: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = PageText()
        self._block = ""
        self._text: list[str] = []
        self._skip = ""
        self._term = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SKIPPED:
            self._skip = self._skip or tag
        elif tag in _BLOCKS:
            self._end_block()
            self._block = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._skip:
            self._skip = ""
        elif tag == self._block:
            self._end_block()

    def handle_data(self, data: str) -> None:
        if self._block and not self._skip:
            self._text.append(data)

    def close(self) -> None:
        super().close()
        self._end_block()

    def _end_block(self) -> None:
        text = " ".join("".join(self._text).split())
        block, self._block, self._text = self._block, "", []
        page = self.page
        if not text or len(page.paragraphs) + len(page.facts) >= MAX_BLOCKS:
            return
        if block == "title":
            page.title = page.title or text
        elif block == "dt":
            self._term = text
        elif block == "dd":
            page.facts.append((self._term, text))
        elif block:
            page.paragraphs.append(text)


def text_of_page(html: str) -> PageText:
    """Title, paragraphs and facts of a page, white space collapsed. Never fails: bad HTML gives fewer words."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.page
