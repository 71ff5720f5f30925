"""Stop a detached Keep from another process: through its supervisor, and by force when that does not answer."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from enum import Enum
from typing import Final

from enarx.errors import HostError
from enarx.host.deployments import CONTROL, Deployments, Seen
from enarx.host.facts import Process
from enarx.host.supervisor import STOP

DEFAULT_SECONDS: Final = 10.0
"""How long a supervisor has to stop its Keep, in seconds; it takes less than one where nothing is wrong."""
KILL_SECONDS: Final = 10.0
"""How long the kernel may take to end what was killed, in seconds."""


class Stopped(Enum):
    """How it went."""

    ALREADY = "had ended already"
    STOPPED = "stopped"
    KILLED = "killed"


def stop(deployments: Deployments, name: str, seconds: float = DEFAULT_SECONDS) -> Stopped:
    """End a deployment, and return when its supervisor and its Keep are gone.

    Raises HostError (``deployment-unknown``, ``deployment-unreachable``) or UsageError.
    """
    seen = deployments.get(name)
    if not seen.living:
        return Stopped.ALREADY
    try:
        directory = os.open(seen.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Stopped.ALREADY
    try:
        with _processes(seen) as (supervisor, keep):
            ended = _unlocked(directory)
            if not _ask(directory) and supervisor is not None:
                signal.pidfd_send_signal(supervisor, signal.SIGTERM)
            if ended.wait(seconds):
                return Stopped.STOPPED
            if supervisor is None:
                raise HostError(
                    f"the supervisor of {name!r} does not answer, and what is noted of it cannot be read",
                    code="deployment-unreachable",
                    hint=f"end the process that has {seen.directory} open",
                )
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(supervisor, signal.SIGKILL)
            _wait_and_kill(ended, keep)
    finally:
        os.close(directory)
    return Stopped.KILLED


@contextlib.contextmanager
def _processes(seen: Seen) -> Iterator[list[int | None]]:
    """pidfds of supervisor and Keep, None for what is not known."""
    facts = seen.facts
    known: list[Process | None] = [facts.supervisor, facts.keep] if facts else [None, None]
    opened = [process.open() if process else None for process in known]
    try:
        yield opened
    finally:
        for fd in opened:
            if fd is not None:
                os.close(fd)


def _ask(directory: int) -> bool:
    """Send the order to stop. Returns whether it was taken."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            sock.sendto(STOP, f"/proc/self/fd/{directory}/{CONTROL}")
        except OSError:
            return False
    return True


def _unlocked(directory: int) -> threading.Event:
    """An event that is set when nobody holds the lock any more, which is when the supervisor has ended."""
    event = threading.Event()
    fd = os.open(f"/proc/self/fd/{directory}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def wait() -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_SH)
        os.close(fd)
        event.set()

    threading.Thread(target=wait, daemon=True).start()
    return event


def _wait_and_kill(ended: threading.Event, keep: int | None) -> None:
    """The Keep dies with its supervisor; should it not, it is killed too. Raises HostError when nothing helps."""
    gone = ended.wait(KILL_SECONDS)
    if keep is not None and not select.select([keep], [], [], KILL_SECONDS)[0]:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(keep, signal.SIGKILL)
        gone = bool(select.select([keep], [], [], KILL_SECONDS)[0]) and gone
    if not gone:
        raise HostError(
            "the deployment was killed and is still there", code="deployment-unreachable",
            hint="its processes hang in the kernel: look at the disks that they use",
        )  # fmt: skip
