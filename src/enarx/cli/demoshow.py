"""What ``enarx demo`` prints: steps with their time, and the page, as wide as the terminal is."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final

from enarx.cli.terminal import can_show, showable

if TYPE_CHECKING:
    from enarx.trust.model import Stack

SHOWN_FACTS: Final = 12
WIDTH: Final = 88
MIN_WIDTH: Final = 24


class Show:
    """Prints steps with their time, and the page, as wide as the terminal is."""

    def __init__(self) -> None:
        import shutil

        self._start = time.monotonic()
        self._width = max(MIN_WIDTH, min(WIDTH, shutil.get_terminal_size().columns))
        self._styled = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def say(self, text: str, *, bold: bool = False) -> None:
        """A paragraph."""
        self._print(text, "1" if bold else "")

    def step(self, text: str) -> None:
        """Something has happened: say when, in seconds since the start."""
        self._print(text, "", f"{time.monotonic() - self._start:6.2f} s  ")

    def page(self, html: str) -> None:
        """The page's title, its first words and the facts on it."""
        from enarx.cli.page_text import text_of_page

        page = text_of_page(html)
        self._print("")
        self._print(page.title, "1", "  | ", repeat=True)
        for paragraph in page.paragraphs[:2]:
            self._print(paragraph, "", "  | ", repeat=True)
        for name, value in page.facts[:SHOWN_FACTS]:
            self._print(f"{name}: {value}", "2", "  | ", repeat=True)
        self._print("")

    def stack(self, stack: Stack) -> None:
        """Who had to be trusted for all of that, in short."""
        from enarx.trust.terminal import SYMBOLS, Style, render_short
        from enarx.trust.words import Words

        words = Words("en")
        self._print("")
        self._print(words("page.heading"), "1")
        style = Style(self._width, self._styled, ascii_only=not can_show(SYMBOLS))
        for line in render_short(stack, words, style):
            print(showable(line), flush=True)
        self._print(words("summary.more"))

    def _print(self, text: str, style: str = "", prefix: str = "", *, repeat: bool = False) -> None:
        import textwrap

        later = prefix if repeat else " " * len(prefix)
        safe = "".join(char if char.isprintable() else "?" for char in text)
        filled = textwrap.fill(
            safe, self._width, initial_indent=prefix, subsequent_indent=later, break_on_hyphens=False
        )  # fmt: skip
        wrapped = showable(filled)
        print(f"\x1b[{style}m{wrapped}\x1b[0m" if style and self._styled else wrapped, flush=True)
