"""Virtual CPU models: the CPUID signature that a VMM puts into EDX of a new vCPU, which is measured.

The models are QEMU's built-in ones for EPYC (``builtin_x86_defs`` in ``target/i386/cpu.c``, up to QEMU 10.1). A version
of a model changes features and caches, never family, model or stepping, so the signature is that of the model.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from enarx.errors import UsageError

MAX_FAMILY: Final = 0xF + 0xFF
MAX_MODEL: Final = 0xFF
MAX_STEPPING: Final = 0xF
MAX_SIGNATURE: Final = 0xFFFF_FFFF

_MODELS: Final = (
    # name, family, model, stepping, newest version
    ("EPYC", 23, 1, 2, 5),
    ("EPYC-Rome", 23, 49, 0, 5),
    ("EPYC-Milan", 25, 1, 1, 3),
    ("EPYC-Genoa", 25, 17, 0, 2),
    ("EPYC-Turin", 26, 0, 0, 1),
)


def cpu_signature(family: int, model: int, stepping: int) -> int:
    """The 32-bit CPUID signature of a family, model and stepping.

    Raises UsageError (``vcpu-signature``) for numbers that the signature cannot carry.
    Source: AMD APM volume 3 (24594), CPUID Fn0000_0001_EAX.
    """
    in_range = 0 <= family <= MAX_FAMILY and 0 <= model <= MAX_MODEL and 0 <= stepping <= MAX_STEPPING
    if not in_range or (family < 0xF and model > 0xF):
        raise UsageError(
            f"no CPU has family {family}, model {model}, stepping {stepping}",
            code="vcpu-signature",
            hint=f"limits are family {MAX_FAMILY}, model {MAX_MODEL}, stepping {MAX_STEPPING}; "
            "a family below 15 has models up to 15",
        )
    base_family, extended_family = (0xF, family - 0xF) if family > 0xF else (family, 0)
    return extended_family << 20 | (model >> 4) << 16 | base_family << 8 | (model & 0xF) << 4 | stepping


def _signatures() -> dict[str, int]:
    table = {}
    for name, family, model, stepping, newest in _MODELS:
        signature = cpu_signature(family, model, stepping)
        table[name] = signature
        table.update({f"{name}-v{version}": signature for version in range(1, newest + 1)})
    table["EPYC-IBPB"] = table["EPYC-v2"]  # QEMU keeps the old name as an alias
    return table


VCPU_TYPES: Final = MappingProxyType(_signatures())
"""CPUID signature by QEMU's name of the vCPU model."""


def vcpu_signature(name: str) -> int:
    """The CPUID signature of a vCPU model by QEMU's name; raises UsageError (``vcpu-type``) for an unknown one."""
    try:
        return VCPU_TYPES[name]
    except KeyError as error:
        raise UsageError(
            f"the vCPU type {name!r} is not known",
            code="vcpu-type",
            hint=f"known are {', '.join(sorted(VCPU_TYPES))}; or give its signature, or family, model and stepping",
        ) from error
