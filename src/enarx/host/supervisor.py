"""What the process that stays beside a detached Keep does: it is the Keep's host in every way, and its parent.

To the world it shows what the files of `enarx.host.deployments` are for. Until the workload runs, the command waits for
it and both have one terminal, so that errors are seen; afterwards nothing of the command is left in it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from enarx.errors import EnarxError, HostError
from enarx.host.contract import Ending, Watcher
from enarx.host.deployments import CONTROL, Deployments, Own
from enarx.host.facts import Facts, Process
from enarx.host.logs import STREAMS, Log, Pump
from enarx.host.streams import open_stdio

if TYPE_CHECKING:
    from enarx.manifest import Manifest

STOP: Final = b"stop"
"""The one datagram that a supervisor understands."""
MAX_UPDATES: Final = 1024
"""How often one deployment's facts are written: a Keep that changes them for ever cannot wear out a disk (count)."""
MAX_MESSAGE_CHARS: Final = 2048
"""How much of an error's text the facts keep."""
ENDING: Final = (signal.SIGTERM, signal.SIGINT)
"""Signals that end a supervisor in good order."""

Work = Callable[["Supervisor"], Ending]
"""Launches a Keep and serves it to its end; raises EnarxError when it cannot."""


@dataclass(frozen=True, slots=True)
class Detached:
    """What the supervisor said: a deployment that runs, or (``name`` is empty) the exit status of one that does not."""

    name: str
    status: int = 0
    listening: Sequence[str] = field(default=())


class _Stopped(BaseException):
    """Somebody wants us to end before the Keep is served, which would end it in good order."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be deployed. ``show`` tells the person at the terminal of an error; without ``name`` one is found."""

    deployments: Deployments
    name: str | None
    reference: str
    backend: str
    work: Work
    show: Callable[[EnarxError], None]


