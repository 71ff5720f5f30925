"""The encrypted package's header, nonces and places of chunks, against a second calculation of the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx import envelope
from enarx.envelope import Header, is_encrypted, nonce, parse_header
from enarx.errors import MalformedError

KEY_ID, SALT = bytes(range(32)), bytes(range(100, 132))
HEADER = Header(4096, 10_000, KEY_ID, SALT)

HEADERS = st.builds(
    Header,
    st.integers(12, 24).map(lambda power: 1 << power),
    st.integers(0, 1 << 20) | st.integers(0, envelope.MAX_LENGTH_BYTES),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
)


def refusal(data: bytes) -> str:
    with pytest.raises(MalformedError) as caught:
        parse_header(data)
    assert caught.value.hint
    return caught.value.code


# A second implementation, field by field and chunk by chunk as the text of the format has it


def written(header: Header) -> bytes:
    fields = [
        b"ENARXPKG", b"\x01", b"\x01", b"\x00\x00", header.chunk_bytes.to_bytes(4, "big"),
        header.length.to_bytes(8, "big"), header.key_id, header.salt, b"\x00" * 8,
    ]  # fmt: skip
    return b"".join(fields)


def laid_out(header: Header) -> list[tuple[int, int, bytes]]:
    """Offset, bytes and nonce of each sealed chunk: cut the plaintext, add 16 to each piece, count from 96."""
    pieces = []
    left = header.length
    while True:
        piece = min(left, header.chunk_bytes)
        pieces.append(piece)
        left -= piece
        if left == 0:
            break
    found, offset = [], 96
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        found.append(
            (
                offset,
                piece + 16,
                b"".join(((number >> 8 * i) & 255).to_bytes(1, "big") for i in range(10, -1, -1))
                + (b"\x01" if last else b"\x00"),
            )
        )
        offset += piece + 16
    return found


@given(HEADERS)
def test_header_is_written_and_read_as_the_format_says(header: Header) -> None:
    assert header.encode() == written(header)
    assert parse_header(header.encode()) == header
    assert parse_header(memoryview(bytearray(header.encode() + b"and what follows"))) == header
    assert header.content_info() == b"enarx package content v1" + written(header)


@given(HEADERS.filter(lambda header: header.length // header.chunk_bytes < 5000))
def test_chunks_are_where_the_format_says(header: Header) -> None:
    expected = laid_out(header)
    assert header.chunks == len(expected)
    found = [(*header.chunk(i), nonce(i, header.is_final(i))) for i in range(header.chunks)]
    assert found == expected
    assert header.total_bytes == expected[-1][0] + expected[-1][1]
    header.check_total(header.total_bytes)


@given(HEADERS)
def test_the_last_chunk_ends_the_package(header: Header) -> None:
    offset, size = header.chunk(header.chunks - 1)
    assert offset + size == header.total_bytes
    assert envelope.TAG_BYTES <= size <= header.chunk_bytes + envelope.TAG_BYTES


@pytest.mark.parametrize(
    ("length", "chunks", "last"), [(0, 1, 16), (1, 1, 17), (4095, 1, 4111), (4096, 1, 4112), (4097, 2, 17)]
)
def test_only_the_last_chunk_may_be_short(length: int, chunks: int, last: int) -> None:
    header = Header(4096, length, KEY_ID, SALT)
    assert header.chunks == chunks
    assert header.chunk(chunks - 1)[1] == last
    assert header.is_final(chunks - 1)
    assert not any(header.is_final(i) for i in range(chunks - 1))


def test_a_number_that_is_no_chunk_is_refused() -> None:
    for index in (-1, HEADER.chunks):
        with pytest.raises(IndexError):
            HEADER.chunk(index)


def test_nonces_are_distinct() -> None:
    assert nonce(0, False) == bytes(12)
    assert nonce(258, True) == bytes(9) + b"\1\2\1"
    assert len({nonce(i, final) for i in range(300) for final in (False, True)}) == 600


@given(st.integers(0, envelope.HEADER_BYTES - 1), st.integers(0, 7))
def test_a_flipped_bit_in_the_header_is_seen(place: int, bit: int) -> None:
    """It is refused, or it makes another header, and so another content key and another key id to look for."""
    data = bytearray(HEADER.encode())
    data[place] ^= 1 << bit
    try:
        found = parse_header(data)
    except MalformedError:
        return
    assert found != HEADER
    assert found.content_info() != HEADER.content_info()


@pytest.mark.parametrize("size", [0, 1, 2048, 4095, 4097, 3 << 12, (16 << 20) + 1, 32 << 20, (1 << 32) - 1])
def test_chunk_size_out_of_bounds_is_refused(size: int) -> None:
    data = HEADER.encode()
    assert refusal(data[:12] + size.to_bytes(4, "big") + data[16:]) == "package-header"


@pytest.mark.parametrize("length", [envelope.MAX_LENGTH_BYTES + 1, 1 << 63, (1 << 64) - 1])
def test_length_out_of_bounds_is_refused(length: int) -> None:
    data = HEADER.encode()
    assert refusal(data[:16] + length.to_bytes(8, "big") + data[24:]) == "package-size"


def test_the_bounds_themselves_are_taken() -> None:
    for size, length in ((4 << 10, 0), (16 << 20, envelope.MAX_LENGTH_BYTES)):
        header = Header(size, length, KEY_ID, SALT)
        assert parse_header(header.encode()) == header


@pytest.mark.parametrize(
    ("place", "code"), [(8, "version"), (9, "version"), (10, "header"), (11, "header"), (95, "header")]
)
def test_other_versions_and_reserved_bytes_are_refused(place: int, code: str) -> None:
    data = bytearray(HEADER.encode())
    data[place] += 1
    assert refusal(bytes(data)) == f"package-{code}"


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for one in (data, envelope.MAGIC + data, HEADER.encode()[:12] + data):
        try:
            found = parse_header(one)
        except MalformedError:
            continue
        assert found.encode() == one[:96]


@pytest.mark.parametrize("length", [0, 7])
def test_what_does_not_begin_with_the_magic_is_not_encrypted(length: int) -> None:
    assert not is_encrypted(HEADER.encode()[:length])
    assert refusal(HEADER.encode()[:length]) == "package-not-encrypted"
    assert not is_encrypted(b"\0asm\1\0\0\0")
    assert is_encrypted(bytearray(HEADER.encode()))


@pytest.mark.parametrize("length", [8, 95])
def test_header_that_is_cut_short_is_refused(length: int) -> None:
    assert refusal(HEADER.encode()[:length]) == "package-truncated"


def test_another_total_is_refused() -> None:
    for difference, code in ((-1, "truncated"), (1, "trailing"), (-16, "truncated"), (4112, "trailing")):
        with pytest.raises(MalformedError) as caught:
            HEADER.check_total(HEADER.total_bytes + difference)
        assert caught.value.code == f"package-{code}"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_key_id_and_salt_have_32_bytes(length: int) -> None:
    for key_id, salt in ((bytes(length), SALT), (KEY_ID, bytes(length))):
        with pytest.raises(MalformedError):
            Header(4096, 10_000, key_id, salt)
