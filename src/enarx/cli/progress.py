"""A bar for transfers, on a terminal; elsewhere nothing is drawn."""

from __future__ import annotations

import os
import time
from typing import Final, TextIO

REDRAW_SECONDS: Final = 0.1
BAR_CHARS: Final = 24
DEFAULT_COLUMNS: Final = 80
_DIGEST_SHOWN_CHARS: Final = 19
"""``sha256:`` and twelve digits: enough to tell two apart."""


class ProgressBar:
    """What ``enarx.registry`` calls with how far a transfer is. Used as a context manager, which wipes the bar away."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = False
        self._next = 0.0
        self._what = ""
        self._since = 0.0
        self._begun_at = 0
        self._terminal = _is_terminal(stream)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._wipe()

    def __call__(self, what: str, done: int, total: int) -> None:
        if not self._terminal:
            return
        now = time.monotonic()
        if what != self._what:
            self._what, self._since, self._begun_at, self._next = what, now, done, 0.0
        if now >= self._next or done == total:
            self._next = now + REDRAW_SECONDS
            rate = (done - self._begun_at) / (now - self._since) if now > self._since else 0.0
            self._draw(bar(what, done, total, rate))

    def _draw(self, text: str) -> None:
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns or DEFAULT_COLUMNS
        except OSError:
            columns = DEFAULT_COLUMNS
        self._stream.write(f"\r\x1b[K{text[: columns - 1]}")
        self._stream.flush()
        self._drawn = True

    def _wipe(self) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = False


def bar(what: str, done: int, total: int, rate: float) -> str:
    """One line: what, a bar, megabytes done of all, and megabytes a second."""
    verb, _, name = what.partition(" ")
    filled = BAR_CHARS * done // total if total else BAR_CHARS
    drawn = "#" * filled + "." * (BAR_CHARS - filled)
    speed = f"  {rate / 1e6:.0f} MB/s" if rate >= 1e6 else ""
    return f"{verb} {name[:_DIGEST_SHOWN_CHARS]} [{drawn}] {done / 1e6:.1f}/{total / 1e6:.1f} MB{speed}"


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    except (OSError, ValueError):
        return False
