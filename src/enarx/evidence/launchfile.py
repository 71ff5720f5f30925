"""Launch files read for measuring: from a path, from bytes or from a stream, bounded, each read once.

The measurements themselves (``snp.measure``, ``sev.measure``) are pure functions of what this module returns. It is the
only module of ``enarx.evidence`` that opens a file, and only one that the caller names.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final, Protocol, TypeAlias

from enarx.errors import UsageError
from enarx.evidence.hashtable import KernelHashes, cmdline_digest
from enarx.evidence.ovmf import MAX_FIRMWARE_BYTES

LaunchFile: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A path, the bytes themselves, or an open binary stream, which is read from where it stands to its end."""

MAX_KERNEL_BYTES: Final = 4 << 30
"""A kernel or initrd has at most this many bytes: it is loaded below 4 GiB."""

_CHUNK_BYTES: Final = 256 << 10


def read_firmware(source: LaunchFile) -> bytes:
    """The bytes of a firmware image of at most 64 MiB.

    Raises UsageError: ``launch-file`` when it cannot be read, ``launch-file-size`` when it is too long.
    """
    return read_bounded(source, MAX_FIRMWARE_BYTES, "firmware image")


def read_bounded(source: LaunchFile, limit: int, what: str) -> bytes:
    """The bytes of ``source``, at most ``limit`` of them; ``what`` names it in errors. Raises as ``read_firmware``."""
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    elif isinstance(source, str | os.PathLike):
        try:
            with Path(source).open("rb", buffering=0) as file:
                # A regular file comes in one piece; what has no size (a pipe) comes in chunks.
                size = min(os.fstat(file.fileno()).st_size, limit) + 1
                data = _drain(file, limit, what, max(size, _CHUNK_BYTES))
        except (OSError, ValueError) as error:  # ValueError: a path with a NUL
            raise _unreadable(source, what, error) from error
    else:
        data = _drain(source, limit, what)
    if len(data) > limit:
        raise _too_long(what, limit)
    return data


def kernel_hashes(kernel: LaunchFile, initrd: LaunchFile | None = None, cmdline: str = "") -> KernelHashes:
    """Hash what a measured direct boot loads: kernel and initrd of at most 4 GiB each, and the command line.

    Raises UsageError: ``launch-file``, ``launch-file-size``, ``cmdline``.
    """
    cmdline_sha256 = cmdline_digest(cmdline)
    if initrd is None:
        return KernelHashes(file_digest(kernel, "kernel"), cmdline=cmdline_sha256)
    with ThreadPoolExecutor(max_workers=1) as pool:  # hashing large buffers does not hold the interpreter's lock
        initrd_sha256 = pool.submit(file_digest, initrd, "initrd")
        kernel_sha256 = file_digest(kernel, "kernel")
        return KernelHashes(kernel_sha256, initrd_sha256.result(), cmdline_sha256)


def file_digest(source: LaunchFile, what: str) -> bytes:
    """SHA-256 (32 bytes) of a kernel or initrd; ``what`` names it in errors. Raises as ``kernel_hashes``."""
    if isinstance(source, bytes | bytearray | memoryview):
        return hashlib.sha256(source).digest()
    if isinstance(source, str | os.PathLike):
        try:
            with Path(source).open("rb", buffering=0) as file:
                return _raw_digest(file, what)
        except (OSError, ValueError) as error:
            raise _unreadable(source, what, error) from error
    return _stream_digest(source, what)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes | None: ...


def _raw_digest(file: FileIO, what: str) -> bytes:
    # One buffer for the whole file: allocating one per chunk costs a third as much as hashing it.
    digest, total, buffer = hashlib.sha256(), 0, bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    while count := file.readinto(buffer):
        total += count
        if total > MAX_KERNEL_BYTES:
            raise _too_long(what, MAX_KERNEL_BYTES)
        digest.update(view[:count])
    return digest.digest()


def _stream_digest(stream: _Readable, what: str) -> bytes:
    digest, total = hashlib.sha256(), 0
    for chunk in _chunks(stream, what):
        total += len(chunk)
        if total > MAX_KERNEL_BYTES:
            raise _too_long(what, MAX_KERNEL_BYTES)
        digest.update(chunk)
    return digest.digest()


def _drain(stream: _Readable, limit: int, what: str, chunk_bytes: int = _CHUNK_BYTES) -> bytes:
    chunks, total = [], 0
    for chunk in _chunks(stream, what, chunk_bytes):
        total += len(chunk)
        if total > limit:
            raise _too_long(what, limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _chunks(stream: _Readable, what: str, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[bytes]:
    while True:
        try:
            chunk = stream.read(chunk_bytes)
        except OSError as error:
            raise _unreadable("stream", what, error) from error
        if chunk is None:  # a non-blocking stream without data: measuring what came so far would be wrong
            raise _unreadable("stream", what, BlockingIOError("no data yet, and the stream does not wait for it"))
        if not chunk:
            return
        yield chunk


def _unreadable(path: object, what: str, error: Exception) -> UsageError:
    cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UsageError(
        f"cannot read the {what} ({path}): {cause}",
        code="launch-file",
        hint="name a file that exists and that you may read",
    )


def _too_long(what: str, limit: int) -> UsageError:
    return UsageError(
        f"the {what} is longer than {limit} bytes", code="launch-file-size", hint="this is not the file you mean"
    )
