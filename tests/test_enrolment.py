"""The credential that is injected into a SEV guest: one encoding, and everything else refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.enrolment import APPROVAL_MAX_BYTES, ENROLMENT_MAX_BYTES, Enrolment, decode
from enarx.errors import MalformedError

WHOLE = Enrolment(bytes(range(32)), bytes(range(48)), b"approval")


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=48, max_size=48), st.binary(min_size=1, max_size=99))
def test_credential_reads_back_as_it_was_written(digest: bytes, key: bytes, approval: bytes) -> None:
    assert decode(Enrolment(digest, key, approval).encode()) == Enrolment(digest, key, approval)


def test_private_key_is_not_shown() -> None:
    shown = repr(WHOLE)
    assert "manifest_digest" in shown
    assert "key=" not in shown


@given(st.binary(max_size=ENROLMENT_MAX_BYTES + 64))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = decode(data)
    except MalformedError as error:
        assert error.code == "enrolment-malformed"
    else:
        assert found.encode() == data


@given(st.data())
def test_altered_credential_is_another_one_or_refused(data: st.DataObject) -> None:
    encoded = bytearray(WHOLE.encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        assert decode(bytes(encoded)) != WHOLE
    except MalformedError:
        assert at < 8 or 88 <= at < 92


@pytest.mark.parametrize(
    "change", [lambda one: one[:-1], lambda one: one + b"\0", lambda one: one[:92], lambda one: b""]
)
def test_credential_of_another_length_is_refused(change: object) -> None:
    assert callable(change)
    with pytest.raises(MalformedError):
        decode(change(WHOLE.encode()))


def test_largest_approval_fits_and_a_byte_more_is_refused() -> None:
    largest = Enrolment(bytes(32), bytes(48), bytes(APPROVAL_MAX_BYTES))
    assert len(largest.encode()) == ENROLMENT_MAX_BYTES
    assert decode(largest.encode()) == largest
    with pytest.raises(MalformedError):
        Enrolment(bytes(32), bytes(48), bytes(APPROVAL_MAX_BYTES + 1)).encode()
    with pytest.raises(MalformedError):
        Enrolment(bytes(31), bytes(48), b"x").encode()
