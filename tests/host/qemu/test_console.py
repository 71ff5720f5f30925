"""What a guest says on its console: bounded, and made harmless."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from enarx.host.qemu.console import KEPT_BYTES, MAX_LINE_CHARS, Console


def heard(*parts: bytes) -> list[str]:
    reading, writing = os.pipe()
    console = Console(reading)
    for part in parts:
        os.write(writing, part)
    os.close(writing)
    return console.lines()


def test_lines_come_without_control_characters_blank_ones_and_known_noise() -> None:
    noise = b"qemu-system-x86_64: warning: TCG doesn't support requested feature: CPUID.0DH:EAX.xsaves [bit 3]\n"
    assert heard(b"\x1b[2Jone\r\n\n  \n", noise, b"two\xff\n", b"three") == [
        "[2Jone",
        "two\N{REPLACEMENT CHARACTER}",
        "three",
    ]


def test_the_end_of_what_is_said_is_kept() -> None:
    lines = heard(*[b"x" * 4095 + b"\n"] * 64, b"the last line\n")
    assert lines[-1] == "the last line"
    assert len(lines) <= KEPT_BYTES // 4096 + 1
    assert max(map(len, lines)) == MAX_LINE_CHARS


@given(st.binary(max_size=2000))
def test_whatever_is_said_can_be_printed(data: bytes) -> None:
    assert all(line.isprintable() for line in heard(data))


def test_first_word_is_told_at_once() -> None:
    reading, writing = os.pipe()
    told: list[int] = []
    console = Console(reading, lambda: told.append(1))
    os.write(writing, b"a")
    os.write(writing, b"b")
    os.close(writing)
    assert console.lines() == ["ab"]
    assert told == [1]
