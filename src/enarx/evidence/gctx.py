"""The SNP guest context: how the secure processor chains pages into a launch digest.

Source: AMD SEV-SNP Firmware ABI (56860) revision 1.58, 8.17.2 and the PAGE_INFO structure: each page replaces the
digest by SHA-384 of {digest, SHA-384 of the page or zeros, length of the structure, page type, permissions, address}.
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum
from typing import Final

from enarx.evidence.ovmf import PAGE_BYTES

DIGEST_BYTES: Final = 48
VMSA_GPA: Final = 0xFFFF_FFFF_F000
"""Address that a VMSA is measured at: the highest page of 48 bits, whatever its real place."""

_ZERO_DIGEST: Final = bytes(DIGEST_BYTES)
_PAGE_INFO_BYTES: Final = 0x70
_INFO = struct.Struct("<HBBBBBB")  # length, page type, IMI flag, VMPL 3, 2, 1 permissions, reserved


class PageType(IntEnum):
    """PAGE_TYPE of SNP_LAUNCH_UPDATE (56860, 8.17)."""

    NORMAL = 1
    VMSA = 2
    ZERO = 3
    UNMEASURED = 4
    SECRETS = 5
    CPUID = 6


_PREFIX: Final = {kind: _INFO.pack(_PAGE_INFO_BYTES, kind, 0, 0, 0, 0, 0) for kind in PageType}


class LaunchContext:
    """A launch digest in the making; ``digest`` is its value so far (48 bytes).

    Start from ``digest`` of an earlier context to go on from there. Addresses and lengths are whole pages: the callers
    check what comes from a file.
    """

    __slots__ = ("_page_digests", "digest")

    def __init__(self, digest: bytes = _ZERO_DIGEST) -> None:
        if len(digest) != DIGEST_BYTES:
            raise ValueError(f"a launch digest has {DIGEST_BYTES} bytes, not {len(digest)}")
        self.digest = digest
        self._page_digests: dict[bytes, bytes] = {}

    def add_data(self, gpa: int, data: bytes) -> None:
        """Measure ``data``, a whole number of pages, as normal pages from ``gpa`` on."""
        # A firmware image repeats pages (padding above all), so each distinct page is hashed once.
        sha384, known, prefix, digest = hashlib.sha384, self._page_digests, _PREFIX[PageType.NORMAL], self.digest
        previous, contents = b"", b""
        for offset in range(0, len(data), PAGE_BYTES):
            page = data[offset : offset + PAGE_BYTES]
            if page != previous:
                contents = known.get(page) or known.setdefault(page, sha384(page).digest())
                previous = page
            digest = sha384(digest + contents + prefix + (gpa + offset).to_bytes(8, "little")).digest()
        self.digest = digest

    def add_blank(self, kind: PageType, gpa: int, size: int) -> None:
        """Measure ``size`` bytes of pages whose contents are not hashed: zero, unmeasured, secrets, CPUID."""
        prefix = _ZERO_DIGEST + _PREFIX[kind]
        digest = self.digest
        for address in range(gpa, gpa + size, PAGE_BYTES):
            digest = hashlib.sha384(digest + prefix + address.to_bytes(8, "little")).digest()
        self.digest = digest

    def add_vmsa(self, page: bytes, count: int = 1) -> None:
        """Measure the VMSA page of ``count`` vCPUs that start in the same state."""
        suffix = hashlib.sha384(page).digest() + _PREFIX[PageType.VMSA] + VMSA_GPA.to_bytes(8, "little")
        for _ in range(count):
            self.digest = hashlib.sha384(self.digest + suffix).digest()
