"""How long the steps of a Keep's start took, for ``--timings``."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Timings:
    """Where start-up time went: (step, milliseconds since the Keep's first instruction)."""

    start: float
    steps: list[tuple[str, float]] = field(default_factory=list)

    def mark(self, step: str) -> None:
        """``step`` is done."""
        self.steps.append((step, round((time.monotonic() - self.start) * 1000, 2)))
