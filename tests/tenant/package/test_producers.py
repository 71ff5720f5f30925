"""What modules say of the tools that made them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.tenant.package.producers import MAX_VALUES, producers


def text(value: bytes) -> bytes:
    return bytes((len(value) & 0x7F | 0x80, len(value) >> 7)) + value


def field(name: bytes, *values: tuple[bytes, bytes]) -> bytes:
    return text(name) + bytes((len(values),)) + b"".join(text(a) + text(b) for a, b in values)


def custom(name: bytes, content: bytes) -> bytes:
    return b"\0" + text(text(name) + content)


def module(*found: bytes) -> bytes:
    return b"\0asm\1\0\0\0" + b"".join(found)


def test_producers_are_read() -> None:
    content = (
        b"\2" + field(b"language", (b"Rust", b"")) + field(b"processed-by", (b"rustc", b"1.63.0"), (b"lld", b"14"))
    )
    assert producers(module(custom(b"name", b"x"), b"\1\1\0", custom(b"producers", content))) == [
        ("language", "Rust"),
        ("processed-by", "lld 14"),
        ("processed-by", "rustc 1.63.0"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\1",
        b"\1" + text(b"language"),
        b"\1" + text(b"language") + bytes((MAX_VALUES + 1,)),
        b"\1" + text(b"language") + b"\1" + text(b"x" * 257) + text(b""),
        b"\1" + text(b"language") + b"\1" + text(b"\xff") + text(b""),
        b"\1" + text(b"language") + b"\1\x7fshort",
    ],
)
def test_producers_that_are_wrong_are_none(content: bytes) -> None:
    assert producers(module(custom(b"producers", content))) == []


def test_fields_that_are_not_known_are_left_out() -> None:
    assert producers(module(custom(b"producers", b"\1" + field(b"mood", (b"good", b""))))) == []


@pytest.mark.parametrize("data", [b"", module(), module(b"\1"), module(custom(b"other", b"")), module(b"\0\0")])
def test_a_module_that_says_nothing_has_none(data: bytes) -> None:
    assert producers(data) == []


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_read(data: bytes, whole: bool) -> None:
    for name, value in producers(module(data) if whole else module(custom(b"producers", data))):
        assert name
        assert len(value) <= 600
