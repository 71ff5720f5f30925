"""``enarx`` as a child process: what it says is read line by line, and it ends with us, whatever ends us."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Final, NoReturn

from enarx.errors import HostError

STOP_SECONDS: Final = 2.0
"""How long a child has to end after it was told to."""
COMMAND_SECONDS: Final = 60.0
"""How long a command may take that ends by itself: the one that makes a simulated processor takes longest."""
MAX_LINES: Final = 200
"""Lines of a child that are kept."""
PR_SET_PDEATHSIG: Final = 1


class Child:
    """A running ``enarx``. ``lines`` gives what it writes, then None."""

    def __init__(self, process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
        self._process = process
        self._lines = lines
        self._said: list[str] = []
        self._complete = False

    def _line(self, seconds: float) -> str | None:
        """The next line that it writes; None at the end. Raises queue.Empty."""
        line = None if self._complete else self._lines.get(timeout=seconds)
        if line is None:
            self._complete = True
        else:
            self._said.append(line)
        return line

    def wait_for(self, prefix: str, seconds: float, what: str) -> str:
        """The first line that begins with ``prefix``, without it. Raises HostError: it ended before, or never did."""
        end = time.monotonic() + seconds
        while True:
            try:
                line = self._line(max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise HostError(
                    f"{what} after {seconds:g} seconds", code="demo-timeout",
                    hint="the machine may be very busy; try again",
                ) from None  # fmt: skip
            if line is None:
                raise self.failure()
            if line.startswith(prefix):
                return line.removeprefix(prefix)

    def ending(self, prefix: str, seconds: float) -> HostError | None:
        """How it failed, or None when it wrote a line with ``prefix`` before. Raises HostError when it does neither."""
        try:
            self.wait_for(prefix, seconds, "the Keep neither starts nor ends")
        except HostError as error:
            if error.code == "demo-timeout":
                raise
            return error
        return None

    def serve(self) -> NoReturn:
        """Wait until it ends. Raises HostError then, and KeyboardInterrupt when the user has had enough."""
        self._process.wait()
        raise self.failure()

    def failure(self) -> HostError:
        """It has ended by itself: what it said."""
        status = self._process.wait()
        with suppress(queue.Empty):  # a process that it left behind may hold its end open
            while self._line(STOP_SECONDS) is not None:
                pass
        fields = {name: text for name, _, text in (line.partition(": ") for line in self._said) if name != "enarx"}
        return HostError(
            fields.get("Error") or f"the Keep ended by itself with exit status {status}",
            code=fields.get("Code", "demo-keep"),
            hint=fields.get("Hint", ""),
        )

    def stop(self) -> None:
        """End it, and be sure that it has ended. More than once does no harm."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the Keep's own process dies with its parent
            self._process.wait()


def command(*arguments: str) -> list[str]:
    """``enarx`` with arguments. -P: nothing is imported from the current directory."""
    return [sys.executable, "-P", "-m", "enarx.cli.main", *arguments]


def ask(*arguments: str) -> str:
    """Run a command to its end: what it printed. Raises HostError with what it says instead."""
    done = subprocess.run(  # noqa: S603
        command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        timeout=COMMAND_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        fields = {name: text for name, _, text in (line.partition(": ") for line in done.stderr.splitlines())}
        raise HostError(
            fields.get("Error", f"enarx {arguments[0]} failed with exit status {done.returncode}"),
            code=fields.get("Code", "demo-command"),
            hint=fields.get("Hint", ""),
        )
    return done.stdout


@contextmanager
def start(arguments: Sequence[str], *, errors: bool = False) -> Iterator[Child]:
    """Start a command and read its stderr (``errors``) or its stdout; it ends with the block, or with this process."""
    import ctypes

    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def end_with_parent() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    # A session of its own: Ctrl-C is for us, and we stop it. One thread forks here, which is what a preexec_fn needs:
    # those that read take nothing that is locked.
    process = subprocess.Popen(  # noqa: S603
        command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL if errors else subprocess.PIPE,
        stderr=subprocess.PIPE if errors else subprocess.DEVNULL, text=True, errors="replace", start_new_session=True,
        preexec_fn=end_with_parent,  # noqa: PLW1509
    )  # fmt: skip
    stream = process.stderr if errors else process.stdout
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(stream, lines), daemon=True)
    child = Child(process, lines)
    try:
        reader.start()
        yield child
    finally:
        child.stop()
        reader.join(STOP_SECONDS)
        if stream is not None and not reader.is_alive():
            stream.close()


def _read(stream: IO[str] | None, lines: queue.SimpleQueue[str | None]) -> None:
    for count, line in enumerate(stream or ()):
        if count < MAX_LINES:
            lines.put(line.rstrip())
    lines.put(None)
