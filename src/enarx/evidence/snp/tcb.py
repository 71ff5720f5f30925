"""TCB_VERSION: the security versions of a platform's firmware, eight bytes (56860 table 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from enarx.evidence.snp.product import CLASSIC_COMPONENTS

TCB_BYTES = 8


@dataclass(frozen=True, slots=True)
class Tcb:
    """Eight bytes as stored in the report, and the names that the product gives them.

    Not ordered: a TCB is at least another only if every component is, so minimums are stated and judged one by one.
    """

    raw: bytes
    components: tuple[str, ...] = CLASSIC_COMPONENTS

    def component(self, name: str) -> int | None:
        """The security version of ``bootloader``, ``tee``, ``snp``, ``microcode`` or ``fmc``; None if it has none."""
        return self.raw[self.components.index(name)] if name in self.components else None

    def named(self) -> Mapping[str, int]:
        """Every component by name in stored order, reserved ones only when they are not zero."""
        return {
            name: value
            for name, value in zip(self.components, self.raw, strict=True)
            if value or not name.startswith("reserved")
        }

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.named().items())
