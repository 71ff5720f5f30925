"""Text in a terminal takes the cells that it is given, in any script."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.trust.columns import NOT_AT_START, pad, width, wrap

TEXTS = st.text(
    st.sampled_from("ab .,世界ーカ。、（）e\u0301") | st.characters(categories=("L", "N", "P", "Zs")), max_size=80
)


def test_wide_characters_take_two_cells_and_combining_ones_none() -> None:
    assert (width("Keep"), width("信頼"), width("e\u0301")) == (4, 4, 1)


@given(TEXTS, st.integers(2, 40))
def test_padding_gives_exactly_the_cells(text: str, cells: int) -> None:
    assert width(pad(text, cells)) == cells


@given(TEXTS, st.integers(4, 60))
def test_no_line_is_too_long_and_nothing_but_blanks_is_lost(text: str, cells: int) -> None:
    lines = list(wrap(text, cells))
    # One mark that may not begin a line stays with the character before it.
    assert all(width(line) <= cells + 2 * sum(char in NOT_AT_START for char in line) for line in lines)
    kept = [char for char in "".join(lines) if not unicodedata.category(char).startswith("Z")]
    assert kept == [char for char in text if not unicodedata.category(char).startswith("Z")]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("who has to be trusted", ["who has", "to be", "trusted"]),
        ("信頼が必要。層", ["信頼が必", "要。層"]),
        ("abcdefghijkl", ["abcdefgh", "ijkl"]),
        ("", []),
    ],
)
def test_lines_break_at_blanks_and_between_wide_characters(text: str, lines: list[str]) -> None:
    assert list(wrap(text, 8)) == lines
