"""The Keep's reader of a secret area, held against the tenant's own reader and writer of the same format."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.evidence.sev.secret import MAX_SECRET_BYTES, SECRET_TABLE_GUID, build_table, parse_table
from enarx.keep.secretarea import AREA_MAX_BYTES, SECRETS_MAX, read_area

A, B = UUID(int=1), UUID(int=2)
TABLES = st.dictionaries(st.uuids(), st.binary(max_size=64), min_size=1, max_size=8)


@given(TABLES)
def test_what_a_tenant_injects_is_read(secrets: dict[UUID, bytes]) -> None:
    assert read_area(build_table(secrets)) == {str(guid): data for guid, data in secrets.items()}


@given(st.one_of(st.binary(max_size=256), TABLES.map(build_table)), st.integers(0, 300), st.integers(1, 255))
@example(b"", 0, 1)
def test_both_readers_agree_on_any_bytes(data: bytes, at: int, change: int) -> None:
    area = bytearray(data)
    if area:
        area[at % len(area)] ^= change
    try:
        expected = {str(guid): value for guid, value in parse_table(bytes(area)).items()}
    except MalformedError:
        with pytest.raises(MalformedError) as raised:
            read_area(bytes(area))
        assert raised.value.code == "secret-area"
    else:
        assert read_area(bytes(area)) == expected


def test_limits_are_those_of_the_processor() -> None:
    assert AREA_MAX_BYTES == MAX_SECRET_BYTES
    with pytest.raises(MalformedError):
        read_area(build_table({A: b"x"}).ljust(AREA_MAX_BYTES + 16, b"\0"))
    with pytest.raises(MalformedError):
        read_area(_entry(SECRET_TABLE_GUID, b"".join(_entry(UUID(int=n + 9), b"") for n in range(SECRETS_MAX + 1))))
    assert (
        len(read_area(_entry(SECRET_TABLE_GUID, b"".join(_entry(UUID(int=n), b"") for n in range(SECRETS_MAX))))) == 64
    )


def test_secret_that_is_there_twice_is_refused() -> None:
    with pytest.raises(MalformedError, match="twice"):
        read_area(_entry(SECRET_TABLE_GUID, _entry(A, b"1") + _entry(B, b"2") + _entry(A, b"3")))


def _entry(guid: UUID, data: bytes) -> bytes:
    return guid.bytes_le + (20 + len(data)).to_bytes(4, "little") + data
