"""Frames of a link over bytes: what is sent is received, whatever the cuts; hostile bytes give LinkError, no more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import LinkError
from enarx.mux.incoming import NUMBER_BYTES, Incoming
from enarx.wire import BYTE_LINK, FLAG_FD, HEADER, MAX_PAYLOAD, VERSION, Type

Whole = tuple[Type, int, int, bytes]


def encoded(kind: int, ident: int, flags: int, payload: bytes, **header: int) -> bytes:
    fields = {"version": VERSION, "reserved": 0, "length": len(payload)} | header
    return HEADER.pack(fields["version"], kind, flags, fields["reserved"], ident, fields["length"]) + payload


def receive(parts: list[bytes]) -> list[Whole]:
    """The frames in ``parts``; what comes of DATA in pieces is put together."""
    incoming, frames = Incoming(), list[Whole]()
    data = bytearray()
    left = 0
    for part in parts:
        for kind, ident, flags, payload in incoming.feed(memoryview(part)):
            if kind is not Type.DATA:
                assert not left
                frames.append((kind, ident, flags, bytes(payload)))
                continue
            assert payload, "nothing is no part"
            if frames and left:
                assert frames[-1][:3] == (kind, ident, flags)
                frames[-1] = kind, ident, flags, frames[-1][3] + payload
            else:
                frames.append((kind, ident, flags, bytes(payload)))
            data += payload
            left = incoming._data_left
    return frames


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({place % (len(data) + 1) for place in places})
    return [data[start:end] for start, end in zip([0, *edges], [*edges, len(data)], strict=True)]


NUMBERS = st.integers(1, 0xFFFFFFFF)
FRAMES = st.lists(
    st.one_of(
        st.tuples(st.just(Type.DATA), NUMBERS, st.just(0), st.binary(min_size=1, max_size=40)),
        st.tuples(st.just(Type.CREDIT), st.integers(0, 0xFFFFFFFF), st.just(0), st.binary(min_size=4, max_size=4)),
        st.tuples(st.sampled_from([Type.FINISH, Type.CLOSED]), NUMBERS, st.just(0), st.just(b"")),
        st.tuples(st.just(Type.ACK), st.just(0), st.just(0), st.binary(min_size=8, max_size=8)),
        st.tuples(st.sampled_from(sorted(set(Type) - BYTE_LINK)), NUMBERS, st.just(0), st.binary(max_size=40)),
        st.tuples(
            st.sampled_from([Type.OPENED, Type.INCOMING]), NUMBERS, st.just(FLAG_FD), st.binary(min_size=4, max_size=40)
        ),
    ),
    max_size=8,
)


@given(frames=FRAMES, places=st.lists(st.integers(0, 1 << 16), max_size=12))
def test_frames_arrive_in_order_wherever_the_bytes_are_cut(frames: list[Whole], places: list[int]) -> None:
    assert receive(cut(b"".join(encoded(*frame) for frame in frames), places)) == frames


@given(frames=FRAMES)
def test_frames_arrive_byte_by_byte(frames: list[Whole]) -> None:
    data = b"".join(encoded(*frame) for frame in frames)
    assert receive([data[at : at + 1] for at in range(len(data))]) == frames


def test_data_is_passed_on_as_it_comes() -> None:
    incoming = Incoming()
    head = encoded(Type.DATA, 7, 0, b"", length=10)
    assert list(incoming.feed(memoryview(head + b"abc"))) == [(Type.DATA, 7, 0, b"abc")]
    assert list(incoming.feed(memoryview(b"defghij"))) == [(Type.DATA, 7, 0, b"defghij")]
    assert not incoming._held


@pytest.mark.parametrize(
    "header",
    [
        encoded(Type.DATA, 1, 0, b"", version=0, length=1),
        encoded(Type.DATA, 1, 0, b"", version=2, length=1),
        encoded(0, 1, 0, b""),
        encoded(99, 1, 0, b""),
        encoded(Type.FINISH, 1, 0, b"", reserved=1),
        encoded(Type.OPENED, 1, 2, b"", length=4),
        encoded(Type.DATA, 1, FLAG_FD, b"", length=8),
        encoded(Type.ACK, 0, FLAG_FD, b"", length=8),
        encoded(Type.INCOMING, 1, FLAG_FD, b"", length=NUMBER_BYTES - 1),
        encoded(Type.INCOMING, 1, FLAG_FD, b"", length=MAX_PAYLOAD + NUMBER_BYTES + 1),
        encoded(Type.DATA, 0, 0, b"", length=1),
        encoded(Type.DATA, 1, 0, b""),
        encoded(Type.DATA, 1, 0, b"", length=MAX_PAYLOAD + 1),
        encoded(Type.BLOB, 0, 0, b"", length=MAX_PAYLOAD + 1),
        encoded(Type.CREDIT, 1, 0, b"", length=3),
        encoded(Type.CREDIT, 1, 0, b"", length=5),
        encoded(Type.FINISH, 1, 0, b"", length=1),
        encoded(Type.CLOSED, 1, 0, b"", length=1),
        encoded(Type.ACK, 0, 0, b"", length=4),
    ],
)  # fmt: skip
def test_a_malformed_header_is_refused_before_its_payload_comes(header: bytes) -> None:
    with pytest.raises(LinkError) as caught:
        list(Incoming().feed(memoryview(header[: HEADER.size])))
    assert caught.value.code == "link-frame"


@pytest.mark.parametrize(("flags", "extra"), [(0, 0), (FLAG_FD, NUMBER_BYTES)])
def test_the_longest_frame_is_taken(flags: int, extra: int) -> None:
    payload = bytes(MAX_PAYLOAD + extra)
    assert receive([encoded(Type.OPENED, 1, flags, payload)]) == [(Type.OPENED, 1, flags, payload)]


HOSTILE = st.lists(
    st.builds(
        lambda version, kind, flags, reserved, ident, length, payload: encoded(
            kind,
            ident,
            flags,
            payload,
            version=version,
            reserved=reserved,
            **({} if length is None else {"length": length}),
        ),
        version=st.sampled_from([VERSION] * 8 + [0, 2]),
        kind=st.sampled_from([*Type, 0, 255]),
        flags=st.sampled_from([0, 0, FLAG_FD, 2, 255]),
        reserved=st.sampled_from([0] * 8 + [1]),
        ident=st.integers(0, 0xFFFFFFFF),
        length=st.none() | st.sampled_from([0, 1, 4, 8, MAX_PAYLOAD + 4, 0xFFFFFFFF]),
        payload=st.binary(max_size=20),
    ),
    max_size=6,
).map(b"".join)


@given(data=st.binary(max_size=200) | HOSTILE, places=st.lists(st.integers(0, 1 << 16), max_size=6))
def test_hostile_bytes_give_frames_or_linkerror(data: bytes, places: list[int]) -> None:
    incoming = Incoming()
    try:
        for part in cut(data, places):
            for kind, _, flags, payload in incoming.feed(memoryview(part)):
                assert len(payload) <= MAX_PAYLOAD + (NUMBER_BYTES if flags else 0)
                assert not (flags and kind in BYTE_LINK)
            assert len(incoming._held) <= len(data)
    except LinkError as error:
        assert error.code == "link-frame"
