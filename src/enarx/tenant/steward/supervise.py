"""Several workers under one parent, which starts them, replaces one that died and passes signals on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Final

from enarx.errors import EnarxError

RESTART_SECONDS: Final = 0.5
"""Least time between two starts of workers that died (seconds)."""
TICK_SECONDS: Final = 0.2
"""How often the parent looks for itself, without a signal (seconds)."""
STARTING_SECONDS: Final = 0.01
"""The same while workers are starting, who say that they are ready through a pipe."""
_PR_SET_PDEATHSIG: Final = 1
_STOP: Final = (signal.SIGTERM, signal.SIGINT)
_WATCHED: Final = frozenset((*_STOP, signal.SIGHUP, signal.SIGCHLD))

Work = Callable[[int, Callable[[], None]], None]
"""What a worker does: it is given its number and what to call once it answers requests, and returns when told to stop.

It begins with SIGHUP blocked, and unblocks it once it can be told to reload."""


def supervise(work: Work, workers: int, ready: Callable[[], None], ended: Callable[[int], None]) -> int:
    """Run ``work`` in ``workers`` processes until SIGTERM or SIGINT; ``ready`` is called once all answer.

    A worker that dies, of which ``ended`` is told the number, is replaced, except before all were ready: then the rest
    is stopped and its status returned.
    Must be called in the main thread of a process without other threads.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return _Supervisor(work, writing, before, ended).run(workers, reading, ready)
    finally:
        os.close(reading)
        os.close(writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Supervisor:
    def __init__(
        self, work: Work, writing: int, mask: set[signal.Signals] | set[int], ended: Callable[[int], None]
    ) -> None:
        self._work = work
        self._ended = ended
        self._writing = writing
        self._mask = mask
        self._children: dict[int, int] = {}
        """Number of the worker by process id."""
        self._started = 0.0

    def run(self, workers: int, reading: int, ready: Callable[[], None]) -> int:
        answering = 0
        for worker in range(workers):
            self._start(worker)
        while True:
            number = self._next_signal(TICK_SECONDS if answering >= workers else STARTING_SECONDS)
            if number in _STOP:
                return self._stop(0)
            if number == signal.SIGHUP:
                self._send(signal.SIGHUP)
            failed = self._reap()
            if failed and answering < workers:
                return self._stop(failed[0][1] or 1)
            if answering < workers:
                answering += _count(reading)
                if answering >= workers:
                    ready()
            for worker, _ in failed:
                time.sleep(max(0.0, self._started + RESTART_SECONDS - time.monotonic()))
                self._start(worker)

    def _next_signal(self, seconds: float) -> int:
        found = signal.sigtimedwait(_WATCHED, seconds)
        return found.si_signo if found else 0

    def _start(self, worker: int) -> None:
        self._started = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            os._exit(self._in_child(worker))
        self._children[child] = worker

    def _in_child(self, worker: int) -> int:
        """The worker's whole life; nothing of the parent's is left to run after it."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # a parent that was killed must not leave workers
        for number in _STOP:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, {*self._mask, signal.SIGHUP})  # for the worker to unblock
        status = 1
        try:
            self._work(worker, lambda: _tell(self._writing))
            status = 0
        except EnarxError as error:
            print(f"Error: {error.message}\nHint: {error.hint}\nCode: {error.code}", file=sys.stderr)  # noqa: T201
            status = error.exit_status
        except BaseException:  # noqa: BLE001 - nothing may unwind into what was the parent's
            traceback.print_exc()
        sys.stderr.flush()
        return status

    def _reap(self) -> list[tuple[int, int]]:
        """Number and exit status of workers that have ended."""
        ended: list[tuple[int, int]] = []
        while self._children:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                break
            if child in self._children:
                worker = self._children.pop(child)
                self._ended(worker)
                ended.append((worker, abs(os.waitstatus_to_exitcode(status))))
        return ended

    def _send(self, number: int) -> None:
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    def _stop(self, status: int) -> int:
        """Tell the workers to stop and wait until they have: what is on its way is answered first."""
        self._send(signal.SIGTERM)
        for child in tuple(self._children):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
        self._children.clear()
        return status


def _tell(writing: int) -> None:
    os.write(writing, b"1")


def _count(reading: int) -> int:
    try:
        return len(os.read(reading, 256))
    except BlockingIOError:
        return 0
