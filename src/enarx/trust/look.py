"""How owners and statuses look, in every form: colour and pattern and letter, so that no colour has to be seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from enarx.trust.model import Owner, Status


@dataclass(frozen=True, slots=True)
class Look:
    """Of an owner. ``fill``: a colour on which white text has a contrast of at least 4.5 (WCAG 2.2, 1.4.3).

    ``letter`` stands for the owner where there is no room; ``ansi`` is its background in the 256 colours of terminals.
    """

    fill: str
    letter: str
    ansi: int


OWNERS: Final = {
    Owner.TENANT: Look("#1d5fc4", "T", 26),
    Owner.MIDDLEWARE: Look("#0a7558", "M", 29),
    Owner.OS_VENDOR: Look("#6b45b5", "V", 61),
    Owner.CLOUD: Look("#b5470b", "C", 130),
    Owner.OEM: Look("#846200", "E", 94),
    Owner.SILICON: Look("#455266", "S", 240),
    Owner.THIRD_PARTY: Look("#a92f74", "P", 126),
}

MARKS: Final = {
    Status.PROVED: ("✓", "+"),
    Status.ASSUMED: ("●", "o"),
    Status.UNKNOWN: ("?", "?"),
    Status.UNPROTECTED: ("✗", "x"),
    Status.OUT: ("○", "-"),
    Status.ABSENT: ("·", "."),
}
"""In a terminal: the mark, and one for terminals that have only ASCII."""

ANSI: Final = {
    Status.PROVED: "32",
    Status.ASSUMED: "33",
    Status.UNKNOWN: "35",
    Status.UNPROTECTED: "31",
    Status.OUT: "2",
    Status.ABSENT: "2",
}
"""SGR parameters of a status."""
