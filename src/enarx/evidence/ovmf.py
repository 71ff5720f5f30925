"""Guest firmware for SEV: what a launch needs to know from an OVMF image, parsed and bounded.

An OVMF image ends with a table of GUIDed entries that grows downwards from a footer 48 bytes before the end of the
image (EDK II, ``OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm``). Four entries matter to a launch measurement: the
SEV-ES reset block (where application processors start), the SEV hash table descriptor (where the VMM puts the hashes of
kernel, initrd and command line), the SEV metadata (which pages the VMM adds to an SNP guest, in which order:
``OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm``) and, in a COCONUT-SVSM image, its entry point.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from types import MappingProxyType
from typing import Final
from uuid import UUID

from enarx.errors import MalformedError

PAGE_BYTES: Final = 4096
FOUR_GIB: Final = 1 << 32
MAX_FIRMWARE_BYTES: Final = 64 << 20
"""An image is at most this long; OVMF builds are 2 to 16 MiB."""
MAX_SECTIONS: Final = 64
"""SEV metadata describes at most this many sections; OVMF builds have 5 to 8."""
MAX_SECTION_BYTES: Final = 64 << 20
"""All sections together cover at most this many bytes: each page of them costs one hash to measure."""

TABLE_FOOTER: Final = UUID("96b582de-1fb2-45f7-baea-a366c55a082d")
SEV_HASH_TABLE: Final = UUID("7255371f-3a3b-4b04-927b-1da6efa8d454")
SEV_ES_RESET_BLOCK: Final = UUID("00f771de-1a7e-4fcb-890e-68c77e2fb44e")
SEV_METADATA: Final = UUID("dc886566-984a-4798-a75e-5585a7bf67cc")
SVSM_INFO: Final = UUID("a789a612-0597-4c4b-a49f-cbb1fe9d1ddd")

_ENTRY = struct.Struct("<H16s")  # length of the whole entry, GUID; the entry's data come before it
_METADATA_HEADER = struct.Struct("<4sIII")  # signature, length, version, number of sections
_SECTION = struct.Struct("<III")  # guest physical address, length, type
_U32 = struct.Struct("<I")
_AREA = struct.Struct("<II")  # guest physical address, length
_RESET_VECTOR_BYTES: Final = 32
"""The last bytes of an image are the reset vector; the table's footer ends where they begin."""


class SectionType(IntEnum):
    """Kinds of SEV metadata section (``OvmfSevMetadata.asm``, ``OVMF_SECTION_TYPE_*``)."""

    SNP_SEC_MEM = 1
    SNP_SECRETS = 2
    CPUID = 3
    SVSM_CAA = 4
    KERNEL_HASHES = 0x10


_KINDS: Final = frozenset(SectionType)
_SINGLE_PAGE: Final = (SectionType.SNP_SECRETS, SectionType.CPUID)


