"""The kinds of Keep: one module for each, behind one interface that starts a Keep and its secure processor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol, cast

from enarx.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from enarx.host.contract import RunningKeep
    from enarx.host.sev.launch import Approver

KINDS: Final = MappingProxyType(
    {
        "process": "enarx.host.kinds.process",
        "vm": "enarx.host.kinds.vm",
        "snp": "enarx.host.kinds.snp",
        "sev": "enarx.host.kinds.sev",
        "sev-es": "enarx.host.kinds.sev_es",
        "tdx": "enarx.host.kinds.tdx",
    }
)
"""Kind of Keep, and the module whose ``start`` is a `Start`."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What can be asked of a launch on a secure processor alone: files, None where nothing was named."""

    firmware: Path | None = None
    id_block: Path | None = None
    id_auth: Path | None = None
    certificates: Path | None = None

    def named(self) -> list[str]:
        """The options of those that were."""
        files = {
            "--firmware": self.firmware,
            "--id-block": self.id_block,
            "--id-auth": self.id_auth,
            "--certificates": self.certificates,
        }
        return [option for option, file in files.items() if file is not None]


@dataclass(frozen=True, slots=True)
class Approval:
    """That a launch is one of SEV: which approver of the tenant's judges it while it happens, and what it is shown.

    ``launched`` gives the manifest and the signatures of the package, for which it has to read what is launched.
    """

    approver: Approver
    launched: Callable[[], tuple[bytes, Sequence[bytes]]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of a Keep, apart from what runs in it.

    ``host_data`` gives the digest of the launch's manifest, 32 bytes, for which it has to read what is launched: a kind
    of Keep that is launched with it calls it, others start while that is read. None when nothing is to be proved.
    ``config_id`` gives the same manifest's SHA-384, 48 bytes, for TDX.
    ``approval`` is for a launch of SEV: on a SIMULATED platform, where the kind of Keep is not one of SEV itself.
    ``lies`` names how a SIMULATED processor misbehaves. ``memory`` in MiB, ``cpus`` and ``image`` are for a virtual
    machine, None for their defaults. ``now`` is the clock, ``say`` tells the person at the
    terminal, ``detail`` who asked for more.
    """

    now: Callable[[], datetime]
    say: Callable[[str], None]
    detail: Callable[[str], None]
    host_data: Callable[[], bytes] | None = None
    approval: Approval | None = None
    lies: str = ""
    image: Path | None = None
    memory: int | None = None
    cpus: int | None = None
    config_id: Callable[[], bytes] | None = None
    hardware: Hardware = field(default_factory=Hardware)


class Processor(Protocol):
    """The secure processor of a Keep that proves itself, while the Keep starts."""

    failure: BaseException | None

    def wait(self) -> None:
        """Until it can answer the Keep. Raises EnarxError."""

    def finish(self, host_data: bytes) -> None:
        """The launch is for the manifest with this digest."""

    def abandon(self) -> None:
        """There will be no launch, or it is over."""


@dataclass(frozen=True, slots=True)
class Started:
    """A Keep that has been started as the process ``pid``, and its processor, if it has one.

    ``machine`` and ``accelerator`` say in words what a virtual machine consists of, and what runs it and why.
    """

    keep: RunningKeep
    pid: int
    processor: Processor | None = None
    machine: str = ""
    accelerator: str = ""


class Start(Protocol):
    """Starts a Keep; must be called by a thread that lives as long as the Keep shall. Raises EnarxError."""

    def __call__(self, plan: Plan) -> Started: ...


def start_of(kind: str) -> Start:
    """How Keeps of this kind are started. Raises UsageError (``backend-unknown``)."""
    module = KINDS.get(kind)
    if module is None:
        raise UsageError(
            f'Keep backend identifier "{kind}" is unknown.',
            code="backend-unknown",
            hint=f"this version has {', '.join(f'`{name}`' for name in KINDS)}",
        )
    return cast("Start", import_module(module).start)


def refuse_machine_options(kind: str, plan: Plan) -> None:
    """For a Keep that is no virtual machine. Raises UsageError when something of one is asked for."""
    for option, value in (("--image", plan.image), ("--memory", plan.memory), ("--cpus", plan.cpus)):
        if value is not None:
            raise UsageError(
                f"{option} is for a virtual machine, and a {kind} Keep is none", hint="choose one by --backend vm"
            )


def refuse_hardware_options(kind: str, hardware: Hardware, *allowed: str) -> None:
    """Raises UsageError when an option other than those ``allowed`` is given, which this kind of Keep cannot heed."""
    for option in hardware.named():
        if option not in allowed:
            wanted = "tdx" if option == "--firmware" else "snp"
            raise UsageError(f"{option} is not for a {kind} Keep", hint=f"it goes with --backend {wanted}")


def refuse_simulator(kind: str, plan: Plan) -> None:
    """For a Keep whose processor is real. Raises UsageError when it is told how to misbehave."""
    if plan.lies:
        raise UsageError(
            f"--simulator-misbehave is for the SIMULATED processor, and a {kind} Keep has a real one",
            hint="it goes with --backend process or vm",
        )


def refuse_approver(kind: str, plan: Plan) -> None:
    """For a Keep that has its evidence while it runs. Raises UsageError when it is to be approved of before."""
    if plan.approval is not None:
        raise UsageError(
            f"--approver is for launches of SEV and SEV-ES, and a {kind} Keep proves itself to its Steward alone",
            hint="leave it out",
        )
