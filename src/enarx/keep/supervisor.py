"""Runs the workload in a thread of its own and serves the link until it ends, is stopped, or hits a limit."""

from __future__ import annotations

import gc
import os
import selectors
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from enarx.errors import EnarxError, LimitError
from enarx.keep.link import Link
from enarx.keep.loop import Loop

if TYPE_CHECKING:
    from enarx.keep.runtime import Outcome, Runtime
    from enarx.keep.wasi.context import Context

STOP_SECONDS: Final = 0.04
"""How long a workload that was told to stop has to leave its host call and close its streams, in seconds."""
CLOSE_SECONDS: Final = 2.0
"""How long the streams of a workload that has ended may take to say goodbye to their peers, in seconds."""
STOPPED: Final = EnarxError("the workload was stopped", code="stopped")


class Supervisor:
    """For one workload. Everything but the workload itself is on the thread that calls `run`."""

    def __init__(self, link: Link, loop: Loop, context: Context, deadline_seconds: float | None) -> None:
        self._link = link
        self._loop = loop
        self._context = context
        self._deadline = deadline_seconds
        self._done = _Event(os.eventfd(0, os.EFD_CLOEXEC))
        self._outcome: Outcome | None = None

    def wake(self) -> None:
        """The workload is over, or must be: look. From any thread."""
        os.eventfd_write(self._done.number, 1)

    def run(self, runtime: Runtime, module: Any) -> Outcome:
        """Run ``module`` and say how it ended. A workload that does not end by itself is left where it is."""
        from enarx.keep.engine import THREAD_STACK

        ended: list[Outcome] = []

        def work() -> None:
            outcome = runtime.run(module)
            self._context.table.close_all(CLOSE_SECONDS)
            ended.append(outcome)
            self.wake()

        gc.freeze()  # what has been imported stays
        gc.enable()
        threading.stack_size(THREAD_STACK)
        threading.Thread(target=work, name="workload", daemon=True).start()
        self._loop.watch(self._link, selectors.EVENT_READ, self._link.dispatch)
        self._link.handle_received()
        self._loop.watch(self._done, selectors.EVENT_READ, self._loop.stop)
        seconds = self._deadline
        if seconds is not None:
            self._loop.call_later("deadline", seconds, lambda: self._end(_deadline_error(seconds)))
        self._loop.run()
        return ended[0] if ended else self._outcome or outcome_of(runtime.memory_error())

    def stop(self) -> None:
        """The host says stop. What waits is woken; what does not end by itself in time is left where it is."""
        self._context.wake()
        self._loop.call_later("stop", STOP_SECONDS, lambda: self._end(STOPPED))

    def _end(self, error: EnarxError) -> None:
        """End the workload from outside."""
        self._outcome = outcome_of(error)
        self._loop.stop()


@dataclass(frozen=True, slots=True)
class _Event:
    """An eventfd as the event loop wants it."""

    number: int

    def fileno(self) -> int:
        return self.number


def outcome_of(error: EnarxError) -> Outcome:
    """The outcome of an error that ended the workload, or of `STOPPED`."""
    from enarx.keep.runtime import EXIT_STOPPED, Outcome

    return Outcome(EXIT_STOPPED, error.code, error.message) if error is STOPPED else Outcome.of_error(error)


def _deadline_error(seconds: float) -> LimitError:
    return LimitError(
        f"the workload ran longer than the limit `deadline` of {seconds:g} seconds",
        code="limit-deadline",
        hint="raise or remove `deadline` under [limits] in Enarx.toml",
    )