@dataclass(frozen=True, slots=True)
class Section:
    """Guest memory that the VMM adds to an SNP guest before start: address, length in bytes, ``SectionType``."""

    gpa: int
    size: int
    kind: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What a launch needs of an image besides its bytes; enough, with the digest of those bytes, to measure without it.

    ``reset_eip``: where application processors start, None when the image does not say. ``hash_table``: address and
    length of the area for the kernel hashes, None when the image takes none. ``sections``: None when the image has no
    SEV metadata. ``svsm_entry``: offset of the SVSM's entry point from its load address, None for other firmware.
    """

    reset_eip: int | None
    hash_table: tuple[int, int] | None
    sections: tuple[Section, ...] | None
    svsm_entry: int | None = None


@dataclass(frozen=True, slots=True)
class Firmware:
    """A parsed image: its bytes, its GUIDed table and the launch layout read from it."""

    data: bytes
    table: Mapping[UUID, bytes]
    layout: Layout


def parse_firmware(data: bytes) -> Firmware:
    """Parse an OVMF (or SVSM) image; an image without a table parses to an empty one.

    Raises MalformedError: ``firmware-size``, ``firmware-bad-table`` or ``firmware-bad-metadata``.
    """
    check_size(data)
    table = _parse_table(data)
    layout = Layout(
        reset_eip=_word(table, SEV_ES_RESET_BLOCK),
        hash_table=_hash_table(table),
        sections=_parse_metadata(data, table),
        svsm_entry=_word(table, SVSM_INFO),
    )
    return Firmware(data, MappingProxyType(table), layout)


def check_size(data: bytes) -> None:
    """Refuse an image that is empty or longer than ``MAX_FIRMWARE_BYTES`` (``firmware-size``)."""
    if not data or len(data) > MAX_FIRMWARE_BYTES:
        raise MalformedError(
            f"the firmware image is {len(data)} bytes, expected 1 to {MAX_FIRMWARE_BYTES}",
            code="firmware-size",
            hint="give the OVMF image that the VMM loads",
        )


def _parse_table(data: bytes) -> dict[UUID, bytes]:
    footer_at = len(data) - _RESET_VECTOR_BYTES - _ENTRY.size
    if footer_at < 0:
        return {}
    table_length, footer = _ENTRY.unpack_from(data, footer_at)
    if footer != TABLE_FOOTER.bytes_le:
        return {}
    start = footer_at + _ENTRY.size - table_length
    if table_length < _ENTRY.size or start < 0:
        raise _bad_table(f"its footer gives a length of {table_length} bytes")
    table: dict[UUID, bytes] = {}
    end = footer_at
    while end - start >= _ENTRY.size:
        length, guid = _ENTRY.unpack_from(data, end - _ENTRY.size)
        if length < _ENTRY.size or length > end - start:
            raise _bad_table(f"an entry gives a length of {length} bytes where {end - start} are left")
        name = UUID(bytes_le=guid)
        if name in table:
            # Readers disagree on which of two they take, so such an image has no single measurement.
            raise _bad_table(f"it has two entries {name}")
        table[name] = data[end - length : end - _ENTRY.size]
        end -= length
    return table


def _bad_table(what: str) -> MalformedError:
    return MalformedError(
        f"the firmware's GUIDed table is damaged: {what}",
        code="firmware-bad-table",
        hint="the image is truncated or corrupted; build or download it again",
    )


def _word(table: Mapping[UUID, bytes], guid: UUID) -> int | None:
    entry = table.get(guid)
    if entry is None:
        return None
    if len(entry) < _U32.size:
        raise _bad_table(f"entry {guid} has {len(entry)} bytes, expected at least {_U32.size}")
    value: int = _U32.unpack_from(entry)[0]
    return value


def _hash_table(table: Mapping[UUID, bytes]) -> tuple[int, int] | None:
    entry = table.get(SEV_HASH_TABLE)
    if entry is None:
        return None
    if len(entry) < _AREA.size:
        raise _bad_table(f"entry {SEV_HASH_TABLE} has {len(entry)} bytes, expected at least {_AREA.size}")
    base, size = _AREA.unpack_from(entry)
    return (base, size) if base else None


def _parse_metadata(data: bytes, table: Mapping[UUID, bytes]) -> tuple[Section, ...] | None:
    from_end = _word(table, SEV_METADATA)
    if from_end is None:
        return None
    start = len(data) - from_end
    if start < 0 or from_end < _METADATA_HEADER.size:
        raise bad_metadata(f"it should begin {from_end} bytes before the end of an image of {len(data)}")
    signature, length, version, count = _METADATA_HEADER.unpack_from(data, start)
    if signature != b"ASEV":
        raise bad_metadata(f"its signature is {signature.hex()}, expected {b'ASEV'.hex()}")
    if version != 1:
        raise bad_metadata(f"its version is {version}, known is 1")
    if count > MAX_SECTIONS:
        raise bad_metadata(f"it has {count} sections, the limit is {MAX_SECTIONS}")
    if length > from_end or _METADATA_HEADER.size + count * _SECTION.size > length:
        raise bad_metadata(f"its length of {length} bytes does not fit {count} sections into the image")
    first = start + _METADATA_HEADER.size
    return tuple(Section(*_SECTION.unpack_from(data, first + i * _SECTION.size)) for i in range(count))


def check_sections(sections: tuple[Section, ...], reserved: tuple[int, int]) -> None:
    """Refuse sections that no launch can add: of unknown kind, unaligned, overlapping, or too large.

    ``reserved`` is the range [start, end) of guest memory that images take, which no section may overlap: a page cannot
    be added twice (SNP firmware ABI, 56860, SNP_LAUNCH_UPDATE). Unbounded sections would make measuring unbounded.
    """
    if sum(section.size for section in sections) > MAX_SECTION_BYTES:
        raise bad_metadata(f"its sections cover more than {MAX_SECTION_BYTES} bytes")
    taken = [reserved]
    for section in sections:
        if section.kind not in _KINDS:
            raise bad_metadata(f"section type {section.kind:#x} is not known")
        if section.gpa % PAGE_BYTES or section.size % PAGE_BYTES:
            raise bad_metadata(f"a section at {section.gpa:#x} of {section.size:#x} bytes is not made of whole pages")
        if section.kind in _SINGLE_PAGE and section.size != PAGE_BYTES:
            raise bad_metadata(
                f"a {SectionType(section.kind).name} section has {section.size:#x} bytes, expected one page"
            )
        if section.size:
            taken.append((section.gpa, section.gpa + section.size))
    taken.sort()
    for (_, end), (begin, _) in pairwise(taken):
        if begin < end:
            raise bad_metadata(f"sections overlap at {begin:#x}")


def bad_metadata(what: str) -> MalformedError:
    """The error for SEV metadata that cannot be used, for the reason ``what``."""
    return MalformedError(
        f"the firmware's SEV metadata cannot be used: {what}",
        code="firmware-bad-metadata",
        hint="the image is damaged, or not built for SEV-SNP",
    )
