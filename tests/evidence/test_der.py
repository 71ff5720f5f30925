"""The DER reader: strict, bounded, and never an exception but ours."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.evidence import der


def read(data: bytes) -> der.Element:
    return der.element(data, 0, len(data))


@given(st.integers(min_value=0, max_value=2**4096))
def test_natural_numbers_survive(value: int) -> None:
    encoded = der.encode_natural(value)
    assert der.natural(encoded, der.only(encoded, der.INTEGER, len(encoded))) == value


@given(st.integers(min_value=0, max_value=1000))
def test_lengths_survive(size: int) -> None:
    encoded = der.encode(der.OCTET_STRING, bytes(size))
    found = read(encoded)
    assert (found.start, found.stop) == (len(encoded) - size, len(encoded))


@given(st.binary(max_size=64))
def test_any_bytes_are_an_element_or_malformed(data: bytes) -> None:
    try:
        found = read(data)
    except MalformedError:
        return
    assert 0 <= found.head < found.start <= found.stop <= len(data)
    assert der.encode(found.tag, data[found.start : found.stop]) == data[: found.stop]


@pytest.mark.parametrize(
    "data",
    [
        "",
        "30",
        "3001",
        "308000",  # indefinite length
        "30810100",  # length below 128 in the long form
        "3082008000",  # leading zero in the length
        "308500000000010000",  # five octets of length
        "1f0100",  # multi-byte tag
        "3082ffff00",
    ],
)
def test_other_encodings_of_a_length_are_refused(data: str) -> None:
    with pytest.raises(MalformedError):
        read(bytes.fromhex(data))


@pytest.mark.parametrize("data", ["0200", "02020001", "0202ff80", "0101ff", "028204050" + "0" * 2057])
def test_other_encodings_of_an_integer_are_refused(data: str) -> None:
    encoded = bytes.fromhex(data)
    with pytest.raises(MalformedError):
        der.integer(encoded, read(encoded))


def test_integer_past_its_limit_is_refused_and_at_it_is_read() -> None:
    at = der.encode(der.INTEGER, b"\x01" + bytes(der.MAX_INTEGER_BYTES - 1))
    past = der.encode(der.INTEGER, b"\x01" + bytes(der.MAX_INTEGER_BYTES))
    assert der.integer(at, read(at)) == 1 << 8 * (der.MAX_INTEGER_BYTES - 1)
    with pytest.raises(MalformedError):
        der.integer(past, read(past))


def test_negative_integer_is_not_a_natural_one() -> None:
    encoded = bytes.fromhex("0201ff")
    assert der.integer(encoded, read(encoded)) == -1
    with pytest.raises(MalformedError):
        der.natural(encoded, read(encoded))


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(MalformedError):
        der.only(bytes.fromhex("300000"), der.SEQUENCE, 16)


def test_element_past_its_limit_is_refused() -> None:
    encoded = der.encode(der.SEQUENCE, bytes(20))
    with pytest.raises(MalformedError) as caught:
        der.only(encoded, der.SEQUENCE, 21)
    assert caught.value.code == "too-long"
    assert der.only(encoded, der.SEQUENCE, 22).stop == 22


@pytest.mark.parametrize("data", ["010101", "0101fe", "0100", "01020000"])
def test_booleans_are_00_or_ff(data: str) -> None:
    encoded = bytes.fromhex(data)
    with pytest.raises(MalformedError):
        der.boolean(encoded, read(encoded))


@pytest.mark.parametrize("data", ["0300", "030101", "03020700"])
def test_bit_strings_have_whole_octets(data: str) -> None:
    encoded = bytes.fromhex(data)
    with pytest.raises(MalformedError):
        der.bit_string(encoded, read(encoded))


@pytest.mark.parametrize(
    ("tag", "text", "expected"),
    [
        (der.UTC_TIME, "500101000000Z", datetime(1950, 1, 1, tzinfo=UTC)),
        (der.UTC_TIME, "491231235959Z", datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (der.GENERALIZED_TIME, "20500101000000Z", datetime(2050, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_are_read(tag: int, text: str, expected: datetime) -> None:
    encoded = der.encode(tag, text.encode())
    assert der.time(encoded, read(encoded)) == expected.timestamp()


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (der.UTC_TIME, "5001010000Z"),
        (der.UTC_TIME, "500101000000+0000"),
        (der.UTC_TIME, "501301000000Z"),
        (der.UTC_TIME, "500230000000Z"),
        (der.UTC_TIME, "500101246060Z"),
        (der.UTC_TIME, "²00101000000Z"),
        (der.GENERALIZED_TIME, "20500101000000.5Z"),
        (der.GENERALIZED_TIME, "00000101000000Z"),
        (der.OCTET_STRING, "500101000000Z"),
        (der.UTC_TIME, ""),
    ],
)
def test_other_times_are_refused(tag: int, text: str) -> None:
    encoded = der.encode(tag, text.encode())
    with pytest.raises(MalformedError):
        der.time(encoded, read(encoded))


@given(
    st.tuples(st.integers(0, 2), st.integers(0, 39), st.lists(st.integers(0, 2**40), max_size=6)).map(
        lambda parts: ".".join(map(str, (parts[0], parts[1], *parts[2])))
    )
)
def test_object_identifiers_survive(dotted: str) -> None:
    assert der.dotted_oid(der.encode_oid(dotted)) == dotted


@pytest.mark.parametrize("data", ["0600", "060180", "0641" + "01" * 65])
def test_broken_object_identifiers_are_refused(data: str) -> None:
    encoded = bytes.fromhex(data)
    with pytest.raises(MalformedError):
        der.oid(encoded, read(encoded))
