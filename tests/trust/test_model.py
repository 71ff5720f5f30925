"""What every stack keeps: its rows, its counts, and text that is fit to be shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.trust import classic
from enarx.trust.clean import SHOWN_MAX, clean
from enarx.trust.model import FACTS_MAX, RULES_MAX, Fact, Layer, Owner, Source, Status, Text
from tests.trust.stacks import hostile, proved


def test_a_stack_has_one_row_for_each_layer_in_order() -> None:
    stack = classic.vm()
    with pytest.raises(ValueError, match="one row for each layer"):
        replace(stack, rows=stack.rows[::-1])
    with pytest.raises(ValueError, match="one row for each layer"):
        replace(stack, around=stack.around[1:])


def test_layers_that_are_out_need_no_trust_and_absent_ones_are_not_counted() -> None:
    stack = proved()
    assert len(stack.there) == len(Layer) - 1  # a Keep has no container engine
    assert len(stack.remaining) == len(stack.there) - stack.count(Status.OUT)
    assert Owner.CLOUD not in stack.owners
    assert stack.gone == (Owner.CLOUD, Owner.OEM)


@given(st.text(max_size=2 * SHOWN_MAX))
def test_shown_text_is_one_bounded_printable_line(text: str) -> None:
    shown = clean(text)
    assert shown.isprintable()
    assert len(shown) <= SHOWN_MAX
    assert shown == clean(shown)
    if text.isprintable() and len(text) <= SHOWN_MAX:
        assert shown == text


@pytest.mark.parametrize("char", ["\x1b", "\n", "\r", "\x9b", "\u202e", "\u2066", "\x00", "\ud800", "\u200b"])
def test_no_character_that_acts_gets_in(char: str) -> None:
    text = f"a{char}b"
    for shown in (Fact(text, text, Source.HOST).value, dict(Text.of("k", v=text).values)["v"], hostile(text).subject):
        assert char not in shown


def test_facts_beyond_the_limit_are_counted() -> None:
    listed = [Fact(f"part {number}", "1", Source.SBOM) for number in range(FACTS_MAX + 5)]
    row = classic.vm().rows[0].with_versions(listed[:FACTS_MAX])
    assert len(row.versions) == FACTS_MAX
    assert row.versions[-1].name == f"part {FACTS_MAX - 1}"
    row = classic.vm().rows[0].with_versions(listed)
    assert len(row.versions) == FACTS_MAX
    assert (row.versions[-1].name, row.versions[-1].value) == ("fact.more", "6")


def test_rules_beyond_the_limit_are_not_held() -> None:
    stack = proved()
    assert len(replace(stack, rules=stack.rules * RULES_MAX).rules) == RULES_MAX
