"""The detached Keeps of a user: one directory each, below the user's runtime directory.

====================  ==================================================================================================
the directory itself  locked (flock) by the supervisor as long as it lives. Nothing else tells whether it does: the
                      kernel gives the lock up when the process ends, whatever ends it, and numbers are used again
``facts.json``        what is known, replaced as a whole (`enarx.host.facts`)
``control``           a datagram socket of the supervisor's; ``stop`` stops the Keep
``stdout.log`` ...    what the workload wrote (`enarx.host.logs`)
``spare``             room on the disk for the last facts, given up when they are written
====================  ==================================================================================================

Names beginning with a dot are directories that are being made or removed. Whoever makes or removes one holds a lock on
the directory of them all; whoever looks needs none.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from enarx.errors import HostError, MalformedError
from enarx.host import facts as facts_file
from enarx.host.facts import Facts
from enarx.host.names import check_name, is_name, random_name

MAX_ENDED: Final = 16
"""Deployments that have ended and are kept, with their logs; the oldest go when another one begins (count)."""
LOCK_SECONDS: Final = 10.0
"""How long others may make or remove deployments, in seconds."""
SPARE_BYTES: Final = 64 << 10
"""Room that is kept for the last facts, in bytes."""
FACTS: Final = "facts.json"
CONTROL: Final = "control"
SPARE: Final = "spare"
_NAMES_TRIED: Final = 100
_PRIVATE: Final = 0o700
_OTHERS: Final = 0o077
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def default_directory() -> Path:
    """``enarx`` in ``$XDG_RUNTIME_DIR`` or ``/run/user/UID``; where there is neither, ``enarx-UID`` in ``/tmp``."""
    user = os.getuid()
    chosen = os.environ.get("XDG_RUNTIME_DIR")
    if chosen and os.path.isabs(chosen):  # the specification has relative paths ignored
        return Path(chosen, "enarx")
    usual = Path(f"/run/user/{user}")
    with contextlib.suppress(OSError):
        if usual.stat().st_uid == user:
            return usual / "enarx"
    return Path(os.path.abspath(os.environ.get("TMPDIR") or "/tmp"), f"enarx-{user}")  # noqa: S108 - owner and mode are checked


@dataclass(frozen=True, slots=True)
class Seen:
    """A deployment as it was found: ``facts`` is None when they cannot be read. ``living``: its supervisor is there."""

    name: str
    directory: Path
    living: bool
    facts: Facts | None

    @property
    def state(self) -> str:
        """``starting``, ``running``, how it ended, ``gone`` when that is not known, ``unreadable`` without facts."""
        if self.facts is None:
            return "unreadable"
        if self.living:
            return "running" if self.facts.started else "starting"
        return self.facts.outcome or "gone"


class Own:
    """A deployment that this process supervises: it holds the lock. ``fd`` is the directory, wherever it may move."""

    def __init__(self, fd: int, facts: Facts) -> None:
        self.fd = fd
        self.facts = facts

    def write(self, facts: Facts) -> None:
        """Replace the facts. Raises OSError; the former facts are then still there."""
        draft = f".{FACTS}"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self.fd)
        with open(fd, "wb") as file:
            file.write(facts.encode())
        os.rename(draft, FACTS, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        self.facts = facts

    def keep_spare(self) -> None:
        """Set room aside. Raises OSError."""
        fd = os.open(SPARE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self.fd)
        try:
            os.posix_fallocate(fd, 0, SPARE_BYTES)
        finally:
            os.close(fd)

    def write_last(self, facts: Facts) -> None:
        """Replace the facts for the last time, and remove what is of no use afterwards. Raises OSError."""
        for name in (SPARE, CONTROL):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self.fd)
        self.write(facts)

    def close(self) -> None:
        """Give the lock up."""
        os.close(self.fd)


class Deployments:
    """All deployments of this user. Nothing is made before the first deployment."""

    def __init__(self, directory: Path) -> None:
        self._top = directory
        self._directory = directory / "deployments"

    def all(self) -> list[Seen]:
        """Every deployment, by name. Raises HostError (``runtime-directory``) for a directory that others can use."""
        if not self._exists():
            return []
        with _reading(self._directory):
            names = sorted(name for name in os.listdir(self._directory) if is_name(name))
        return [seen for seen in map(self._look, names) if seen is not None]

    def get(self, name: str) -> Seen:
        """The deployment of that name. Raises HostError (``deployment-unknown``) or UsageError."""
        check_name(name)
        seen = self._look(name) if self._exists() else None
        if seen is None:
            raise HostError(
                f"there is no deployment {name!r}", code="deployment-unknown", hint="`enarx ps --all` lists them"
            )
        return seen

    def create(self, name: str | None, facts: Facts) -> Own:
        """Make a deployment that this process supervises; with a random name unless there is a ``name``.

        One of that name that has ended makes room. Raises HostError (``deployment-name-taken``, ``runtime-directory``).
        """
        for directory in (self._top, self._directory):
            with _reading(directory):
                directory.mkdir(_PRIVATE, exist_ok=True)
            _check_private(directory)
        with _reading(self._directory), self._locked():
            self._clean()
            chosen = check_name(name) if name is not None else self._free_name()
            former = self._look(chosen)
            if former is not None and former.living:
                raise HostError(
                    f"there is a deployment {chosen!r} already, and it is {former.state}",
                    code="deployment-name-taken",
                    hint=f"choose another --name, or stop it: enarx stop {chosen}",
                )
            draft = self._directory / f".{secrets.token_hex(8)}.new"
            own = _make(draft, replace(facts, name=chosen))
            try:
                if former is not None:
                    self._discard(former.directory)
                draft.rename(self._directory / chosen)
            except OSError:
                own.close()
                raise
        return own

    def remove(self, name: str) -> None:
        """Remove what is left of one that has ended. Raises HostError (``deployment-living``, ``-unknown``)."""
        seen = self.get(name)
        with _reading(self._directory), self._locked():
            if self._lives(seen.directory):
                raise HostError(
                    f"the deployment {name!r} is {seen.state}", code="deployment-living",
                    hint=f"stop it first: enarx stop {name}",
                )  # fmt: skip
            self._discard(seen.directory)

    def _exists(self) -> bool:
        for directory in (self._top, self._directory):
            with _reading(directory):
                if not os.path.lexists(directory):
                    return False
            _check_private(directory)
        return True

    def _look(self, name: str) -> Seen | None:
        """What is there under a name; None when there is nothing, or nothing of ours."""
        path = self._directory / name
        living = self._lives(path)
        return Seen(name, path, living, read_facts(path)) if os.path.lexists(path) else None

    @staticmethod
    def _lives(path: Path) -> bool:
        """Whether somebody holds the lock. Nobody does of what is no directory: it is garbage."""
        try:
            fd = os.open(path, _DIRECTORY)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others may ask at the same time
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """The right to make and remove."""
        fd = os.open(self._directory, _DIRECTORY)
        end = time.monotonic() + LOCK_SECONDS
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise HostError(
                            f"{self._directory} has been locked for {LOCK_SECONDS:g} seconds", code="deployment-busy",
                            hint="another `enarx deploy` or `enarx rm` may be stopped: end it, and try again",
                        ) from None  # fmt: skip
                    time.sleep(0.01)
            yield
        finally:
            os.close(fd)

    def _free_name(self) -> str:
        for _ in range(_NAMES_TRIED):
            name = random_name()
            if not os.path.lexists(self._directory / name):
                return name
        return f"{random_name()}-{secrets.token_hex(4)}"

    def _discard(self, path: Path) -> None:
        """Remove something: first its name, at once, and then all that is in it."""
        doomed = self._directory / f".{secrets.token_hex(8)}.old"
        path.rename(doomed)
        _delete(doomed)

    def _clean(self) -> None:
        """Remove what crashed makers and removers left, and the oldest of those that have ended."""
        for name in os.listdir(self._directory):
            if name.startswith("."):
                with contextlib.suppress(OSError):
                    path = self._directory / name
                    if not self._lives(path):
                        _delete(path)
        ended = sorted((seen.directory.lstat().st_mtime, seen.directory) for seen in self.all() if not seen.living)
        for _, path in ended[: max(0, len(ended) - MAX_ENDED)]:
            with contextlib.suppress(OSError):
                self._discard(path)


def read_facts(directory: Path) -> Facts | None:
    """The facts in a deployment's directory; None when there are none that can be read. Never waits."""
    try:
        fd = os.open(directory / FACTS, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            return facts_file.parse(file.read(facts_file.MAX_BYTES + 1))
    except (OSError, MalformedError):
        return None


def _make(draft: Path, facts: Facts) -> Own:
    """A locked directory with facts, and room for the last ones."""
    draft.mkdir(_PRIVATE)
    try:
        fd = os.open(draft, _DIRECTORY)
        own = Own(fd, facts)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            own.keep_spare()
            own.write(facts)
        except OSError:
            own.close()
            raise
    except OSError:
        _delete(draft)
        raise
    return own


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _check_private(directory: Path) -> None:
    """Raise HostError unless the directory is ours and nobody else can use it."""
    with _reading(directory):
        info = directory.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & _OTHERS:
        raise HostError(
            f"{directory} must be a directory that belongs to you, with mode 0700",
            code="runtime-directory",
            hint="remove it if it is not in use, or choose another place by XDG_RUNTIME_DIR",
        )


@contextlib.contextmanager
def _reading(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostError(
            f"{directory} cannot be used: {error.strerror}", code="runtime-directory",
            hint="make room or mend its permissions, or choose another place by XDG_RUNTIME_DIR",
        ) from error  # fmt: skip
