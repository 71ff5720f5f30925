"""Launches that have begun and whose measurement is awaited: in memory alone, bounded in number and in time.

Nothing is stored anywhere: an approver that ends forgets its launches, and their hosts begin anew.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Final

from enarx.errors import PolicyError
from enarx.tenant.approver.approve import Begun

PENDING_MAX: Final = 1024
"""Launches that are awaited at once (count)."""
PENDING_SECONDS: Final = 600.0
"""How long a launch is awaited (seconds): QEMU measures large images in a few."""
NAME_BYTES: Final = 16
"""Random bytes in the name of a launch: whoever cannot guess it cannot spend the keys of another's."""


class PendingLaunches:
    """Launches by name. Each is given out once; times are seconds of a clock that only goes on."""

    def __init__(self, most: int = PENDING_MAX) -> None:
        self._launches: OrderedDict[str, tuple[float, Begun]] = OrderedDict()
        self._most = most

    def add(self, begun: Begun, at: float) -> str:
        """Await a launch; returns its name. PolicyError (``launches-pending``) when there are too many."""
        self._expire(at)
        if len(self._launches) >= self._most:
            raise PolicyError(
                f"{self._most} launches have begun and were not measured",
                code="launches-pending",
                hint=f"try again; each is given up after {PENDING_SECONDS:g} s",
            )
        name = secrets.token_hex(NAME_BYTES)
        self._launches[name] = (at, begun)
        return name

    def take(self, name: str, at: float) -> Begun:
        """The launch of that name, which nobody gets again. PolicyError (``launch-unknown``)."""
        self._expire(at)
        found = self._launches.pop(name, None)
        if found is None:
            raise PolicyError(
                "no such launch is awaited",
                code="launch-unknown",
                hint=f"a launch is measured once, within {PENDING_SECONDS:g} s of its beginning; begin a new one",
            )
        return found[1]

    def _expire(self, at: float) -> None:
        while self._launches:
            name, (since, _) = next(iter(self._launches.items()))
            if at - since < PENDING_SECONDS:
                return
            del self._launches[name]
