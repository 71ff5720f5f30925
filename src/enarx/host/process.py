"""The process Keep: a separate process with a clean environment and no descriptor of ours but those made for it.

It is isolated from nothing: whoever runs it can read it. It is for development, tests and demonstrations.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from enarx.errors import HostError

LINK_FD: Final = 3
"""The descriptor at which a Keep finds its link."""

CHANNEL_FD: Final = 4
"""The descriptor at which a Keep finds its channel to a simulated secure processor, if it has one."""

# -I and -S keep the environment, the user's site directory and every .pth file out; only the standard library and,
# after it, the directories named on the command line are searched. That is the whole code of a Keep. Nothing of what it
# imports is garbage, so the collector waits until the workload starts.
_BOOT: Final = "import gc, sys; gc.disable(); sys.path += sys.argv[1:]; from enarx.keep.main import main; main()"
COMMAND: Final = ("-I", "-S", "-c", _BOOT)
"""The interpreter's arguments that are the same on every machine, and so are measured."""


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


def private_bytecode() -> list[str]:
    """Interpreter arguments that keep ``__pycache__`` out of play, which a measurement of the code leaves out.

    Bytecode then comes from a directory that belongs to this user alone and that only Keeps write to: it was compiled
    from sources of the size and time that were measured. Where there can be no such directory, none is used.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        directory = Path(base).expanduser() / "enarx" / "bytecode"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = directory.lstat()
        usable = stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o077
    except (OSError, RuntimeError):
        usable = False
    return ["-X", f"pycache_prefix={directory}"] if usable else ["-B", "-X", f"pycache_prefix={os.devnull}"]


class KeepProcess:
    """A running process Keep. ``link`` is our end of it.

    One that is ``measured`` has a channel to a simulated secure processor besides: ``channel`` is our end of that.
    """

    failure = None

    def __init__(
        self, *, measured: bool = False, pair: Callable[[], tuple[socket.socket, socket.socket]] = socket.socketpair
    ) -> None:
        """``pair`` makes the two ends of the link."""
        directories = code_directories()
        openssl = str(Path(__file__).parent.parent / "keep" / "openssl.cnf")
        self.link, theirs = pair()
        self.channel: socket.socket | None = None
        far: socket.socket | None = None
        options = private_bytecode() if measured else []
        if measured:
            self.channel, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ends = [theirs] if far is None else [theirs, far]
        arguments = [sys.executable, *options, *COMMAND, *directories]
        try:
            self.pid = self._spawn(arguments, {"OPENSSL_CONF": openssl}, [end.fileno() for end in ends])
        except OSError as error:
            self.link.close()
            if self.channel is not None:
                self.channel.close()
            raise HostError(
                f"the Keep's process cannot be started: {error}",
                code="host-spawn",
                hint="the limits of this machine or user, on processes or open files (`ulimit -a`), may be reached",
            ) from error
        finally:
            for end in ends:
                end.close()
        self._status: int | None = None

    @staticmethod
    def _spawn(arguments: list[str], environment: dict[str, str], ends: list[int]) -> int:
        """posix_spawn: subprocess alone takes longer to import than this takes to run.

        ``ends`` become the descriptors from LINK_FD on.
        """
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]  # clear of the numbers assigned below
        try:
            actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
            actions += [(os.POSIX_SPAWN_DUP2, end, LINK_FD + index) for index, end in enumerate(high)]
            last = LINK_FD + len(ends) - 1
            # One beyond the limit, lowered since it was opened, would make the call fail; the Keep closes it itself.
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            actions += [(os.POSIX_SPAWN_CLOSE, number) for number in _inheritable() if last < number < limit]
            python = sys.executable
            return os.posix_spawn(
                python, arguments, environment, file_actions=actions, setsid=True,
                setsigmask=[], setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM],
            )  # fmt: skip
        finally:
            os.close(null)
            for end in high:
                os.close(end)

    def kill(self) -> None:
        """End the process at once."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for the process and return its status as ``os.waitstatus_to_exitcode`` gives it."""
        if self._status is None:
            try:
                _, status = os.waitpid(self.pid, 0)
            except ChildProcessError:  # SIGCHLD is ignored, so the kernel has kept no status
                status = 0
            self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def obituary(self) -> HostError:
        """End it, and say how it ended."""
        self.kill()
        status = self.wait()
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        return HostError(
            f"the Keep ended unexpectedly {how}",
            code="keep-died",
            hint="run again with --verbose; if it was killed for lack of memory, lower `memory` under [limits]",
        )


def _inheritable() -> list[int]:
    """Descriptors of this process that a child would get: those that our own parent left open for us."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.get_inheritable(int(name)):
                found.append(int(name))
    return found
