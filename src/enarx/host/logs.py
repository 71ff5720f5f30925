"""What a detached workload writes: bounded files beside the facts, which nobody has to empty.

``stdout.log`` and ``stderr.log`` grow to `LOG_BYTES` each; then each becomes ``....log.1``, in the place of the one
before, and begins anew. A disk without room loses what does not fit, and never makes the workload wait: a line says how
much was lost, once there is room again.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from enarx.errors import HostError

LOG_BYTES: Final = 1 << 20
"""Size at which a log is put aside, in bytes; what is kept of a stream is at most twice that."""
STREAMS: Final = ("stdout", "stderr")
CLOSE_SECONDS: Final = 5.0
"""How long what is in the pipe may take to be written at the end, in seconds."""
_READ_BYTES: Final = 1 << 16


def file_name(stream: str) -> str:
    """The current log of a stream; the one before has ``.1`` behind it."""
    return f"{stream}.log"


class Log:
    """One stream's log in the directory ``directory``, a descriptor. ``write`` never raises; it is for one thread."""

    def __init__(self, directory: int, stream: str, limit: int = LOG_BYTES) -> None:
        self._directory = directory
        self._name = file_name(stream)
        self._limit = limit
        self._fd = -1
        self._size = 0
        self._lost = 0

    def write(self, data: bytes) -> None:
        """Append."""
        if self._lost:
            note = f"\n[{self._lost} bytes were lost: there was no room for them]\n".encode()
            if self._append(note) == len(note):
                self._lost = 0
        self._lost += len(data) - (0 if self._lost else self._append(data))

    def _append(self, data: bytes) -> int:
        """Write what fits. Returns how much that was."""
        view, written = memoryview(data), 0
        try:
            while written < len(data):
                if self._fd < 0 or self._size >= self._limit:
                    self._begin()
                count = os.write(self._fd, view[written : written + self._limit - self._size])
                written += count
                self._size += count
        except OSError:
            pass
        return written

    def _begin(self) -> None:
        """Put the full file aside and begin another."""
        self.close()
        if self._size:
            with contextlib.suppress(FileNotFoundError):  # somebody removed it
                os.rename(self._name, f"{self._name}.1", src_dir_fd=self._directory, dst_dir_fd=self._directory)
        self._size = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self._name, flags, 0o600, dir_fd=self._directory)

    def close(self) -> None:
        """Close the file; `write` would begin another."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Pump:
    """A pipe whose other end may be given away, and a thread that moves what comes out of it into a log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._read, self._write = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def end(self) -> int:
        """A descriptor to write to, the caller's own."""
        return os.dup(self._write)

    def close(self) -> None:
        """Wait for all that was written. An end that is not closed costs CLOSE_SECONDS."""
        os.close(self._write)
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while data := os.read(self._read, _READ_BYTES):
            self._log.write(data)
        os.close(self._read)
        self._log.close()


class Reader:
    """Reads one stream's log, also while it grows. ``directory`` is that of the deployment.

    What is written between two calls of `parts` and is more than is kept is lost to it.
    """

    def __init__(self, directory: Path, stream: str) -> None:
        self._path = directory / file_name(stream)
        self._fd = -1

    def parts(self) -> Iterator[bytes]:
        """What is there and has not been read yet: from the beginning, at first. Raises HostError."""
        yield from self._rest()
        current = _open(self._path)
        if current >= 0 and self._is_open(current):
            os.close(current)
            return
        older = _open(self._path.with_name(f"{self._path.name}.1"))
        if older >= 0 and self._is_open(older):
            os.close(older)
            older = -1
        yield from self._rest()  # nothing is added to it any more
        for fd in (older, current):
            if fd >= 0:
                self.close()
                self._fd = fd
                yield from self._rest()

    def _is_open(self, fd: int) -> bool:
        return self._fd >= 0 and os.path.sameopenfile(fd, self._fd)

    def _rest(self) -> Iterator[bytes]:
        while self._fd >= 0 and (data := os.read(self._fd, _READ_BYTES)):
            yield data

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _open(path: Path) -> int:
    """A descriptor of a log, or -1 when there is none. Raises HostError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    except OSError as error:
        raise _unreadable(path, error.strerror or "") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _unreadable(path, "it is not a regular file")
    return fd


def _unreadable(path: Path, reason: str) -> HostError:
    return HostError(f"{path} cannot be read: {reason}", code="file-unreadable", hint="is it what Enarx put there?")
