"""Blobs on their way into the store: files that are not whole yet, locked by whoever writes them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Final

from enarx.errors import RegistryError

READ_BYTES: Final = 1 << 20
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Draft:
    """A file that becomes a blob, or stays a draft, or goes."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path
        self._hash = hashlib.sha256()
        self.offset = 0

    def write(self, view: memoryview) -> None:
        """Add what comes next; RegistryError ``store-full``, after which nothing of it is left on the disk."""
        self._hash.update(view)
        self.offset += len(view)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            self.discard()
            if error.errno in _FULL:
                raise RegistryError(
                    f"no room for the download: {error.strerror}",
                    code="store-full",
                    hint=f"make room on the disk of {self._path.parent.parent}; what is in it is unharmed",
                ) from None
            raise _unwritable(self._path, error) from error

    def discard(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _finish(self, whole: Path) -> None:
        try:
            self._path.rename(whole)
        except OSError as error:
            raise _unwritable(self._path, error) from error


class Download(_Draft):
    """A blob of known digest and size. Used as a context manager: what is not committed is kept, to go on with."""

    def __init__(self, descriptor: int, path: Path, whole: Path, digest: str, size: int) -> None:
        super().__init__(descriptor, path)
        self._whole = whole
        self._digest = digest
        self._size = size
        self._committed = False

    @classmethod
    def open(cls, path: Path, whole: Path, digest: str, size: int) -> Download | None:
        """The download at ``path``, with what it has already; None where another process holds it, or has ended it."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _unwritable(path, error) from error
        download = cls(descriptor, path, whole, digest, size)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if download._is_current() and not download._is_done():
                download._catch_up()
                return download
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def __enter__(self) -> Download:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._committed and self.offset == 0:
            self.discard()
        os.close(self._descriptor)

    @property
    def missing(self) -> int:
        """Bytes that are still to come."""
        return self._size - self.offset

    def restart(self) -> None:
        """Begin again."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.offset = 0

    def commit(self) -> None:
        """Make it whole; RegistryError ``registry-wrong-content`` if it is not what its digest says: then it goes."""
        found = f"sha256:{self._hash.hexdigest()}"
        if self.offset != self._size or found != self._digest:
            size = self.offset
            self.restart()
            raise RegistryError(
                f"{self._digest} of {self._size} bytes was asked for, and {found} of {size} bytes came",
                code="registry-wrong-content",
                hint="the registry, or something before it, changes what it holds: nothing of it was kept",
            )
        self._finish(self._whole)
        self._committed = True

    def _is_current(self) -> bool:
        """Whether the file is still the one at its path: who held the lock before may have moved or removed it."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.lstat())
        except FileNotFoundError:
            return False

    def _is_done(self) -> bool:
        """Whether the blob became whole while we waited for the lock, so that the file here is a new, empty one."""
        if os.fstat(self._descriptor).st_size or not self._whole.exists():
            return False
        self._path.unlink()
        return True

    def _catch_up(self) -> None:
        """Read what is there: it is part of the digest."""
        if os.fstat(self._descriptor).st_size > self._size:
            os.ftruncate(self._descriptor, 0)
        buffer = memoryview(bytearray(READ_BYTES))
        while count := os.readv(self._descriptor, [buffer]):
            self._hash.update(buffer[:count])
            self.offset += count


class Ingest(_Draft):
    """A blob whose digest is not known before. Used as a context manager: what is not committed goes."""

    def __init__(self, path: Path, directory: Path, limit: int) -> None:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # nobody else knows it yet, but who tidies up looks for a lock
        except OSError as error:
            raise _unwritable(path, error) from error
        super().__init__(descriptor, path)
        self._directory = directory
        self._limit = limit
        self._committed = False

    def __enter__(self) -> Ingest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._committed:
            self.discard()
        os.close(self._descriptor)

    def write(self, view: memoryview) -> None:
        """Add what comes next; RegistryError ``registry-too-large`` past the limit, else as `_Draft.write`."""
        if self.offset + len(view) > self._limit:
            raise RegistryError(
                f"the download is larger than {self._limit} bytes",
                code="registry-too-large",
                hint="this is not what you mean, or the server is not",
            )
        super().write(view)

    def begins_with(self, count: int) -> bytes:
        """The first bytes of what was written."""
        return os.pread(self._descriptor, count, 0)

    def commit(self) -> tuple[str, Path]:
        """Make it whole; returns its digest, and its path in the store."""
        found = self._hash.hexdigest()
        whole = self._directory / found
        self._finish(whole)
        self._committed = True
        return f"sha256:{found}", whole


def _unwritable(path: Path, error: OSError) -> RegistryError:
    return RegistryError(
        f"cannot write {path}: {error.strerror}",
        code="store-directory",
        hint="check the permissions of the directory; everything in it can be removed",
    )
