"""A directory of small files that nobody else can read, made whole or not at all.

What is in it are a simulator's keys: whoever reads them signs evidence that the owner's policies accept. So a directory
or a file that others could read, or that is not the user's own, is refused instead of mended: it may be known already.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from enarx.errors import HostError

FILE_MAX_BYTES: Final = 64 * 1024
"""Largest file that is read (bytes); an RSA-4096 key has 2.4 KiB."""
PRIVATE_DIRECTORY: Final = 0o700
PRIVATE_FILE: Final = 0o600

_OTHERS: Final = 0o077


def default_directory() -> Path:
    """Where a user's simulator is: ``enarx/simulator`` in the user's data directory. HostError without a home."""
    try:
        return Path(os.environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser()) / "enarx" / "simulator"
    except RuntimeError as error:
        raise HostError("you have no home directory", code="simulator-directory", hint="set XDG_DATA_HOME") from error


class Store:
    """The files of one directory. Every read checks who else could have read or written."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def check(self) -> bool:
        """Whether the directory exists; HostError (``simulator-permissions``) when it is not private."""
        try:
            info = self.directory.lstat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unusable(self.directory, error) from error
        if not stat.S_ISDIR(info.st_mode):
            raise _exposed(self.directory, "is no directory")
        _check_private(self.directory, info)
        return True

    def create(self, make: Callable[[], Mapping[str, bytes]]) -> None:
        """Fill the directory with what ``make`` returns, unless somebody else just did.

        One maker at a time: others wait for it and then find its work. A crash leaves nothing that counts.
        """
        with self._lock():
            if self.check():
                return
            for stale in self.directory.parent.glob(f".{self.directory.name}.*.new"):
                shutil.rmtree(stale)  # of a maker that died: a living one would hold the lock
            draft = self.directory.with_name(f".{self.directory.name}.{secrets.token_hex(8)}.new")
            try:
                draft.mkdir(mode=PRIVATE_DIRECTORY)
                made = Store(draft)
                for name, data in make().items():
                    made.write(name, data)
                draft.rename(self.directory)
            except OSError as error:
                raise _unusable(self.directory, error) from error
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    def remove(self) -> bool:
        """Remove the directory and all in it. False when there is none; HostError when it is not private."""
        with self._lock():
            if not self.check():
                return False
            grave = self.directory.with_name(f".{self.directory.name}.{secrets.token_hex(8)}.new")
            try:
                self.directory.rename(grave)
                shutil.rmtree(grave)
            except OSError as error:
                raise _unusable(self.directory, error) from error
            return True

    def read(self, name: str) -> bytes:
        """The bytes of a file; HostError: ``simulator-broken`` when it is absent, ``simulator-permissions``."""
        path = self.directory / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise broken(self.directory, f"{name}: {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as file:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise _exposed(path, "is no ordinary file")
            _check_private(path, info)
            data = file.read(FILE_MAX_BYTES + 1)
        if len(data) > FILE_MAX_BYTES:
            raise broken(self.directory, f"{name} has more than {FILE_MAX_BYTES} bytes")
        return data

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return (self.directory / name).exists()

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file: it is there whole, private and on the disk, or as before."""
        path = self.directory / name
        draft = self.directory / f".{secrets.token_hex(8)}.tmp"
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            draft.rename(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise _unusable(self.directory, error) from error

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        parent = self.directory.parent
        try:
            parent.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(parent / f".{self.directory.name}.lock", flags, PRIVATE_FILE)
        except OSError as error:
            raise _unusable(self.directory, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def broken(directory: Path, what: str) -> HostError:
    """The error for an installation that cannot be read."""
    return HostError(
        f"the simulator in {directory} is damaged: {what}",
        code="simulator-broken",
        hint="make a new one with: enarx simulator reset; policies must then name the new root",
    )


def _check_private(path: Path, info: os.stat_result) -> None:
    if info.st_uid != os.geteuid():
        raise _exposed(path, "belongs to somebody else")
    if info.st_mode & _OTHERS:
        raise _exposed(path, f"has mode {stat.S_IMODE(info.st_mode):04o}, so others can use it")


def _exposed(path: Path, what: str) -> HostError:
    return HostError(
        f"{path} {what}",
        code="simulator-permissions",
        hint="its keys may be known to others: remove it, and let every policy that names its root name the new one",
    )


def _unusable(directory: Path, error: OSError) -> HostError:
    return HostError(
        f"the simulator's directory {directory} cannot be used: {error.strerror or error}",
        code="simulator-directory",
        hint="choose another one, or make room",
    )
