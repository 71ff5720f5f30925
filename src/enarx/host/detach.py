"""Leave a Keep to a process of its own: forked from the command, in another session, with nothing of the command's.

Forked, not started anew: what was parsed and shown is what is launched, and errors reach the terminal as always.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from typing import Any, Final, NoReturn, TextIO, cast

from enarx.errors import EnarxError, HostError
from enarx.host.supervisor import ENDING, Detached, Order, Stopping, Supervisor, point, send

MAX_ANSWER_BYTES: Final = 1 << 20
"""Longest answer of a supervisor, in bytes."""


def detach(order: Order) -> Detached:
    """Have the work done by a supervisor. Returns when the workload runs, or has not begun and never will.

    Must be called in a process without other threads. Raises HostError when the supervisor is killed before, and
    KeyboardInterrupt once it has ended.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    reading, writing = os.pipe2(os.O_CLOEXEC)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until each of the two knows what to do about them
    child = os.fork()
    if child == 0:
        os.close(reading)
        _live(order, writing)
    try:
        os.close(writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
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
        stopping = Stopping()
        try:
            supervisor = Supervisor.begin(order, answer, stopping)
        except EnarxError as error:
            order.show(error)
            status = error.exit_status
            send(answer, Detached("", status))
        else:
            status = supervisor.supervise(order)
    except BaseException:  # noqa: BLE001 - the last handler
        traceback.print_exc()
    finally:
        os._exit(status)


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
    point(0, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
