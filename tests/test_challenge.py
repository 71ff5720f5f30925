"""The request and the answer of a challenge, with every byte of the other end hostile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx import challenge
from enarx.challenge import Answer, Status, encode_answer, encode_request, parse_head, parse_request, parse_rest
from enarx.errors import MalformedError
from enarx.evidence.binding import NONCE_BYTES, SESSION_DIGEST_BYTES, SESSIONS_MAX

DIGESTS = st.lists(
    st.binary(min_size=SESSION_DIGEST_BYTES, max_size=SESSION_DIGEST_BYTES), min_size=1, max_size=SESSIONS_MAX
)


def parse(data: bytes) -> Answer | Status:
    head = parse_head(data[: challenge.HEAD_BYTES])
    return parse_rest(head, data[challenge.HEAD_BYTES :]) if head.status is Status.OK else head.status


@given(st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES))
def test_a_request_is_read_as_it_was_written(nonce: bytes) -> None:
    written = encode_request(nonce)
    assert len(written) == challenge.REQUEST_BYTES
    assert parse_request(written) == nonce


@given(st.binary(max_size=64))
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_request(data)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_nonce_of_another_size_is_not_sent(size: int) -> None:
    with pytest.raises(ValueError, match="nonce"):
        encode_request(bytes(size))


@given(DIGESTS, st.binary(min_size=1, max_size=5000))
def test_an_answer_is_read_as_it_was_written(digests: list[bytes], evidence: bytes) -> None:
    assert parse(encode_answer(Status.OK, digests, evidence)) == Answer(tuple(digests), evidence)


@pytest.mark.parametrize("status", [Status.BUSY, Status.FAILED])
def test_a_refusal_has_nothing_behind_it(status: Status) -> None:
    assert parse(encode_answer(status)) is status
    with pytest.raises(MalformedError):
        parse_head(encode_answer(status, [bytes(SESSION_DIGEST_BYTES)], b"x")[: challenge.HEAD_BYTES])


@given(st.binary(max_size=40))
def test_what_is_no_head_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_head(data)
    assert caught.value.code == "challenge-malformed"


@given(st.integers(0, 65535), st.integers(0, 65535), st.integers(0, (1 << 32) - 1))
def test_a_head_announces_only_what_is_within_bounds(status: int, digests: int, evidence: int) -> None:
    data = b"ENRXANS1" + status.to_bytes(2, "big") + digests.to_bytes(2, "big") + evidence.to_bytes(4, "big")
    try:
        head = parse_head(data)
    except MalformedError:
        return
    assert head.rest <= SESSIONS_MAX * SESSION_DIGEST_BYTES + challenge.EVIDENCE_MAX_BYTES
    assert (head.status is Status.OK) is (head.rest > 0)


@pytest.mark.parametrize(("digests", "evidence"), [(SESSIONS_MAX + 1, 1), (0, 1), (1, 0), (1, (128 << 10) + 1)])
def test_one_beyond_a_bound_is_refused(digests: int, evidence: int) -> None:
    with pytest.raises(MalformedError):
        parse_head(b"ENRXANS1" + bytes(2) + digests.to_bytes(2, "big") + evidence.to_bytes(4, "big"))


def test_an_answer_that_is_too_short_or_too_long_is_refused() -> None:
    whole = encode_answer(Status.OK, [bytes(SESSION_DIGEST_BYTES)], b"evidence")
    for data in (whole[:-1], whole + b"x"):
        with pytest.raises(MalformedError):
            parse(data)


def test_a_keep_writes_no_answer_that_no_client_takes() -> None:
    with pytest.raises(ValueError, match="digests"):
        encode_answer(Status.OK, [bytes(SESSION_DIGEST_BYTES)] * (SESSIONS_MAX + 1), b"x")
    with pytest.raises(ValueError, match="evidence"):
        encode_answer(Status.OK, [bytes(SESSION_DIGEST_BYTES)], bytes(challenge.EVIDENCE_MAX_BYTES + 1))
