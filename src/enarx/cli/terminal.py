"""What the terminal, or whatever standard output is, can show."""

from __future__ import annotations

import sys


def can_show(text: str) -> bool:
    """Whether standard output's encoding has every character of ``text``."""
    try:
        text.encode(_encoding())
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def showable(text: str) -> str:
    """``text`` with a question mark for each character that standard output's encoding does not have."""
    encoding = _encoding()
    return text.encode(encoding, "replace").decode(encoding)


def _encoding() -> str:
    return sys.stdout.encoding or "ascii"
