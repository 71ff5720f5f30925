"""Compiled code on disk, as opaque bytes: the Keep seals what it stores and checks it before use.

The directory is 0700, an entry is written to a temporary file and renamed into place, so concurrent runs see all
of an entry or nothing. A cache that cannot be used is no error: the run compiles again.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Final

KEY_BYTES: Final = 32
MAX_CACHE_BYTES: Final = 2 << 30
"""Size of all entries at which the least recently used are removed, in bytes."""
_NAME: Final = re.compile(r"[0-9a-f]{64}")


def default_directory() -> Path:
    """``$ENARX_CACHE_DIR``, or ``enarx/code`` in the user's cache directory."""
    chosen = os.environ.get("ENARX_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "enarx" / "code"


class DiskCache:
    """Entries by name. ``reason`` says why nothing is cached, if so."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.reason = ""
        self.key = b""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            info = directory.stat()
            if info.st_uid != os.getuid() or info.st_mode & 0o077:
                raise PermissionError(f"{directory} must belong to you, with mode 0700")
            self.key = self._load_key()
        except (OSError, RuntimeError) as error:
            self.reason = str(error)

    def _load_key(self) -> bytes:
        """The key of this installation, made on first use."""
        path = self._directory / "key"
        for _ in range(2):
            with contextlib.suppress(FileNotFoundError):
                key = path.read_bytes()
                if len(key) == KEY_BYTES and not path.stat().st_mode & 0o077:
                    return key
                path.unlink()
            self._write(path, secrets.token_bytes(KEY_BYTES), replace=False)
        return path.read_bytes()

    def _write(self, path: Path, *parts: bytes | bytearray, replace: bool) -> None:
        """Write a file that is there whole or not at all; without ``replace`` the first of two writers wins."""
        draft = self._directory / f".{secrets.token_hex(8)}.tmp"
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                for part in parts:
                    file.write(part)
            if replace:
                draft.rename(path)
            else:
                with contextlib.suppress(FileExistsError):
                    os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def get(self, name: str) -> bytes | None:
        """An entry, or None."""
        if not self.key or not _NAME.fullmatch(name):
            return None
        path = self._directory / name
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return data

    def put(self, name: str, data: bytes | bytearray) -> None:
        """Store an entry, then make room. A disk that is full or gone is remembered in ``reason``."""
        if not self.key or not _NAME.fullmatch(name):
            return
        try:
            self._write(self._directory / name, data, replace=True)
            self._trim()
        except OSError as error:
            self.reason = str(error)

    def _trim(self) -> None:
        """Remove the least recently used entries, and what crashed writers left, beyond MAX_CACHE_BYTES."""
        entries = []
        for entry in os.scandir(self._directory):
            if entry.name != "key":
                with contextlib.suppress(OSError):
                    info = entry.stat()
                    entries.append((info.st_mtime, info.st_size, entry.path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= MAX_CACHE_BYTES:
                break
            with contextlib.suppress(OSError):
                Path(path).unlink()
            total -= size
