"""Frames: what is sent is received, whatever the cuts; and hostile bytes give LinkError and nothing else."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import LinkError
from enarx.wire import (
    BYTE_LINK,
    FLAG_FD,
    HEADER,
    MAX_JSON,
    MAX_PAYLOAD,
    MAX_PENDING_FDS,
    SCHEMAS,
    VERSION,
    Decoder,
    Frame,
    Type,
    encode,
    encode_fields,
    parse_fields,
)
from tests.descriptors import nothing_left_open


def null_descriptors(count: int) -> list[int]:
    return [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]


def sample(wanted: type, size: int) -> Any:
    """A value of the type ``wanted`` whose bounded measure is ``size``."""
    if wanted is int:
        return size
    if wanted is str:
        return "x" * size
    return ["x"] * size if wanted is list else dict.fromkeys(map(str, range(size)), 0)


def smallest(kind: Type) -> dict[str, Any]:
    return {name: sample(wanted, 0) for name, (wanted, _) in SCHEMAS[kind].items()}


BOUNDS = [(kind, name, wanted, bound) for kind, schema in SCHEMAS.items() for name, (wanted, bound) in schema.items()]


def test_every_type_that_says_something_has_a_schema() -> None:
    assert set(SCHEMAS) == set(Type) - {Type.BLOB} - BYTE_LINK


@pytest.mark.parametrize("kind", SCHEMAS, ids=lambda kind: kind.name)
def test_fields_survive_the_way(kind: Type) -> None:
    (frame,) = Decoder().feed(encode_fields(kind, 7, **smallest(kind)), [])
    assert (frame.type, frame.id, frame.fields()) == (kind, 7, smallest(kind))


@pytest.mark.parametrize(("kind", "name", "wanted", "bound"), BOUNDS)
def test_a_field_at_its_bound_is_taken_and_one_past_it_is_not(kind: Type, name: str, wanted: type, bound: int) -> None:
    fits = json.dumps(smallest(kind) | {name: sample(wanted, bound)}).encode()
    assert parse_fields(kind, fits)[name] == sample(wanted, bound)
    with pytest.raises(LinkError, match=f"{kind.name}.{name} is out of range"):
        parse_fields(kind, json.dumps(smallest(kind) | {name: sample(wanted, bound + 1)}).encode())


@pytest.mark.parametrize(("kind", "name", "wanted", "bound"), BOUNDS)
def test_a_field_of_another_type_is_refused(kind: Type, name: str, wanted: type, bound: int) -> None:
    values: list[Any] = [None, True, 1.0, 1, "1", [], {}]
    for value in values:
        if type(value) is not wanted:
            with pytest.raises(LinkError, match=f"{kind.name}.{name} must be {wanted.__name__}"):
                parse_fields(kind, json.dumps(smallest(kind) | {name: value}).encode())


@pytest.mark.parametrize(("kind", "name", "wanted", "bound"), [row for row in BOUNDS if row[2] is int])
def test_a_negative_number_is_refused(kind: Type, name: str, wanted: type, bound: int) -> None:
    with pytest.raises(LinkError, match="out of range"):
        parse_fields(kind, json.dumps(smallest(kind) | {name: -1}).encode())


@pytest.mark.parametrize("kind", SCHEMAS, ids=lambda kind: kind.name)
def test_unknown_and_missing_fields_are_refused(kind: Type) -> None:
    with pytest.raises(LinkError, match="exactly the fields"):
        parse_fields(kind, json.dumps(smallest(kind) | {"unknown": 0}).encode())
    for name in SCHEMAS[kind]:
        fields = {other: value for other, value in smallest(kind).items() if other != name}
        with pytest.raises(LinkError, match="exactly the fields"):
            parse_fields(kind, json.dumps(fields).encode())


@pytest.mark.parametrize("kind", SCHEMAS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"null", b"{", b"\xff", b"{}{}", b"[" * 100_000, b'{"size":' + b"9" * 5000 + b"}", b"\xef\xbb\xbf{}"],
    ids=lambda payload: repr(payload[:12]),
)  # fmt: skip
def test_a_payload_that_is_no_object_is_refused(kind: Type, payload: bytes) -> None:
    with pytest.raises(LinkError):
        parse_fields(kind, payload)


@pytest.mark.parametrize("kind", [kind for kind in SCHEMAS if kind not in (Type.LAUNCH, Type.EXIT)])
def test_a_payload_longer_than_its_bound_is_not_even_parsed(kind: Type) -> None:
    padded = json.dumps(smallest(kind)).encode()
    parse_fields(kind, padded + b" " * (MAX_JSON - len(padded)))
    with pytest.raises(LinkError, match="too long"):
        parse_fields(kind, padded + b" " * (MAX_JSON - len(padded) + 1))


@given(kind=st.sampled_from(list(SCHEMAS)), payload=st.binary(max_size=300))
def test_any_payload_is_parsed_or_refused(kind: Type, payload: bytes) -> None:
    try:
        assert parse_fields(kind, payload).keys() == SCHEMAS[kind].keys()
    except LinkError as error:
        assert error.code == "link-frame"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.data(), kind=st.sampled_from(list(SCHEMAS)))
def test_any_json_in_the_fields_is_parsed_or_refused(data: st.DataObject, kind: Type) -> None:
    value: dict[str, Any] = {name: data.draw(JSON) for name in SCHEMAS[kind]}
    try:
        parsed = parse_fields(kind, json.dumps(value).encode())
    except LinkError:
        return
    for name, (wanted, _) in SCHEMAS[kind].items():
        assert type(parsed[name]) is wanted


FRAMES = st.lists(
    st.tuples(
        st.sampled_from(sorted(set(Type) - BYTE_LINK)),
        st.integers(0, 0xFFFFFFFF),
        st.binary(max_size=40),
        st.booleans(),
    ),
    max_size=8,
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({place % (len(data) + 1) for place in places})
    return [data[start:end] for start, end in zip([0, *edges], [*edges, len(data)], strict=True)]


@given(frames=FRAMES, places=st.lists(st.integers(0, 1 << 16), max_size=8))
def test_frames_arrive_in_order_wherever_the_stream_is_cut(
    frames: list[tuple[Type, int, bytes, bool]], places: list[int]
) -> None:
    data = b"".join(encode(kind, ident, payload, fd=fd) for kind, ident, payload, fd in frames)
    with nothing_left_open():
        sent = null_descriptors(sum(fd for *_, fd in frames))
        decoder = Decoder()
        received: list[Frame] = []
        for index, part in enumerate(cut(data, places)):
            received += decoder.feed(part, sent if index == 0 else [])
        assert [(frame.type, frame.id, frame.payload, frame.fd >= 0) for frame in received] == frames
        assert [frame.fd for frame in received if frame.fd >= 0] == sent
        for frame in received:
            frame.close()
            frame.close()  # a second time does nothing
        decoder.close()


MUTATED = st.lists(
    st.builds(
        lambda version, kind, flags, reserved, ident, length, payload: (
            HEADER.pack(version, kind, flags, reserved, ident, len(payload) if length is None else length) + payload
        ),
        version=st.sampled_from([VERSION] * 8 + [0, 2, 255]),
        kind=st.sampled_from([*Type, 0, 9, 255]),
        flags=st.sampled_from([0, 0, FLAG_FD, 2, 255]),
        reserved=st.sampled_from([0] * 8 + [1]),
        ident=st.integers(0, 0xFFFFFFFF),
        length=st.none() | st.none() | st.sampled_from([0, 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, 0xFFFFFFFF]),
        payload=st.binary(max_size=20),
    ),
    max_size=6,
).map(b"".join)


@given(
    data=st.binary(max_size=200) | MUTATED,
    places=st.lists(st.integers(0, 1 << 16), max_size=6),
    counts=st.lists(st.integers(0, 30), min_size=7, max_size=7),
)
def test_hostile_bytes_and_descriptors_give_frames_or_linkerror_and_leak_nothing(
    data: bytes, places: list[int], counts: list[int]
) -> None:
    with nothing_left_open():
        decoder = Decoder()
        try:
            for part, count in zip(cut(data, places), counts, strict=False):
                for frame in decoder.feed(part, null_descriptors(count)):
                    assert frame.type in Type
                    assert len(frame.payload) <= MAX_PAYLOAD
                    frame.close()
        except LinkError as error:
            assert error.code == "link-frame"
        finally:
            decoder.close()


@pytest.mark.parametrize(
    "header",
    [
        HEADER.pack(0, Type.BLOB, 0, 0, 0, 0),
        HEADER.pack(VERSION, 0, 0, 0, 0, 0),
        HEADER.pack(VERSION, 99, 0, 0, 0, 0),
        HEADER.pack(VERSION, Type.DATA, 0, 0, 1, 1),
        HEADER.pack(VERSION, Type.BLOB, 2, 0, 0, 0),
        HEADER.pack(VERSION, Type.BLOB, 0, 1, 0, 0),
        HEADER.pack(VERSION, Type.BLOB, 0, 0, 0, MAX_PAYLOAD + 1),
        HEADER.pack(VERSION, Type.BLOB, FLAG_FD, 0, 0, 0),
    ],
    ids=[
        "version",
        "type 0",
        "type 99",
        "type of a link over bytes",
        "flags",
        "reserved",
        "length",
        "descriptor that did not come",
    ],
)
def test_a_malformed_header_is_refused_before_its_payload_comes(header: bytes) -> None:
    with pytest.raises(LinkError):
        Decoder().feed(header, [])


def test_frames_before_a_malformed_one_are_closed_with_it() -> None:
    with nothing_left_open(), pytest.raises(LinkError):
        Decoder().feed(encode(Type.INCOMING, fd=True) + b"\xff" * HEADER.size, null_descriptors(3))


def test_descriptors_that_no_frame_claims_are_bounded_and_closed() -> None:
    with nothing_left_open():
        decoder = Decoder()
        decoder.feed(b"", null_descriptors(MAX_PENDING_FDS))
        with pytest.raises(LinkError, match="more file descriptors"):
            decoder.feed(b"", null_descriptors(1))


def test_the_longest_payload_is_taken_and_one_byte_more_is_not_sent() -> None:
    (frame,) = Decoder().feed(encode(Type.BLOB, 0, bytes(MAX_PAYLOAD)), [])
    assert len(frame.payload) == MAX_PAYLOAD
    with pytest.raises(ValueError, match="too long"):
        encode(Type.BLOB, 0, bytes(MAX_PAYLOAD + 1))


def test_what_the_peer_would_refuse_is_not_sent() -> None:
    with pytest.raises(LinkError):
        encode_fields(Type.LISTEN, 1, addr="::", port=65536)
    with pytest.raises(LinkError):
        encode_fields(Type.STOP)


def test_a_descriptor_that_is_taken_is_not_closed_with_its_frame() -> None:
    with nothing_left_open():
        (sent,) = null_descriptors(1)
        (frame,) = Decoder().feed(encode(Type.INCOMING, fd=True), [sent])
        assert frame.take_fd() == sent
        frame.close()
        os.close(sent)
