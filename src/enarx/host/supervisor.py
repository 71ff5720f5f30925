"""The process that stays beside a detached Keep: forked from the command, in a session of its own.

It is the Keep's host in every way, and its parent: the Keep ends when it does. To the world it shows what the files of
`enarx.host.deployments` are for. Until the workload runs, the command waits for it and both have one terminal, so that
errors are seen; afterwards the command ends and nothing of it is left in the supervisor.
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
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO, cast

from enarx.errors import EnarxError, HostError
from enarx.host.deployments import CONTROL, Deployments, Own
from enarx.host.facts import Facts, Process
from enarx.host.launch import Ending, Watcher
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
MAX_ANSWER_BYTES: Final = 1 << 20

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


def detach(order: Order) -> Detached:
    """Have the work done by a supervisor. Returns when the workload runs, or has not begun and never will.

    Must be called in a process without other threads. Raises HostError when the supervisor is killed before, and
    KeyboardInterrupt once it has ended.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(reading)
        _live(order, writing)
    os.close(writing)
    try:
        answer = _read_answer(reading)
    except KeyboardInterrupt:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
        _wait(child)
        raise
    finally:
        os.close(reading)
    if answer is None:
        status = _wait(child)
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        raise HostError(f"the supervisor {how}", code="supervisor-died", hint="`enarx ps --all` shows what it left")
    return answer


def _read_answer(reading: int) -> Detached | None:
    data = b""
    while len(data) <= MAX_ANSWER_BYTES and (part := os.read(reading, 1 << 16)):
        data += part
    return Detached(**json.loads(data)) if data else None


def _wait(child: int) -> int:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except ChildProcessError:  # SIGCHLD is ignored, so the kernel has kept no status
        return 1


def _live(order: Order, answer: int) -> NoReturn:
    """The supervisor's whole life. Nothing may unwind into what was the command's."""
    status = 1
    try:
        _leave_the_command()
        stopping = _Stopping()
        try:
            supervisor = Supervisor.begin(order, answer, stopping)
        except EnarxError as error:
            order.show(error)
            status = error.exit_status
            _send(answer, Detached("", status))
        else:
            status = supervisor.supervise(order)
    except BaseException:  # noqa: BLE001 - the last handler
        traceback.print_exc()
    finally:
        os._exit(status)


class _Stopping:
    """SIGTERM and SIGINT: remembered, and raised as `_Stopped` while ``armed``."""

    def __init__(self) -> None:
        self.armed = False
        self.wanted = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: object) -> None:
        self.wanted = True
        self.check()

    def check(self) -> None:
        """Raise `_Stopped` when that is what somebody wants."""
        if self.armed and self.wanted:
            self.armed = False
            raise _Stopped


class _MayBeGone:
    """A standard stream of the terminal that we were started from. What it does not take is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _leave_the_command() -> None:
    """A session of our own, no standard input, and none of the descriptors that the command was started with."""
    os.setsid()
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.stdout, sys.stderr = cast("TextIO", _MayBeGone(sys.stdout)), cast("TextIO", _MayBeGone(sys.stderr))
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if int(entry) > 2 and os.get_inheritable(int(entry)):  # ours are not
                os.close(int(entry))
    _point(0, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


def _point(number: int, fd: int) -> None:
    """Let the standard descriptor ``number`` be ``fd``, which is taken over."""
    os.dup2(fd, number)
    os.close(fd)


class Supervisor(Watcher):
    """Keeps the facts of one deployment true while its Keep is launched and served."""

    def __init__(self, own: Own, answer: int, stopping: _Stopping, now: Callable[[], datetime]) -> None:
        self._own = own
        self._answer = answer
        self._stopping = stopping
        self._now = now
        self._updates = 0
        self._pumps = {stream: Pump(Log(own.fd, stream)) for stream in STREAMS}

    @classmethod
    def begin(cls, order: Order, answer: int, stopping: _Stopping) -> Supervisor:
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
            self._stopping.armed = True
            self._stopping.check()
            last = _ended(order.work(self))
            self._stopping.armed = False
        except EnarxError as error:
            order.show(error)
            last = _failed(error)
        except _Stopped:
            last = {"outcome": "stopped", "status": 128 + signal.SIGTERM}
        except BaseException as error:  # noqa: BLE001 - whoever looks for it must hear of it
            traceback.print_exc()
            last = {"outcome": "failed", "status": 1, "code": "host-internal", "message": repr(error)}
        self._stopping.armed = False
        self._end(last)
        return int(last["status"])

    def _end(self, last: dict[str, Any]) -> None:
        for number, stream in enumerate((sys.stdout, sys.stderr), 1):
            stream.flush()
            _point(number, os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
        for pump in self._pumps.values():
            pump.close()
        with contextlib.suppress(OSError):
            self._own.write_last(replace(self._own.facts, ended=_text(self._now()), listening=(), **last))
        if self._answer >= 0:
            _send(self._answer, Detached("", last["status"]))

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
            _point(number, self._pumps["stderr"].end())
        os.chdir("/")
        _send(self._answer, Detached(self._own.facts.name, 0, self._own.facts.listening))
        self._answer = -1
        gc.collect()  # what was fetched has been sent, and nothing else may come for months that frees it


def _ended(ending: Ending) -> dict[str, Any]:
    """The last facts of a workload."""
    outcome = "stopped" if ending.stopped else "failed" if ending.message else "exited"
    return _last(outcome, ending.status, ending.code, ending.message, ending.hint)


def _failed(error: EnarxError) -> dict[str, Any]:
    """The last facts of a launch that failed."""
    return _last("failed", error.exit_status, error.code, error.message, error.hint)


def _last(outcome: str, status: int, code: str, message: str, hint: str) -> dict[str, Any]:
    message, hint = message[:MAX_MESSAGE_CHARS], hint[:MAX_MESSAGE_CHARS]
    return {"outcome": outcome, "status": status, "code": code, "message": message, "hint": hint}


def _send(answer: int, detached: Detached) -> None:
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
