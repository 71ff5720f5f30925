"""The SEV hash table: how kernel, initrd and command line come into a launch measurement.

The VMM writes their SHA-256 digests into a table in guest memory that is measured; the firmware compares what it is
given with the table. Layout: QEMU ``target/i386/sev.c``, ``PaddedSevHashTable``: each entry is {GUID 16, length 2, then
data}, little-endian GUIDs, padded to 16 bytes; the command line counts with its terminating NUL.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from enarx.errors import UsageError

TABLE_BYTES: Final = 176
MAX_CMDLINE_BYTES: Final = 64 << 10
"""Longest kernel command line that is measured; Linux on x86 reads the first 2048 bytes."""

_SHA256_BYTES: Final = 32
_ENTRY = struct.Struct("<16sH32s")
_HEADER = struct.Struct("<16sH")
_HEADER_GUID: Final = UUID("9438d606-4f22-4cc9-b479-a793d411fd21").bytes_le
_CMDLINE_GUID: Final = UUID("97d02dd8-bd20-4c94-aa78-e7714d36ab2a").bytes_le
_INITRD_GUID: Final = UUID("44baf731-3a2f-4bd7-9af1-41e29169781d").bytes_le
_KERNEL_GUID: Final = UUID("4de79437-abd2-427f-b835-d5b172d2045b").bytes_le
_NO_INITRD: Final = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class KernelHashes:
    """SHA-256 (32 bytes each) of what a measured direct boot loads; without an initrd, that of no bytes."""

    kernel: bytes
    initrd: bytes = _NO_INITRD
    cmdline: bytes = hashlib.sha256(b"\0").digest()

    def __post_init__(self) -> None:
        for name, digest in (("kernel", self.kernel), ("initrd", self.initrd), ("command line", self.cmdline)):
            if len(digest) != _SHA256_BYTES:
                raise UsageError(
                    f"the digest of the {name} has {len(digest)} bytes, expected {_SHA256_BYTES}",
                    code="launch-digest-size",
                    hint="give the SHA-256 of the file",
                )

    def table(self) -> bytes:
        """The hash table as the VMM writes it, 176 bytes."""
        entries = b"".join(
            _ENTRY.pack(guid, _ENTRY.size, digest)
            for guid, digest in (
                (_CMDLINE_GUID, self.cmdline),
                (_INITRD_GUID, self.initrd),
                (_KERNEL_GUID, self.kernel),
            )
        )
        table = _HEADER.pack(_HEADER_GUID, _HEADER.size + len(entries)) + entries
        return table.ljust(TABLE_BYTES, b"\0")


def cmdline_digest(cmdline: str) -> bytes:
    """SHA-256 of a kernel command line as it is measured: UTF-8 with a terminating NUL.

    Bytes that are no UTF-8 in an argument of the process are measured as they are (``surrogateescape``). Raises
    UsageError (``cmdline``) for text with a NUL, that no bytes can carry, or longer than ``MAX_CMDLINE_BYTES``.
    """
    try:
        text = cmdline.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise _bad_cmdline("holds characters that have no encoding") from error
    if b"\0" in text:
        raise _bad_cmdline("holds a NUL")
    if len(text) > MAX_CMDLINE_BYTES:
        raise _bad_cmdline(f"has {len(text)} bytes, the limit is {MAX_CMDLINE_BYTES}")
    return hashlib.sha256(text + b"\0").digest()


def _bad_cmdline(what: str) -> UsageError:
    return UsageError(
        f"the kernel command line {what}", code="cmdline", hint="give it exactly as the VMM passes it to the kernel"
    )
