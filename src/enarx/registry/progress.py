"""Who is told how far a transfer is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with what is moved (``push`` or ``pull``, and a digest or a name), and bytes done of bytes in all.

    Calls for one thing have rising ``done``, but for a transfer that starts again; the last has ``done == total``.
    """

    def __call__(self, what: str, done: int, total: int) -> None: ...


def silent(what: str, done: int, total: int) -> None:
    """Tells nobody."""
