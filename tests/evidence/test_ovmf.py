"""Firmware images: what is read, what is refused, and that nothing else can happen."""

from __future__ import annotations

import struct
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.evidence.ovmf import (
    FOUR_GIB,
    MAX_FIRMWARE_BYTES,
    MAX_SECTION_BYTES,
    MAX_SECTIONS,
    SEV_ES_RESET_BLOCK,
    SEV_HASH_TABLE,
    SEV_METADATA,
    TABLE_FOOTER,
    Layout,
    Section,
    SectionType,
    check_sections,
    parse_firmware,
)
from tests.evidence.ovmf_images import (
    AMD_SEV_SECTIONS,
    HASH_TABLE,
    RESET_EIP,
    metadata,
    ovmf_image,
    table_entry,
    with_table,
)


def refused(data: bytes) -> str:
    with pytest.raises(MalformedError) as caught:
        parse_firmware(data)
    assert caught.value.hint
    return caught.value.code


def image_with_metadata(described: bytes, from_end: int | None = None) -> bytes:
    """An image with the given SEV metadata, ``from_end`` overriding where its table says they are."""
    distance = len(described) + 22 + 18 + 32 if from_end is None else from_end
    return with_table([table_entry(SEV_METADATA, struct.pack("<I", distance))], body=described)


def test_layout_of_a_whole_image_is_read() -> None:
    layout = parse_firmware(ovmf_image(svsm_entry=0x40)).layout
    assert layout.reset_eip == RESET_EIP
    assert layout.hash_table == HASH_TABLE
    assert layout.svsm_entry == 0x40
    assert layout.sections == tuple(Section(*section) for section in AMD_SEV_SECTIONS)


def test_image_without_a_table_has_an_empty_layout() -> None:
    assert parse_firmware(bytes(4096)).layout == Layout(None, None, None)
    assert parse_firmware(b"x").table == {}


def test_hash_table_at_address_zero_means_none() -> None:
    assert parse_firmware(ovmf_image(hash_table=(0, 0))).layout.hash_table is None


def test_size_limits() -> None:
    assert refused(b"") == "firmware-size"
    assert refused(bytes(MAX_FIRMWARE_BYTES + 1)) == "firmware-size"


@pytest.mark.parametrize("length", [0, 17, 5000])
def test_footer_with_an_impossible_length_is_refused(length: int) -> None:
    footer = struct.pack("<H16s", length, TABLE_FOOTER.bytes_le) + bytes(32)
    assert refused(footer.rjust(4096, b"\0")) == "firmware-bad-table"


@pytest.mark.parametrize("length", [0, 17, 23, 0xFFFF])
def test_entry_with_an_impossible_length_is_refused(length: int) -> None:
    entry = b"data" + struct.pack("<H16s", length, SEV_ES_RESET_BLOCK.bytes_le)
    assert refused(with_table([entry])) == "firmware-bad-table"


def test_two_entries_with_one_guid_are_refused() -> None:
    entry = table_entry(SEV_ES_RESET_BLOCK, bytes(4))
    assert refused(with_table([entry, entry])) == "firmware-bad-table"


@pytest.mark.parametrize(("guid", "size"), [(SEV_ES_RESET_BLOCK, 3), (SEV_HASH_TABLE, 7), (SEV_METADATA, 3)])
def test_entry_that_is_too_short_is_refused(guid: UUID, size: int) -> None:
    assert refused(with_table([table_entry(guid, bytes(size))])) == "firmware-bad-table"


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(image_with_metadata(metadata([]), from_end=0), id="at the end"),
        pytest.param(image_with_metadata(metadata([]), from_end=15), id="header past the end"),
        pytest.param(image_with_metadata(metadata([]), from_end=8193), id="before the beginning"),
        pytest.param(image_with_metadata(metadata([]), from_end=0xFFFF_FFFF), id="far before the beginning"),
        pytest.param(image_with_metadata(metadata([], signature=b"ASEW")), id="signature"),
        pytest.param(image_with_metadata(metadata([], version=2)), id="version"),
        pytest.param(image_with_metadata(struct.pack("<4sIII", b"ASEV", 16, 1, 1) + bytes(12)), id="length too small"),
        pytest.param(image_with_metadata(struct.pack("<4sIII", b"ASEV", 9999, 1, 0)), id="length past the end"),
        pytest.param(image_with_metadata(struct.pack("<4sIII", b"ASEV", 16, 1, 0xFFFF_FFFF)), id="count"),
        pytest.param(image_with_metadata(metadata([(0, 0, 1)] * (MAX_SECTIONS + 1))), id="too many sections"),
    ],
)
def test_metadata_that_cannot_be_right_are_refused(image: bytes) -> None:
    assert refused(image) == "firmware-bad-metadata"


def test_as_many_sections_as_the_limit_allows_are_read() -> None:
    sections = parse_firmware(image_with_metadata(metadata([(0, 0, 1)] * MAX_SECTIONS))).layout.sections
    assert sections is not None
    assert len(sections) == MAX_SECTIONS


RESERVED = (FOUR_GIB - 8192, FOUR_GIB)


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param([(0, 4096, 99)], id="unknown kind"),
        pytest.param([(1, 4096, 1)], id="unaligned address"),
        pytest.param([(0, 4097, 1)], id="unaligned length"),
        pytest.param([(0, 8192, SectionType.CPUID)], id="two CPUID pages"),
        pytest.param([(0, 0, SectionType.SNP_SECRETS)], id="no secrets page"),
        pytest.param([(0, 8192, 1), (4096, 4096, 1)], id="overlap"),
        pytest.param([(4096, 4096, 1), (4096, 4096, 1)], id="twice"),
        pytest.param([(FOUR_GIB - 12288, 8192, 1)], id="over the image"),
        pytest.param([(0x10000, MAX_SECTION_BYTES + 4096, 1)], id="too large"),
        pytest.param([(0x80F000, 0xFF7F1000, 1)], id="all of memory"),
    ],
)
def test_sections_that_no_launch_can_add_are_refused(sections: list[tuple[int, int, int]]) -> None:
    with pytest.raises(MalformedError) as caught:
        check_sections(tuple(Section(*section) for section in sections), RESERVED)
    assert caught.value.code == "firmware-bad-metadata"


def test_sections_in_any_order_that_only_touch_are_accepted() -> None:
    parts = [(8192, 4096, 1), (0, 8192, 1), (8192, 0, 1), (FOUR_GIB - 12288, 4096, 1)]
    check_sections(tuple(Section(*part) for part in parts), RESERVED)


@given(st.binary(max_size=300), st.integers(0, 8191), st.binary(min_size=1, max_size=64))
def test_any_bytes_parse_or_are_refused(tail: bytes, at: int, patch: bytes) -> None:
    image = bytearray(ovmf_image())
    image[at : at + len(patch)] = patch
    for data in (bytes(image), bytes(image) + tail, tail, with_table([tail])):
        try:
            parse_firmware(data)
        except MalformedError as error:
            assert error.code.startswith("firmware-")


@given(st.data())
def test_any_damage_to_the_table_parses_or_is_refused(data: st.DataObject) -> None:
    image = bytearray(ovmf_image(svsm_entry=1))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(len(image) - 320, len(image) - 1))
        image[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, image[at] ^ 1]))
    try:
        parse_firmware(bytes(image))
    except MalformedError as error:
        assert error.code in ("firmware-bad-table", "firmware-bad-metadata")
