"""What each kind of Keep needs of a machine, and whether this one has it.

A kind of Keep is judged by facts of the machine that is asked: no row launches anything, and a machine that passes has
still to show that it can. ``require`` is the same judgement in front of a launch.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from enarx import __version__
from enarx.errors import HostError, UsageError
from enarx.host.platform import amd, intel, local
from enarx.host.platform.cpu import read_cpu
from enarx.host.platform.facts import Facts, Needs
from enarx.host.platform.firmware import read_firmware
from enarx.host.platform.kvm import read_kvm
from enarx.host.platform.machine import Machine
from enarx.host.platform.qemufacts import QemuFacts, ask_qemu, find_qemu
from enarx.host.platform.rows import Backend, Row
from enarx.host.qemu.machine import DEFAULT_MEMORY_MIB

BACKENDS: Final[dict[str, Callable[[Facts], tuple[Row, ...]]]] = {
    "process": local.process,
    "vm": local.vm,
    "snp": amd.snp,
    "sev": amd.sev,
    "sev-es": amd.sev_es,
    "tdx": intel.tdx,
}
"""The kinds of Keep, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything that `enarx platform info` says."""

    system: str
    machine: tuple[Row, ...]
    backends: tuple[Backend, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """The published tool's shape: version, system_info, backends; and ``machine``."""
        return {
            "version": __version__,
            "system_info": self.system,
            "machine": [row.as_json() for row in self.machine],
            "backends": [backend.as_json() for backend in self.backends],
        }


def gather(
    machine: Machine,
    *,
    image: str | None = None,
    firmware: str | None = None,
    qemu: QemuFacts | None = None,
    memory_mib: int = DEFAULT_MEMORY_MIB,
) -> Facts:
    """Everything that is known about a launch on ``machine``.

    ``image``: its directory, None for the user's. ``firmware``: None for the image's. ``qemu``: None asks the one that
    would be started. ``memory_mib``: of the guest.
    """
    failure, firmware_path = _image(image)
    return Facts(
        machine,
        read_cpu(machine),
        read_kvm(machine),
        ask_qemu(find_qemu()) if qemu is None else qemu,
        failure,
        read_firmware(firmware or firmware_path),
        Needs(memory_mib, firmware_named=firmware is not None),
    )


def _image(directory: str | None) -> tuple[str, str]:
    """Why there is no image, or nothing; and where its firmware is."""
    from pathlib import Path

    from enarx.host.image.layout import default_directory, open_image

    try:
        found = open_image(Path(directory) if directory else default_directory())
    except HostError as error:
        return error.message, ""
    return "", str(found.firmware)


def survey(facts: Facts) -> Survey:
    """All kinds of Keep judged."""
    backends = tuple(Backend(name, judge(facts)) for name, judge in BACKENDS.items())
    return Survey(_system(facts), local.machine(facts), backends)


def require(kind: str, facts: Facts) -> None:
    """Raise HostError (``platform-unsuitable``) naming everything that a launch of this kind lacks, if anything.

    UsageError (``backend-unknown``) for a kind that there is not.
    """
    judge = BACKENDS.get(kind)
    if judge is None:
        raise UsageError(
            f'Keep backend identifier "{kind}" is unknown.',
            code="backend-unknown",
            hint=f"one of {', '.join(BACKENDS)}",
        )
    missing = list(_missing(judge(facts)))
    if missing:
        listed = "".join(f"\n  - {what}" for what in missing)
        raise HostError(
            f'Keep backend "{kind}" is not available on this platform, and nothing was started:{listed}',
            code="platform-unsuitable",
            hint="`enarx platform info` shows everything that was looked at",
        )


def _missing(rows: Iterable[Row], within: str = "") -> Iterator[str]:
    """The innermost rows that are required and do not pass, in words."""
    for row in rows:
        name = f"{within}, {row.name}" if within else row.name
        if row.passed or not row.required:
            continue
        if row.rows:
            yield from _missing(row.rows, name)
        else:
            yield f"{name}: {row.info}{'; ' + row.advice if row.advice else ''}"


def _system(facts: Facts) -> str:
    kernel = facts.machine.text("/proc/sys/kernel/osrelease", 256) or "unknown kernel"
    return f"Linux {kernel} {platform.machine()}, {facts.cpu.name or 'unknown processor'}"
