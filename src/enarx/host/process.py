"""The process Keep: a separate process with a clean environment and no descriptor of ours but the link.

It is isolated from nothing: whoever runs it can read it. It is for development, tests and demonstrations.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from enarx.errors import HostError

LINK_FD: Final = 3
"""The descriptor at which a Keep finds its link."""

# -I and -S keep the environment, the user's site directory and every .pth file out; only the directories named on the
# command line are searched. That is the whole code of a Keep.
_BOOT: Final = "import sys; sys.path[:0] = sys.argv[1:]; from enarx.keep.main import main; main()"


def code_directories() -> list[str]:
    """The directories of a Keep's own code: ours, wasmtime's and cryptography's. Raises HostError."""
    directories: list[str] = []
    for package in ("enarx", "wasmtime", "cryptography", "cffi"):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise HostError(
                f"the Python package {package} is missing",
                code="host-install",
                hint="install Enarx again: pip install enarx",
            )
        directory = str(Path(spec.origin).parent.parent)
        if directory not in directories:
            directories.append(directory)
    return directories


class KeepProcess:
    """A running process Keep. ``link`` is our end of it."""

    def __init__(self) -> None:
        directories = code_directories()
        openssl = str(Path(__file__).parent.parent / "keep" / "openssl.cnf")
        self.link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.pid = self._spawn(directories, {"OPENSSL_CONF": openssl}, theirs.fileno())
        except OSError as error:
            self.link.close()
            raise HostError(f"the Keep's process cannot be started: {error}", code="host-spawn") from error
        finally:
            theirs.close()
        self._status: int | None = None

    @staticmethod
    def _spawn(directories: list[str], environment: dict[str, str], link: int) -> int:
        """posix_spawn: subprocess alone takes longer to import than this takes to run."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        high = fcntl.fcntl(link, fcntl.F_DUPFD_CLOEXEC, 10)  # clear of the numbers that are assigned below
        try:
            actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
            actions.append((os.POSIX_SPAWN_DUP2, high, LINK_FD))
            actions += [(os.POSIX_SPAWN_CLOSE, number) for number in _inheritable() if number > LINK_FD]
            python = sys.executable
            arguments = [python, "-I", "-S", "-c", _BOOT, *directories]
            return os.posix_spawn(
                python, arguments, environment, file_actions=actions, setsid=True,
                setsigmask=[], setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM],
            )  # fmt: skip
        finally:
            os.close(null)
            os.close(high)

    def kill(self) -> None:
        """End the process at once."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for the process and return its status as ``os.waitstatus_to_exitcode`` gives it."""
        if self._status is None:
            _, status = os.waitpid(self.pid, 0)
            self._status = os.waitstatus_to_exitcode(status)
        return self._status


def _inheritable() -> list[int]:
    """Descriptors of this process that a child would get: those that our own parent left open for us."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.get_inheritable(int(name)):
                found.append(int(name))
    return found
