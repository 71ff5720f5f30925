"""Encrypted packages: against a second implementation, and against everybody who touches them."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.envelope import DEFAULT_CHUNK_BYTES, HEADER_BYTES, Header, parse_header
from enarx.errors import AuthenticityError, EnarxError, MalformedError, UsageError
from enarx.tenant.package.seal import Opener, key_id, new_key, seal, unseal
from tests.tenant.package import envelopes

KEY, SALT = bytes(range(32)), bytes(range(32, 64))
OTHER_KEY = bytes(range(1, 33))
CHUNK = 4096
PLAIN = hashlib.shake_128(b"plaintext").digest(3 * CHUNK + 100)


def sealed(plain: bytes = PLAIN, key: bytes = KEY, salt: bytes | None = SALT) -> bytes:
    return b"".join(seal([plain], len(plain), key, salt=salt, chunk_bytes=CHUNK))


def opened(data: bytes, key: bytes = KEY) -> bytes:
    return b"".join(unseal(io.BytesIO(data), key))


def refusal(data: bytes, key: bytes = KEY) -> str:
    with pytest.raises((AuthenticityError, MalformedError)) as caught:
        opened(data, key)
    assert caught.value.hint
    return caught.value.code


SEALED = sealed()
HEAD, CHUNKS = envelopes.chunks(SEALED, CHUNK)


def put(*chunks: bytes, head: bytes = HEAD) -> bytes:
    return head + b"".join(chunks)


# Both implementations


@given(
    st.binary(max_size=3 * CHUNK),
    st.sampled_from([CHUNK, 2 * CHUNK]),
    st.lists(st.integers(0, 3 * CHUNK), max_size=6),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
)
def test_any_plaintext_in_any_pieces_is_sealed_as_the_format_says(
    plain: bytes, chunk: int, cuts: list[int], key: bytes, salt: bytes
) -> None:
    places = [0, *sorted(cuts), len(plain)]
    pieces = [plain[a:b] for a, b in itertools.pairwise(places)]
    data = b"".join(seal(pieces, len(plain), key, salt=salt, chunk_bytes=chunk))
    assert data == envelopes.seal(plain, key, salt, chunk)
    assert opened(data, key) == plain


@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5])
def test_what_the_other_implementation_sealed_is_opened(length: int) -> None:
    assert opened(envelopes.seal(PLAIN[:length], KEY, SALT, CHUNK)) == PLAIN[:length]


def test_the_encoding_is_what_it_was() -> None:
    """Noted when the format was made: packages out there are to be opened for ever."""
    assert hashlib.sha256(SEALED).hexdigest() == "d41e78e4847b4725174be477d31ee85b636cdabf0e05bf5069a19ba6b4504450"
    assert key_id(KEY, SALT).hex() == "6e4fbe73bcfa38b0b3568d159b12af1969d8e04f8a2f0255afb3dc25caf69bc4"


def test_key_and_salt_are_fresh() -> None:
    assert new_key() != new_key()
    assert len(new_key()) == 32
    headers = [parse_header(sealed(salt=None)) for _ in range(2)]
    assert headers[0].salt != headers[1].salt
    assert headers[0].key_id != headers[1].key_id


def test_a_package_is_sealed_and_opened_as_it_comes() -> None:
    """No more than a chunk is held back, so that a large package streams."""
    taken = 0

    def pieces() -> Iterable[bytes]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield bytes(CHUNK)

    stream = seal(pieces(), 100 * CHUNK, KEY, chunk_bytes=CHUNK)
    assert len(next(stream)) == HEADER_BYTES
    assert taken == 0
    next(stream)
    assert taken == 2
    file = io.BytesIO(SEALED)
    plain = unseal(file, KEY)
    assert next(plain) == PLAIN[:CHUNK]
    assert file.tell() == HEADER_BYTES + CHUNK + 16


def test_plaintext_of_another_length_than_it_was_said_is_not_sealed() -> None:
    for length in (len(PLAIN) - 1, len(PLAIN) + 1, 0):
        with pytest.raises(ValueError, match="not as long"):
            list(seal([PLAIN], length, KEY, chunk_bytes=CHUNK))


# What nobody can do unseen


def test_a_flipped_bit_anywhere_is_refused() -> None:
    """Every byte of the header and of both tags at the ends, and one in each block of 16 between."""
    places = {*range(HEADER_BYTES), *range(HEADER_BYTES, len(SEALED), 16), *range(len(SEALED) - 20, len(SEALED))}
    for place in sorted(places):
        data = bytearray(SEALED)
        data[place] ^= 1 << place % 8
        assert refusal(bytes(data)).startswith("package-")


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(place: int, change: int) -> None:
    data = bytearray(SEALED)
    data[place] ^= change
    assert refusal(bytes(data)).startswith("package-")


def test_chunks_in_another_order_are_refused() -> None:
    a, b, c, d = CHUNKS
    for order in ((b, a, c, d), (a, c, b, d), (c, b, a, d)):
        assert refusal(put(*order)) == "package-sealed"
    assert refusal(put(d, a, b, c)) == "package-sealed"


def test_a_chunk_that_is_dropped_is_refused() -> None:
    a, b, c, d = CHUNKS
    for left in ((b, c, d), (a, c, d), (a, b, d), (a, b, c)):
        assert refusal(put(*left)) in ("package-sealed", "package-truncated")
        shorter = Header(CHUNK, sum(map(len, left)) - 48, HEAD[24:56], SALT).encode()
        assert refusal(put(*left, head=shorter)) == "package-sealed"  # even if the header is made to fit


def test_a_chunk_that_is_repeated_is_refused() -> None:
    a, b, c, d = CHUNKS
    for more in ((a, a, b, c, d), (a, b, b, d), (a, b, c, d, d)):
        assert refusal(put(*more)) in ("package-sealed", "package-trailing")
        longer = Header(CHUNK, sum(map(len, more)) - 16 * len(more), HEAD[24:56], SALT).encode()
        assert refusal(put(*more, head=longer)) == "package-sealed"


def test_a_chunk_of_another_package_is_refused() -> None:
    """Under the same key even, which is never so: the salt makes other content keys."""
    _, others = envelopes.chunks(sealed(salt=bytes(32)), CHUNK)
    for place in range(4):
        mixed = [*CHUNKS[:place], others[place], *CHUNKS[place + 1 :]]
        assert refusal(put(*mixed)) == "package-sealed"
    assert refusal(put(*others)) == "package-sealed"


def test_a_chunk_of_a_package_of_another_length_is_refused() -> None:
    """Same key and salt: the header with the length is bound into the content key."""
    _, others = envelopes.chunks(sealed(PLAIN[:-1]), CHUNK)
    assert refusal(put(others[0], *CHUNKS[1:])) == "package-sealed"


def test_a_package_that_is_cut_short_is_refused() -> None:
    for length in {*range(0, len(SEALED), 500), *range(len(SEALED) - 40, len(SEALED)), 96, 96 + CHUNK + 16}:
        assert refusal(SEALED[:length]) in ("package-truncated", "package-not-encrypted")


def test_something_after_the_end_is_refused() -> None:
    assert refusal(SEALED + b"\0") == "package-trailing"
    assert refusal(SEALED + SEALED) == "package-trailing"


def test_the_wrong_key_is_refused_before_anything_is_decrypted() -> None:
    stream = unseal(io.BytesIO(SEALED), OTHER_KEY)
    with pytest.raises(AuthenticityError) as caught:
        next(stream)
    assert caught.value.code == "package-key"


def test_a_header_that_names_another_key_is_refused() -> None:
    """Also to whoever has that key: the package was sealed under the header that named the first one."""
    other = Header(CHUNK, len(PLAIN), key_id(OTHER_KEY, SALT), SALT).encode()
    assert refusal(put(*CHUNKS, head=other)) == "package-key"
    assert refusal(put(*CHUNKS, head=other), OTHER_KEY) == "package-sealed"


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_what_is_no_key_is_refused(length: int) -> None:
    with pytest.raises(UsageError) as caught:
        opened(SEALED, bytes(length))
    assert caught.value.code == "package-key-size"
    with pytest.raises(UsageError):
        next(seal([b""], 0, bytes(length)))


def test_chunks_are_opened_in_any_order() -> None:
    opener = Opener(parse_header(SEALED), KEY)
    for index in (3, 0, 2):
        assert opener.open(index, CHUNKS[index]) == PLAIN[index * CHUNK : (index + 1) * CHUNK]
    with pytest.raises(AuthenticityError):
        opener.open(1, CHUNKS[2])


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    for one in (data, HEAD[:56] + data, HEAD + data):
        with pytest.raises(EnarxError):
            opened(one)


def test_the_default_chunk_is_a_mebibyte() -> None:
    assert parse_header(next(seal([b""], 0, KEY))).chunk_bytes == DEFAULT_CHUNK_BYTES == 1 << 20
