"""One measured figure, the bar that it must reach, and what it was compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Better(Enum):
    """Which way a figure is good."""

    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True, slots=True)
class Figure:
    """``value`` in ``unit``; ``bar`` is None for a figure that only informs.

    ``peer`` says what it was measured against in the same run. ``details`` has the numbers behind it, each under a
    name that ends in its unit.
    """

    name: str
    value: float
    unit: str
    better: Better
    peer: str
    bar: float | None = None
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the bar is reached."""
        if self.bar is None:
            return True
        return self.value <= self.bar if self.better is Better.LOWER else self.value >= self.bar

    def as_json(self) -> dict[str, object]:
        """The figure as a JSON object."""
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "unit": self.unit,
            "better": self.better.value,
            "bar": self.bar,
            "ok": self.ok,
            "peer": self.peer,
            "details": {name: round(value, 4) for name, value in self.details.items()},
        }
