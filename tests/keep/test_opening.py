"""Encrypted packages in the Keep: opened by the one key that they commit to, and only as they were sealed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.envelope import HEADER_BYTES, parse_header
from enarx.errors import AuthenticityError, EnarxError, EvidenceError, MalformedError
from enarx.keep.opening import PackageKeys, find_key, unseal
from tests.keep.sealing import CHUNK, KEY, SALT, chunks_of, derived, head_of, seal

PLAIN = bytes(range(256)) * 64  # four chunks


def keys_of(sealed: bytes, key: bytes = KEY) -> PackageKeys:
    return find_key(parse_header(sealed), {"key": key})


def opened(sealed: bytes, key: bytes = KEY) -> bytes:
    return bytes(unseal(bytearray(sealed), parse_header(sealed), keys_of(sealed, key)))


def refused(sealed: bytes, keys: PackageKeys | None = None) -> str:
    with pytest.raises((AuthenticityError, EvidenceError, MalformedError)) as caught:
        unseal(bytearray(sealed), parse_header(sealed), keys or keys_of(sealed))
    assert caught.value.hint
    return caught.value.code


@given(plain=st.binary(max_size=3 * CHUNK), key=st.binary(min_size=32, max_size=32))
def test_package_that_another_sealed_is_opened(plain: bytes, key: bytes) -> None:
    assert opened(seal(plain, key), key) == plain


@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK - 1])
def test_every_length_around_a_chunk_is_opened(length: int) -> None:
    assert opened(seal(PLAIN[:length])) == PLAIN[:length]


def test_large_chunks_are_opened() -> None:
    plain = bytes(3 << 20)
    assert opened(seal(plain, chunk=1 << 20)) == plain


def test_key_is_found_among_the_secrets_by_the_id_that_commits_to_it() -> None:
    secrets = {"password": b"x", "other": bytes(32), "long": KEY + b"!", "the key": KEY, "later": bytes(32)}
    found = find_key(parse_header(seal(PLAIN)), secrets)
    assert found.name == "the key"
    assert found.cache == derived(KEY, b"enarx package code cache v1", size=64)
    assert KEY.hex() not in repr(found)
    assert repr(found.content) not in repr(found)


@pytest.mark.parametrize("secrets", [{}, {"password": b"x"}, {"other": bytes(32)}, {"short": KEY[:31]}])
def test_without_its_key_a_package_stays_shut(secrets: dict[str, bytes]) -> None:
    with pytest.raises(EvidenceError) as caught:
        find_key(parse_header(seal(PLAIN)), secrets)
    assert (caught.value.code, "steward secret add" in caught.value.hint) == ("package-key", True)


def flipped(data: bytes, byte: int, bit: int = 0) -> bytes:
    changed = bytearray(data)
    changed[byte] ^= 1 << bit
    return bytes(changed)


@given(byte=st.integers(0, len(seal(PLAIN)) - 1), bit=st.integers(0, 7))
def test_flipped_bit_anywhere_in_a_package_is_refused(byte: int, bit: int) -> None:
    changed = flipped(seal(PLAIN), byte, bit)
    with pytest.raises(EnarxError):
        opened(changed)


@pytest.mark.parametrize("byte", range(HEADER_BYTES))
def test_flipped_bit_in_the_header_is_refused(byte: int) -> None:
    """Also with the right key at hand: the header is part of what the content key is derived from."""
    sealed = seal(PLAIN)
    changed, keys = flipped(sealed, byte), keys_of(sealed)
    with pytest.raises(EnarxError):
        header = parse_header(changed)
        header.check_total(len(changed))
        unseal(bytearray(changed), header, find_key(header, {"key": KEY}))
    assert opened(sealed) == PLAIN
    assert keys.content != derived(KEY, b"enarx package content v1" + changed[:HEADER_BYTES])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda chunks: [chunks[1], chunks[0], *chunks[2:]], id="reordered"),
        pytest.param(lambda chunks: [chunks[0], chunks[0], *chunks[2:]], id="repeated"),
        pytest.param(lambda chunks: [*chunks[:-1], chunks[0]], id="another in place of the last"),
        pytest.param(lambda chunks: [chunks[-1], *chunks[1:]], id="the last in place of another"),
        pytest.param(lambda chunks: [*chunks[:-1], bytes(len(chunks[-1]))], id="zeros"),
    ],
)
def test_chunks_that_were_moved_are_refused(change: Callable[[list[bytes]], list[bytes]]) -> None:
    assert refused(head_of(len(PLAIN)) + b"".join(change(chunks_of(PLAIN)))) == "package-chunk"


@pytest.mark.parametrize("salt", [SALT, bytes(32)], ids=["same salt", "another salt"])
def test_chunk_of_another_package_is_refused(salt: bytes) -> None:
    """Of the same key, even: as long as the other package differs in its header."""
    theirs = chunks_of(PLAIN + b"!", salt=salt)
    ours = chunks_of(PLAIN)
    assert refused(head_of(len(PLAIN)) + b"".join([theirs[0], *ours[1:]])) == "package-chunk"


def test_package_cut_after_a_chunk_is_refused_although_its_header_was_made_to_fit() -> None:
    chunks = chunks_of(PLAIN)
    cut = b"".join(chunks[:3])
    assert refused(head_of(len(PLAIN)) + cut) == "package-truncated"
    assert refused(head_of(3 * CHUNK) + cut) == "package-chunk"


@pytest.mark.parametrize(("change", "code"), [(-1, "package-truncated"), (1, "package-trailing")])
def test_another_length_than_the_header_promises_is_refused(change: int, code: str) -> None:
    sealed = seal(PLAIN)
    assert refused(sealed[:change] if change < 0 else sealed + b"!") == code
