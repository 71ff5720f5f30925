"""The processor: vendor, family, features, and what CPUID says about encrypted guests.

Sources: AMD64 Architecture Programmer's Manual volume 3 (24594), E.4.17, leaf 0x8000001F; Linux ``/proc/cpuinfo``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from enarx.host.platform.machine import Machine

AMD: Final = "AuthenticAMD"
INTEL: Final = "GenuineIntel"
ENCRYPTED_MEMORY_LEAF: Final = 0x8000_001F

_LINE: Final = re.compile(r"^([^:\t]+?)\s*:[ \t]*(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class EncryptedMemory:
    """Leaf 0x8000001F: features (EAX), position of the C-bit and lost address bits (EBX), ASIDs (ECX, EDX)."""

    sme: bool
    sev: bool
    sev_es: bool
    sev_snp: bool
    c_bit: int
    reduced_phys_bits: int
    guests: int
    first_sev_asid: int

    @property
    def sev_guests(self) -> int:
        """How many SEV guests can run at once."""
        return max(0, self.guests - max(1, self.first_sev_asid) + 1)

    @property
    def sev_es_guests(self) -> int:
        """How many SEV-ES and SEV-SNP guests can run at once: they have the ASIDs below the first of SEV."""
        return max(0, self.first_sev_asid - 1)


@dataclass(frozen=True, slots=True)
class Cpu:
    """The first processor. Numbers are -1 and texts empty where they are not known."""

    vendor: str = ""
    name: str = ""
    family: int = -1
    model: int = -1
    stepping: int = -1
    microcode: str = ""
    flags: frozenset[str] = frozenset()
    memory: EncryptedMemory | None = None

    @property
    def generation(self) -> str:
        """The marketing name of a server generation that is known, else nothing."""
        return next((name for name, family, models in _GENERATIONS if self._is(family, models)), "")

    def _is(self, family: int, models: range) -> bool:
        return self.vendor == AMD and self.family == family and self.model in models


_GENERATIONS: Final = (
    ("EPYC 7001 (Naples)", 0x17, range(0x10)),
    ("EPYC 7002 (Rome)", 0x17, range(0x30, 0x40)),
    ("EPYC 7003 (Milan)", 0x19, range(0x10)),
    ("EPYC 9004 (Genoa)", 0x19, range(0x10, 0x20)),
    ("EPYC 8004/9754 (Siena, Bergamo)", 0x19, range(0xA0, 0xB0)),
    ("EPYC 9005 (Turin)", 0x1A, range(0x20)),
)
"""For people alone: what a processor can is asked of CPUID."""


def read_cpu(machine: Machine) -> Cpu:
    """The processor of ``machine``; without /proc/cpuinfo, nothing is known."""
    text = (machine.text("/proc/cpuinfo") or "").partition("\n\n")[0]
    facts = {name: value.strip() for name, value in _LINE.findall(text)}
    return Cpu(
        vendor=facts.get("vendor_id", ""),
        name=facts.get("model name", ""),
        family=_number(facts.get("cpu family")),
        model=_number(facts.get("model")),
        stepping=_number(facts.get("stepping")),
        microcode=facts.get("microcode", ""),
        flags=frozenset(facts.get("flags", "").split()),
        memory=_encrypted_memory(machine, facts.get("vendor_id", "")),
    )


def _encrypted_memory(machine: Machine, vendor: str) -> EncryptedMemory | None:
    registers = machine.cpuid(ENCRYPTED_MEMORY_LEAF) if vendor == AMD else None
    if registers is None:
        return None
    eax, ebx, ecx, edx = registers
    return EncryptedMemory(
        sme=bool(eax & 1),
        sev=bool(eax >> 1 & 1),
        sev_es=bool(eax >> 3 & 1),
        sev_snp=bool(eax >> 4 & 1),
        c_bit=ebx & 0x3F,
        reduced_phys_bits=ebx >> 6 & 0x3F,
        guests=ecx,
        first_sev_asid=edx,
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else -1
