"""What a Keep is launched with, what its host tells while it runs, and how it ends."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from enarx.errors import EnarxError
from enarx.host.filebytes import Data, FileBytes

if TYPE_CHECKING:
    from enarx.manifest import Manifest

EVIDENCE_SOURCES: Final = {
    "": "none",
    "configfs-tsm": "from this machine's secure processor, by configfs-tsm",
    "sev-guest": "from this machine's secure processor, by /dev/sev-guest",
    "efi-secret": "approved at launch by the tenant, with a credential that was injected into this guest",
    "simulated-secret": "SIMULATED: approved at launch, by simulated SEV firmware, and no hardware stands behind it",
    "simulated": "SIMULATED: it comes from software on this machine, and no hardware stands behind it",
}
"""Where a Keep may say that its evidence is from, and how that is told to people."""


class RunningKeep(Protocol):
    """A Keep that has been started."""

    link: socket.socket

    @property
    def failure(self) -> EnarxError | None:
        """What broke the link, if that is known and is not the Keep's end."""

    def kill(self) -> None:
        """End it at once, if it has not ended."""

    def wait(self) -> int:
        """Wait for its end: its status, as ``os.waitstatus_to_exitcode`` gives it."""

    def obituary(self) -> EnarxError:
        """The link has ended, and the Keep has not said why: see to it that it has ended, and say how."""


@dataclass(slots=True)
class Package:
    """What to run. ``objects`` are (kind, name, bytes): manifest, if any, config, CA files, module, layers.

    Or instead of config, CA files, module and layers one ``package``. Signatures of either come last.
    """

    objects: Sequence[tuple[str, str, Data]]
    args: Sequence[str] = ()
    env: Sequence[tuple[str, str]] = ()
    require_sandbox: bool = False
    checked_calls: bool = False

    def close(self) -> None:
        """Close the files among its objects. `Host.run` does, once they are sent."""
        for _, _, data in self.objects:
            if isinstance(data, FileBytes):
                data.close()


@dataclass(slots=True)
class Ending:
    """How the workload ended. ``status`` is the exit status; ``message`` is empty when all is well.

    ``stopped``: somebody wanted it to end.
    """

    status: int
    code: str = ""
    message: str = ""
    hint: str = ""
    sandbox: dict[str, str] = field(default_factory=dict)
    timings: list[tuple[str, float]] = field(default_factory=list)
    evidence: str = ""
    stopped: bool = False


class Watcher:
    """Is told how a launch goes, by the thread that serves the Keep. This one is not interested."""

    def spawned(self, pid: int) -> None:
        """The Keep's process has been started."""

    def launched(self, manifest: Manifest) -> None:
        """The Keep has been launched for ``manifest``."""

    def proves(self, source: str) -> None:
        """The Keep says where its evidence is from: a key of EVIDENCE_SOURCES."""

    def listening(self, endpoints: Sequence[str]) -> None:
        """These are the addresses that the Keep listens on now."""

    def running(self) -> None:
        """The workload begins: everything that the Keep does before has succeeded."""


def printable(text: str) -> str:
    """Text from the Keep, for a terminal: anything that could be a control sequence is replaced."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)
