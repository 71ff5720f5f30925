"""When to try again, and how long to wait before: exponential backoff with jitter.

Source: RFC 9110 10.2.3 for Retry-After. The jitter is there so that many clients of a registry that comes back do
not all come back at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from enarx.errors import RegistryError
from enarx.registry.transport import TransientError

ATTEMPTS: Final = 6
"""Tries of one thing without getting any further (count)."""
FIRST_DELAY_SECONDS: Final = 0.25
DELAY_MAX_SECONDS: Final = 10.0
RETRY_AFTER_MAX_SECONDS: Final = 60.0
"""A server may make us wait this long, not longer (seconds)."""
PROGRESS_BYTES: Final = 1 << 20
"""Moving this much makes the count of tries begin again, so that their number is bounded by the size (bytes)."""
TRANSIENT_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How to wait, and what the dice are; tests bring their own."""

    sleep: Callable[[float], None] = time.sleep
    dice: Callable[[], float] = random.random
    attempts: int = ATTEMPTS


class Attempts:
    """Counts the tries of one thing."""

    def __init__(self, patience: Patience, what: str) -> None:
        self._patience = patience
        self._what = what
        self._failed = 0
        self._mark = 0

    def progress(self, done: int) -> None:
        """Say how many bytes are done; enough of them make the count begin again."""
        if done >= self._mark + PROGRESS_BYTES:
            self._mark = done
            self._failed = 0

    def failed(self, failure: TransientError) -> None:
        """Wait before the next try; RegistryError ``registry-unreachable`` after the last."""
        self._failed += 1
        if self._failed >= self._patience.attempts:
            raise RegistryError(
                f"{self._what} failed {self._failed} times: {failure.reason}",
                code="registry-unreachable",
                hint="check that the registry answers from here, then run the command again: it goes on where it was",
            ) from failure
        longest = min(DELAY_MAX_SECONDS, FIRST_DELAY_SECONDS * 2 ** (self._failed - 1))
        delay = longest * (0.5 + self._patience.dice() / 2)
        self._patience.sleep(max(delay, min(failure.retry_after, RETRY_AFTER_MAX_SECONDS)))


def retrying(patience: Patience, what: str, action: Callable[[], T]) -> T:
    """The result of ``action``, tried again while it raises TransientError."""
    attempts = Attempts(patience, what)
    while True:
        try:
            return action()
        except TransientError as failure:
            attempts.failed(failure)


def parse_retry_after(text: str | None) -> float:
    """Seconds of a ``Retry-After`` header; 0 for none, and for a date, which needs a clock that agrees with theirs."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9:
        return 0.0
    return float(text)
