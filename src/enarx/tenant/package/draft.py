"""A file that appears whole or not at all, and whose digest is known before it appears."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from enarx.errors import UsageError


class Draft:
    """What is to become the file ``target``: `write` it, then `publish` it. Its digest is ``sha256:...``."""

    def __init__(self, target: Path, temporary: Path, descriptor: int) -> None:
        self._target = target
        self._temporary = temporary
        self._descriptor = descriptor
        self.digest = ""
        self.size = 0

    def write(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Write everything, durably. UsageError (``file-unwritable``); what the pieces raise passes through."""
        digest = hashlib.sha256()
        with os.fdopen(self._descriptor, "wb", buffering=0, closefd=False) as file:
            for piece in pieces:
                digest.update(piece)
                self.size += len(piece)
                with _written(self._target):
                    left = memoryview(piece)
                    while left:
                        left = left[file.write(left) :]
            with _written(self._target):
                os.fsync(self._descriptor)
        self.digest = f"sha256:{digest.hexdigest()}"

    def publish(self) -> None:
        """Put it in its place, over a file of that name. UsageError (``file-unwritable``)."""
        with _written(self._target):
            self._temporary.replace(self._target)


@contextlib.contextmanager
def draft(target: Path) -> Iterator[Draft]:
    """A draft beside its target, which is gone afterwards unless it was published. UsageError (``file-unwritable``).

    The file gets the permissions that the umask leaves it. Only a regular file is ever replaced.
    """
    temporary = target.with_name(f".{target.name[:100]}.{os.urandom(8).hex()}") if target.name else target
    with _written(target):
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            raise UsageError(
                f"{target} is not a file", code="file-unwritable", hint="name a file that is to hold the package"
            )
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        yield Draft(target, temporary, descriptor)
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _written(target: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(
            f"cannot write {target}: {cause}",
            code="file-unwritable",
            hint="check the path, its permissions and the disk",
        ) from error
