"""The host's certificate table: read what is well formed, believe nothing."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.evidence.snp.abi import SIGNED_BY_VCEK, SIGNED_BY_VLEK, SIGNERS
from enarx.evidence.snp.certtable import (
    ARK_GUID,
    ASK_GUID,
    CRL_GUID,
    TABLE_MAX_BYTES,
    TABLE_MAX_ENTRIES,
    VCEK_GUID,
    VLEK_GUID,
    encode,
    parse,
)

OTHER = UUID("ecae0c0f-9502-43b1-afa2-0ae2e0d565b6")


def entry(guid: UUID, offset: int, length: int) -> bytes:
    return guid.bytes + offset.to_bytes(4, "little") + length.to_bytes(4, "little")


END = bytes(24)


def test_table_gives_back_what_was_put_in() -> None:
    table = parse(
        encode([(VCEK_GUID, b"vcek"), (ASK_GUID, b"ask"), (ARK_GUID, b"ark"), (CRL_GUID, b"crl"), (OTHER, b"x")])
    )
    assert table.endorsement_for(SIGNED_BY_VCEK) == table.vcek == b"vcek"
    assert table.vlek is None
    assert table.chain == (b"ask", b"ark")
    assert table.crls == (b"crl",)
    assert table.names() == ("VCEK", "ASK", "ARK", "CRL", str(OTHER))


def test_padding_behind_the_table_is_ignored_as_hosts_pass_whole_pages() -> None:
    data = encode([(VLEK_GUID, b"vlek")])
    assert parse(data.ljust(4096, b"\0")).endorsement_for(SIGNED_BY_VLEK) == b"vlek"


def test_guid_with_little_endian_fields_is_recognised() -> None:
    data = VCEK_GUID.bytes_le + (48).to_bytes(4, "little") + (4).to_bytes(4, "little") + END + b"vcek"
    assert parse(data).vcek == b"vcek"


def test_empty_table_has_nothing() -> None:
    table = parse(bytes(4096))
    assert table.endorsement_for(SIGNED_BY_VCEK) is None
    assert table.chain == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(23),
        entry(VCEK_GUID, 48, 4) + b"vcek",  # no end
        entry(VCEK_GUID, 48, 5) + END + b"vcek",  # past the end
        entry(VCEK_GUID, 47, 4) + END + b"vcek",  # inside the header
        entry(VCEK_GUID, 0, 24) + END + b"vcek",
        entry(VCEK_GUID, 48, 0) + END + b"vcek",  # empty
        entry(VCEK_GUID, 0xFFFFFFFF, 1) + END,
        entry(VCEK_GUID, 48, 0xFFFFFFFF) + END + b"vcek",
        entry(VCEK_GUID, 72, 4) + entry(VCEK_GUID, 72, 4) + END + b"vcek",  # twice
        entry(UUID(int=0), 1, 0),
        entry(UUID(int=0), 0, 1),
    ],
)
def test_malformed_tables_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(data)
    assert caught.value.code == "malformed"


def test_certificate_is_the_one_of_the_key_that_signed_and_else_the_one_there_is() -> None:
    both = parse(encode([(VCEK_GUID, b"vcek"), (VLEK_GUID, b"vlek")]))
    with pytest.raises(MalformedError):
        _ = both.endorsement
    assert both.endorsement_for(SIGNED_BY_VCEK) == b"vcek"
    assert both.endorsement_for(SIGNED_BY_VLEK) == b"vlek"
    for guid in (VCEK_GUID, VLEK_GUID):
        table = parse(encode([(guid, b"the only one")]))
        assert table.endorsement == b"the only one"
        for signing_key in SIGNERS:
            assert table.endorsement_for(signing_key) == b"the only one"


def test_limits_are_kept() -> None:
    many = [(UUID(int=i + 1), b"x") for i in range(TABLE_MAX_ENTRIES)]
    assert len(parse(encode(many)).entries) == TABLE_MAX_ENTRIES
    with pytest.raises(MalformedError):
        parse(encode([*many, (UUID(int=99), b"x")]))
    with pytest.raises(MalformedError) as caught:
        parse(bytes(TABLE_MAX_BYTES + 1))
    assert caught.value.code == "too-long"
    assert parse(bytes(TABLE_MAX_BYTES)).entries == {}


@given(st.binary(max_size=400))
def test_any_bytes_are_a_table_or_malformed(data: bytes) -> None:
    try:
        table = parse(data)
    except MalformedError:
        return
    assert sum(map(len, table.entries.values())) <= len(data) * len(table.entries)


@given(st.dictionaries(st.uuids().filter(lambda guid: guid.int != 0), st.binary(min_size=1, max_size=50), max_size=8))
def test_any_table_survives(entries: dict[UUID, bytes]) -> None:
    assert dict(parse(encode(entries.items())).entries) == entries
