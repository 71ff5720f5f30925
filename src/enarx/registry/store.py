"""The local store of blobs: files named by the SHA-256 of what is in them, checked when they are read.

``sha256/HEX`` is a whole blob, ``partial/HEX`` one that is being fetched, or was, and may be resumed. A blob becomes
whole by a rename after its digest was checked. Nothing is synchronised to the disk: after a crash a damaged file is
found by its digest, removed, and fetched again. The least recently used are removed where the store, or the disk,
would grow too full; whoever has one open keeps it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from enarx.errors import RegistryError
from enarx.registry.digest import digest_of, hexadecimal, is_digest
from enarx.registry.download import Download, Ingest

STORE_MAX_BYTES: Final = 16 << 30
PARTIAL_MAX_AGE_SECONDS: Final = 7 * 24 * 3600
"""What was not gone on with for so long is removed (seconds)."""
READ_BYTES: Final = 1 << 20
POLL_SECONDS: Final = 0.1
STALL_SECONDS: Final = 30.0
"""How long another process that fetches the same may get no further before we fetch it ourselves (seconds)."""


def default_directory() -> Path:
    """``$ENARX_STORE_DIR``, or ``enarx/blobs`` in the user's cache directory; RegistryError ``store-directory``."""
    chosen = os.environ.get("ENARX_STORE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser() / "enarx" / "blobs"
    except RuntimeError:
        raise RegistryError(
            "you have no home directory to keep downloads in",
            code="store-directory",
            hint="name a directory in ENARX_STORE_DIR",
        ) from None


class Store:
    """The store in ``directory``, which is made if it is not there, and must be its user's own, 0700."""

    def __init__(self, directory: Path | None = None, *, max_bytes: int = STORE_MAX_BYTES) -> None:
        self.directory = directory or default_directory()
        self.max_bytes = max_bytes
        self._whole = self.directory / "sha256"
        self._partial = self.directory / "partial"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            info = self.directory.stat()
            if info.st_uid != os.getuid() or info.st_mode & 0o077:
                raise RegistryError(
                    f"{self.directory} must belong to you, with mode 0700",
                    code="store-directory",
                    hint="nobody else may change what is kept there: chmod 700 it, or name another directory",
                )
            self._whole.mkdir(mode=0o700, exist_ok=True)
            self._partial.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise RegistryError(
                f"cannot keep downloads in {self.directory}: {error.strerror}",
                code="store-directory",
                hint="name another directory in ENARX_STORE_DIR",
            ) from error

    def path(self, digest: str) -> Path:
        """Where the blob is, if it is there."""
        if not is_digest(digest):
            raise ValueError(f"{digest!r} is not a digest")
        return self._whole / hexadecimal(digest)

    def verified(self, digest: str, size: int) -> Path | None:
        """The blob's path if it is there and right; every byte is read for that. A damaged one is removed."""
        try:
            with self.open(digest, size) as blob:
                buffer = memoryview(bytearray(READ_BYTES))
                while blob.readinto(buffer):
                    pass
        except RegistryError as error:
            if error.code in ("store-missing", "store-damaged"):
                return None
            raise
        return self.path(digest)

    def open(self, digest: str, size: int | None = None) -> Blob:
        """The blob to be read, and checked while it is; RegistryError ``store-missing``."""
        path = self.path(digest)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with contextlib.suppress(OSError):
                os.utime(descriptor)  # it is used now
        except FileNotFoundError:
            raise RegistryError(
                f"{digest} is not in {self.directory}", code="store-missing", hint="fetch it again"
            ) from None
        except OSError as error:
            raise self._trouble(error) from error
        blob = Blob(descriptor, path, digest)
        if size is not None and blob.size != size:
            with blob:
                raise blob.damaged()
        return blob

    def get(self, digest: str, limit: int) -> bytes | None:
        """The content of a small blob, checked; None where it is not there, or was damaged."""
        try:
            with self.open(digest) as blob:
                if blob.size > limit:
                    return None
                data = bytearray(blob.size + 1)
                view = memoryview(data)
                count = 0
                while got := blob.readinto(view[count:]):
                    count += got
                return bytes(view[:count])
        except RegistryError as error:
            if error.code in ("store-missing", "store-damaged"):
                return None
            raise

    def put(self, data: bytes) -> str:
        """Store a small blob; returns its digest."""
        digest = digest_of(data)
        with self.download(digest, len(data)) as download:
            if download is not None:
                download.restart()
                download.write(memoryview(data))
                download.commit()
        return digest

    @contextlib.contextmanager
    def download(self, digest: str, size: int) -> Iterator[Download | None]:
        """Fetch a blob: what was fetched before is in the download already. None: another process has just done it.

        While another process fetches the same, this waits for it, as long as it gets any further.
        """
        path = self.path(digest)
        self._make_room(size)
        download = self._lock(digest, size)
        if download is None:
            yield None
            return
        with download:
            yield download
        if not path.exists():  # given up, without an error
            return
        self.trim()

    @contextlib.contextmanager
    def ingest(self, limit: int) -> Iterator[Ingest]:
        """Store something whose digest is found out on the way, of at most ``limit`` bytes; never resumed."""
        self._make_room(0)
        with Ingest(self._partial / f"new.{os.getpid()}.{time.monotonic_ns()}", self._whole, limit) as ingest:
            yield ingest
        self.trim()

    def _lock(self, digest: str, size: int) -> Download | None:
        shared = self._partial / hexadecimal(digest)
        whole = self.path(digest)
        seen, since = -1, time.monotonic()
        while True:
            download = Download.open(shared, whole, digest, size)
            if download is not None:
                return download
            if whole.exists():
                return None
            with contextlib.suppress(FileNotFoundError):
                now = shared.stat().st_size
                if now != seen:
                    seen, since = now, time.monotonic()
            if time.monotonic() - since > STALL_SECONDS:
                private = shared.with_name(f"{shared.name}.{os.getpid()}.{time.monotonic_ns()}")
                return Download.open(private, whole, digest, size)
            time.sleep(POLL_SECONDS)

    def trim(self, keep_bytes: int | None = None) -> int:
        """Remove the least recently used beyond ``keep_bytes`` (default: the store's bound), and old partials.

        Returns what is left, in bytes. What another process is fetching stays.
        """
        bound = self.max_bytes if keep_bytes is None else keep_bytes
        oldest = time.time() - PARTIAL_MAX_AGE_SECONDS
        found = sorted(self._entries())
        total = sum(size for _, size, _ in found)
        for modified, size, path in found:
            partial = path.parent == self._partial
            if (total > bound or (partial and modified < oldest)) and _remove(path, partial=partial):
                total -= size
        return total

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        for directory in (self._whole, self._partial):
            for entry in os.scandir(directory):
                with contextlib.suppress(OSError):
                    info = entry.stat(follow_symlinks=False)
                    yield info.st_mtime, info.st_blocks * 512, Path(entry.path)

    def _make_room(self, size: int) -> None:
        if size > self.max_bytes:
            raise RegistryError(
                f"{size} bytes are more than the local store may hold, {self.max_bytes}",
                code="store-bound",
                hint="this is not a package, or not one for this machine",
            )
        try:
            left = self.trim(self.max_bytes - size)
            disk = os.statvfs(self.directory)
            lacking = size - disk.f_bavail * disk.f_frsize
            if lacking > left:  # all of the store would not be enough: then nothing of it goes
                raise RegistryError(
                    f"there is no room for {size} bytes on the disk of {self.directory}",
                    code="store-full",
                    hint="make room there, or name a directory on another disk in ENARX_STORE_DIR",
                )
            if lacking > 0:
                self.trim(left - lacking)
        except OSError as error:
            raise self._trouble(error) from error

    def _trouble(self, error: OSError) -> RegistryError:
        return RegistryError(
            f"cannot use {self.directory}: {error.strerror}",
            code="store-directory",
            hint="check its permissions; everything in it can be removed",
        )


def _remove(path: Path, *, partial: bool) -> bool:
    """Remove a file; a partial one only if nobody holds its lock."""
    try:
        if not partial:
            path.unlink()
            return True
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno == errno.ENOENT
    return True


class Blob:
    """A blob that is read: at its end its digest must be right, RegistryError ``store-damaged`` otherwise."""

    def __init__(self, descriptor: int, path: Path, digest: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self._digest = digest
        self._hash = hashlib.sha256()
        info = os.fstat(descriptor)
        self.size = info.st_size if stat.S_ISREG(info.st_mode) else -1

    def __enter__(self) -> Blob:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        os.close(self._descriptor)

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer as far as the blob goes; 0 at its end, when it was found to be right."""
        try:
            count = os.readv(self._descriptor, [buffer])
        except OSError as error:
            raise self.damaged() from error
        if count == 0:
            if f"sha256:{self._hash.hexdigest()}" != self._digest:
                raise self.damaged()
            return 0
        self._hash.update(buffer[:count])
        return count

    def damaged(self) -> RegistryError:
        """Remove it; the error that says so."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        return RegistryError(
            f"{self._digest} was damaged in the local store, and is removed from it",
            code="store-damaged",
            hint="run the command again: it is fetched anew",
        )
