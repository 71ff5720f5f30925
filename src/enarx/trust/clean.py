"""Text that comes from evidence, files and hosts, made fit to be shown: the one place where that happens."""

from __future__ import annotations

from typing import Final

SHOWN_MAX: Final = 200
"""Longest text of a stranger's that is shown (characters)."""
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
ELLIPSIS: Final = "…"


def clean(text: str, limit: int = SHOWN_MAX) -> str:
    """``text`` on one line of at most ``limit`` characters.

    Whatever is not printable becomes U+FFFD: controls, line ends, escapes, halves of surrogate pairs, and the
    characters that turn the direction of writing around.
    """
    shown = "".join(char if char.isprintable() else REPLACEMENT for char in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + ELLIPSIS
