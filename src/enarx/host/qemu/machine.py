"""What a user may choose of a virtual machine: how much memory, and how many processors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from enarx.errors import UsageError

CPU_MODEL: Final = "EPYC-v4"
"""The model of every vCPU, whatever the host has: it is measured, and a name such as ``host`` would mean many."""
DEFAULT_MEMORY_MIB: Final = 512
MIN_MEMORY_MIB: Final = 128
MAX_MEMORY_MIB: Final = 1 << 20
"""Memory of a guest, in MiB: 128 MiB to 1 TiB."""
MAX_CPUS: Final = 32
"""vCPUs of a guest (count): an image states the launch digests of as many."""

_SIZE: Final = re.compile(r"([1-9][0-9]{0,9})([MGT])(?:i?B)?", re.IGNORECASE)
_MIB: Final = {"M": 1, "G": 1 << 10, "T": 1 << 20}


@dataclass(frozen=True, slots=True)
class Machine:
    """``memory`` is in MiB. Raises UsageError (``vm-memory``, ``vm-cpus``) for what no guest can have."""

    memory: int = DEFAULT_MEMORY_MIB
    cpus: int = 1

    def __post_init__(self) -> None:
        if not MIN_MEMORY_MIB <= self.memory <= MAX_MEMORY_MIB:
            raise UsageError(
                f"a guest cannot have {self.memory} MiB of memory",
                code="vm-memory",
                hint=f"{MIN_MEMORY_MIB} MiB to {MAX_MEMORY_MIB >> 20} TiB, for example --memory 512M",
            )
        if not 1 <= self.cpus <= MAX_CPUS:
            raise UsageError(f"a guest cannot have {self.cpus} vCPUs", code="vm-cpus", hint=f"1 to {MAX_CPUS}")

    def __str__(self) -> str:
        return f"{self.memory} MiB, {self.cpus} vCPU{'s' * (self.cpus > 1)} {CPU_MODEL}"


def parse_memory(text: str) -> int:
    """A size such as ``512M`` or ``2G``, in MiB. Raises UsageError (``vm-memory``)."""
    match = _SIZE.fullmatch(text) if text.isascii() else None
    if match is None:
        raise UsageError(
            f"{text[:40]!r} is not a size of memory", code="vm-memory", hint="for example --memory 512M, or 2G"
        )
    return int(match[1]) * _MIB[match[2].upper()]


def parse_cpus(text: str) -> int:
    """A number of vCPUs. Raises UsageError (``vm-cpus``)."""
    if not text.isascii() or not text.isdecimal() or len(text) > 4:
        raise UsageError(f"{text[:40]!r} is not a number of vCPUs", code="vm-cpus", hint="for example --cpus 2")
    return int(text)
