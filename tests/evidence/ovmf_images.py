"""Small valid OVMF images made to order, so that measurements can be tested without anybody's firmware."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from uuid import UUID

from enarx.evidence.ovmf import (
    SEV_ES_RESET_BLOCK,
    SEV_HASH_TABLE,
    SEV_METADATA,
    SVSM_INFO,
    TABLE_FOOTER,
    SectionType,
)

PAGE = 4096
RESET_EIP = 0x0080_B004

AMD_SEV_SECTIONS: tuple[tuple[int, int, int], ...] = (
    (0x80_0000, 0x9000, SectionType.SNP_SEC_MEM),
    (0x80_A000, 0x3000, SectionType.SNP_SEC_MEM),
    (0x80_D000, 0x1000, SectionType.SNP_SECRETS),
    (0x80_E000, 0x1000, SectionType.CPUID),
    (0x80_F000, 0x1000, SectionType.SVSM_CAA),
    (0x81_0000, 0x1000, SectionType.KERNEL_HASHES),
    (0x81_1000, 0xF000, SectionType.SNP_SEC_MEM),
)
"""The sections of an OVMF built from OvmfPkg/AmdSev."""
HASH_TABLE = (0x81_0C00, 0x400)


def table_entry(guid: UUID, data: bytes) -> bytes:
    return data + struct.pack("<H16s", len(data) + 18, guid.bytes_le)


def metadata(sections: Iterable[tuple[int, int, int]], *, signature: bytes = b"ASEV", version: int = 1) -> bytes:
    packed = b"".join(struct.pack("<III", *section) for section in sections)
    return struct.pack("<4sIII", signature, 16 + len(packed), version, len(packed) // 12) + packed


def with_table(entries: Iterable[bytes], *, pages: int = 2, body: bytes = b"") -> bytes:
    """An image of ``pages`` pages whose GUIDed table has the given entries; ``body`` comes before the table."""
    table = b"".join(entries)
    footer = struct.pack("<H16s", len(table) + 18, TABLE_FOOTER.bytes_le)
    end = body + table + footer + bytes(32)
    return end.rjust(pages * PAGE, b"\xff")


def ovmf_image(
    *,
    sections: Sequence[tuple[int, int, int]] | None = AMD_SEV_SECTIONS,
    hash_table: tuple[int, int] | None = HASH_TABLE,
    reset_eip: int | None = RESET_EIP,
    svsm_entry: int | None = None,
    head: bytes = b"",
    pages: int = 2,
) -> bytes:
    """An image like OVMF's: ``head`` fills its beginning, None leaves an entry out of its table."""
    described = metadata(sections) if sections is not None else b""
    entries = []
    if reset_eip is not None:
        entries.append(table_entry(SEV_ES_RESET_BLOCK, struct.pack("<I", reset_eip)))
    if hash_table is not None:
        entries.append(table_entry(SEV_HASH_TABLE, struct.pack("<II", *hash_table)))
    if svsm_entry is not None:
        entries.append(table_entry(SVSM_INFO, struct.pack("<I", svsm_entry)))
    if sections is not None:
        # The metadata lie right before the table; its entry counts their distance from the end of the image.
        rest = sum(len(entry) for entry in entries) + 22 + 18 + 32
        entries.append(table_entry(SEV_METADATA, struct.pack("<I", len(described) + rest)))
    image = with_table(entries, pages=pages, body=described)
    return head[: len(image) - PAGE] + image[len(head[: len(image) - PAGE]) :]
