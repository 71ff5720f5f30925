"""A virtual machine with a Keep in it, as `enarx.host.mux.CarriedKeep` wants what it carries the link of."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final

from enarx.errors import HostError
from enarx.host.mux import CarriedKeep
from enarx.host.qemu.child import QemuProcess
from enarx.host.qemu.command import Descriptors
from enarx.host.qemu.console import Console
from enarx.host.qemu.monitor import Monitor
from enarx.host.qemu.ports import NamelessListener

BOOT_SECONDS: Final = 180.0
"""How long a guest has until its Keep greets, in seconds: 5 to 10 without KVM, on a machine with nothing else to do."""
END_SECONDS: Final = 10.0
"""How long a guest whose Keep is gone has to power off, in seconds, before it is ended."""
SHOWN_LINES: Final = 4
"""Lines of the console, and of what QEMU says, that an error shows."""
_MONITOR_SECONDS: Final = 1.0
_REASONS: Final = {
    "guest-reset": "the guest crashed",
    "guest-panic": "the guest crashed",
    "host-signal": "somebody told QEMU to end",
    "host-qmp-quit": "somebody told QEMU to end",
}
"""Why QEMU says that a machine has ended, but for what a guest does to end in good order."""
_LACKS_MEMORY: Final = (
    "Out of memory",
    "out of memory",
    "Cannot allocate memory",
    "Initramfs unpacking failed",
    "oom-kill",
)
_TELLING: Final = ("Kernel panic", "Out of memory", "Initramfs unpacking failed", "enarx: ")
"""What a line of the console has that says more than the registers and addresses behind it."""

Arguments = Callable[[Descriptors], Sequence[str]]
"""QEMU's arguments, given the descriptors that it inherits."""


class Guest:
    """A virtual machine that QEMU runs. Everything that belongs to it ends with it.

    ``channel``: our end of the port for a SIMULATED secure processor, in a guest that has one; whoever takes it closes
    it. Must be made by a thread that lives as long as the guest shall.
    """

    def __init__(
        self, program: str, arguments: Arguments, *, simulated: bool = False,
        detail: Callable[[str], None] = lambda line: None,
    ) -> None:  # fmt: skip
        """Start it. ``detail`` gets all that was said, line by line, of a guest whose Keep has died. HostError."""
        self._late = False
        self._detail = detail
        self._listener = NamelessListener()
        pairs = [socket.socketpair() for _ in range(3 if simulated else 2)]
        (monitor, far_monitor), (console, far_console) = pairs[:2]
        self.channel: socket.socket | None = None
        far_channel = None
        if simulated:
            self.channel, far_channel = pairs[2]
        descriptors = Descriptors(
            far_monitor.fileno(), far_console.fileno(), self._listener.socket.fileno(),
            None if far_channel is None else far_channel.fileno(),
        )  # fmt: skip
        try:
            self._process = QemuProcess(program, arguments(descriptors), descriptors.all())
        except BaseException:
            self._listener.close()
            for ours, _ in pairs:
                ours.close()
            raise
        finally:
            for _, far in pairs:
                far.close()
        self.pid = self._process.pid
        self._listener.release()
        self.console, self._errors = Console(console.detach()), Console(self._process.errors)
        self.monitor = Monitor(monitor)

    def carry(self) -> CarriedKeep:
        """The Keep in this guest. Raises HostError, and ends the guest, when there is no connection to its port."""
        try:
            keep = CarriedKeep(self, self._listener.connect(), self._connect)
        except BaseException as error:
            self.kill()
            self.wait()
            raise self.obituary() if isinstance(error, OSError) else error from error
        threading.Thread(target=self._watch, args=(keep,), name="boot", daemon=True).start()
        return keep

    def kill(self) -> None:
        """End the guest at once."""
        self._process.kill()

    def wait(self) -> int:
        """Wait for the end of QEMU: its status."""
        status = self._process.wait()
        self._listener.close()
        return status

    def obituary(self) -> HostError:
        """The Keep is gone, and has not said why: end the guest, and say what is known."""
        by_itself = self._process.ended(END_SECONDS)
        self.kill()
        status = self.wait()
        self.monitor.join(_MONITOR_SECONDS)
        errors, console = self._errors.lines(), self.console.lines()
        for line in (*(f"QEMU: {line}" for line in errors), *(f"console: {line}" for line in console)):
            self._detail(line)
        hint = "run again with --verbose to see all of the console"
        if any(words in line for line in (*errors, *console) for words in _LACKS_MEMORY):
            hint = "it lacks memory: give it more by --memory"
        elif self._late:
            hint = "the machine may be very busy; if the guest hangs on KVM, set ENARX_ACCEL=tcg"
        said = [*errors[-SHOWN_LINES:], *(f"console: {line}" for line in _telling(console))]
        text = "".join(f"\n  {line}" for line in said)
        return HostError(
            f"the Keep ended unexpectedly: {self._how(status, by_itself=by_itself)}{text}", code="keep-died", hint=hint
        )

    def _how(self, status: int, *, by_itself: bool) -> str:
        if self._late:
            return f"no Keep greeted from the virtual machine within {BOOT_SECONDS:g} s"
        if not by_itself:
            return "it left its virtual machine, which went on"
        if status < 0:
            return f"QEMU was ended by signal {-status}"
        if status:
            return f"QEMU ended with status {status}"
        return _REASONS.get(self.monitor.reason, "the guest powered off")

    def _connect(self) -> socket.socket | None:
        """Another connection to the guest's port."""
        return self._listener.connect() if self._process.running() else None

    def _watch(self, keep: CarriedKeep) -> None:
        """End a guest that does not boot."""
        if not keep.greeted.wait(BOOT_SECONDS) and self._process.running():
            self._late = True
            with contextlib.suppress(OSError):
                keep.kill()


def _telling(lines: list[str]) -> list[str]:
    """The last few lines that tell something, or else the last few."""
    return [line for line in lines if any(words in line for words in _TELLING)][-SHOWN_LINES:] or lines[-SHOWN_LINES:]
