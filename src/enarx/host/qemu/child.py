"""QEMU as a child: with a clean environment, without a terminal, and gone when we are, whatever ends us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from enarx.errors import HostError

# The interpreter becomes QEMU once it has seen to it that the kernel kills it when the thread that started it ends.
# A parent that has ended before that is noticed by its number. A core file would hold the guest's memory.
_BECOME: Final = """\
import ctypes, os, resource, signal, sys
PR_SET_PDEATHSIG = 1
parent, program = int(sys.argv[1]), sys.argv[2]
if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) or os.getppid() != parent:
    sys.exit(1)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
try:
    os.execve(program, sys.argv[2:], {})
except OSError as error:
    sys.exit(f"{program}: {error.strerror}")
"""


class QemuProcess:
    """A running QEMU. ``errors`` is what it says on stderr.

    Must be started by a thread that lives as long as the guest shall: it ends with that thread.
    """

    def __init__(self, program: str, arguments: Sequence[str], inherited: Sequence[int]) -> None:
        """``inherited``: descriptors that have the same number there. Raises HostError (``host-spawn``)."""
        command = [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), program, *arguments]
        try:
            self._process = subprocess.Popen(  # noqa: S603
                command, env={}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                pass_fds=tuple(inherited), start_new_session=True, bufsize=0,
            )  # fmt: skip
        except OSError as error:
            raise HostError(
                f"QEMU cannot be started: {error}",
                code="host-spawn",
                hint="the limits of this machine or user, on processes or open files (`ulimit -a`), may be reached",
            ) from error
        assert self._process.stderr is not None  # noqa: S101 - a pipe, as asked for
        self.errors = os.dup(self._process.stderr.fileno())
        self._process.stderr.close()

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end: the exit status, or the negative number of the signal that ended it."""
        return self._process.wait()

    def ended(self, seconds: float) -> bool:
        """Wait for its end, but not longer than that; whether it has come."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True