class Stopping:
    """SIGTERM and SIGINT: remembered, and raised as `_Stopped` while ``armed``."""

    def __init__(self) -> None:
        self.armed = False
        self.wanted = False
        for number in ENDING:
            signal.signal(number, self._handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def _handle(self, _number: int, _frame: object) -> None:
        self.wanted = True
        self.check()

    def check(self) -> None:
        """Raise `_Stopped` when that is what somebody wants."""
        if self.armed and self.wanted:
            self.armed = False
            raise _Stopped


def point(number: int, fd: int) -> None:
    """Let the standard descriptor ``number`` be ``fd``, which is taken over."""
    os.dup2(fd, number)
    os.close(fd)


class Supervisor(Watcher):
    """Keeps the facts of one deployment true while its Keep is launched and served."""

    def __init__(self, own: Own, answer: int, stopping: Stopping, now: Callable[[], datetime]) -> None:
        self._own = own
        self._answer = answer
        self._stopping = stopping
        self._now = now
        self._updates = 0
        self._pumps = {stream: Pump(Log(own.fd, stream)) for stream in STREAMS}

    @classmethod
    def begin(cls, order: Order, answer: int, stopping: Stopping) -> Supervisor:
        """Make the deployment. Raises HostError or UsageError."""
        facts = Facts("", order.reference, order.backend, _text(_utc()), Process.of(os.getpid()))
        own = order.deployments.create(order.name, facts)
        try:
            control = _control(own.fd)
        except HostError as error:
            with contextlib.suppress(OSError):
                own.write_last(replace(own.facts, ended=facts.created, **_failed(error)))
            raise
        threading.Thread(target=_obey, args=(control,), name="control", daemon=True).start()
        return cls(own, answer, stopping, _utc)

    def stdio(self, name: str) -> int:
        """A descriptor for one of the workload's standard streams. Raises StreamError."""
        pump = self._pumps.get(name)
        return open_stdio(name) if pump is None else pump.end()

    def supervise(self, order: Order) -> int:
        """Do the work and note how it ends. Returns the exit status."""
        try:
            last = self._work(order)
        except _Stopped:  # from anywhere in there
            last = _last("stopped", 128 + signal.SIGTERM)
        self._end(last)
        return int(last["status"])

    def _work(self, order: Order) -> dict[str, Any]:
        """Do the work. Returns the last facts; raises `_Stopped` when it is to be ended before the Keep is served."""
        try:
            self._stopping.armed = True
            self._stopping.check()
            return _ended(order.work(self))
        except EnarxError as error:
            order.show(error)
            return _failed(error)
        except Exception as error:  # noqa: BLE001 - whoever looks for it must hear of it
            traceback.print_exc()
            return _last("failed", 1, "host-internal", repr(error), "this is a fault of the host; please report it")
        finally:
            self._stopping.armed = False

    def _end(self, last: dict[str, Any]) -> None:
        for number, stream in enumerate((sys.stdout, sys.stderr), 1):
            stream.flush()
            point(number, os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
        for pump in self._pumps.values():
            pump.close()
        with contextlib.suppress(OSError):
            self._own.write_last(replace(self._own.facts, ended=_text(self._now()), listening=(), **last))
        if self._answer >= 0:
            send(self._answer, Detached("", last["status"]))

    def note(self, **facts: Any) -> None:
        """More is known. A disk without room loses it, and the Keep goes on."""
        if self._updates < MAX_UPDATES:
            self._updates += 1
            new = replace(self._own.facts, **facts)
            self._own.facts = new
            with contextlib.suppress(OSError):
                self._own.write(new)

    def spawned(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            self.note(keep=Process.of(pid))

    def launched(self, manifest: Manifest) -> None:
        pin = manifest.steward
        told = {} if pin is None else {"steward": pin.url, "steward_ca": pin.ca}
        self.note(manifest=f"sha256:{manifest.digest().hex()}", **told)

    def proves(self, source: str) -> None:
        self.note(evidence=source)

    def listening(self, endpoints: Sequence[str]) -> None:
        self.note(listening=tuple(endpoints))

    def running(self) -> None:
        """Tell the command, which then ends, and let go of all that is its."""
        self.note(started=_text(self._now()))
        for number, stream in enumerate((sys.stdout, sys.stderr), 1):
            stream.flush()
            point(number, self._pumps["stderr"].end())
        os.chdir("/")
        send(self._answer, Detached(self._own.facts.name, 0, self._own.facts.listening))
        self._answer = -1
        gc.collect()  # what was fetched has been sent, and nothing else may come for months that frees it


def _ended(ending: Ending) -> dict[str, Any]:
    """The last facts of a workload."""
    outcome = "stopped" if ending.stopped else "failed" if ending.message else "exited"
    return _last(outcome, ending.status, ending.code, ending.message, ending.hint)


def _failed(error: EnarxError) -> dict[str, Any]:
    """The last facts of a launch that failed."""
    return _last("failed", error.exit_status, error.code, error.message, error.hint)


def _last(outcome: str, status: int, code: str = "", message: str = "", hint: str = "") -> dict[str, Any]:
    message, hint = message[:MAX_MESSAGE_CHARS], hint[:MAX_MESSAGE_CHARS]
    return {"outcome": outcome, "status": status, "code": code, "message": message, "hint": hint}


def send(answer: int, detached: Detached) -> None:
    """Answer the command, if it is still there."""
    said = {"name": detached.name, "status": detached.status, "listening": list(detached.listening)}
    with contextlib.suppress(OSError), open(answer, "wb") as pipe:
        pipe.write(json.dumps(said).encode())


def _control(directory: int) -> socket.socket:
    """The socket by which others of this user say what to do. Raises HostError."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        path = f"/proc/self/fd/{directory}/{CONTROL}"  # the real one may be longer than the name of a socket may be
        control.bind(path)
        os.chmod(path, 0o600)
    except OSError as error:
        control.close()
        raise HostError(
            f"the supervisor's socket cannot be made: {error.strerror}", code="runtime-directory",
            hint="make room, or choose another place by XDG_RUNTIME_DIR",
        ) from error  # fmt: skip
    return control


def _obey(control: socket.socket) -> None:
    while True:
        if control.recv(len(STOP) + 1) == STOP:
            os.kill(os.getpid(), signal.SIGTERM)


def _utc() -> datetime:
    return datetime.now(UTC)


def _text(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds")
