"""The chain of pages against the published calculator's."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevsnpmeasure.gctx import GCTX

from enarx.evidence.gctx import LaunchContext, PageType

PAGES = [bytes(4096), b"\xff" * 4096, bytes(range(256)) * 16]
addresses = st.integers(0, (1 << 40)).map(lambda page: page * 4096)
steps = st.one_of(
    st.tuples(st.just("data"), addresses, st.lists(st.sampled_from(PAGES), max_size=5).map(b"".join)),
    st.tuples(st.sampled_from(["zero", "unmeasured"]), addresses, st.integers(0, 5)),
    st.tuples(st.sampled_from(["secrets", "cpuid"]), addresses, st.none()),
    st.tuples(st.just("vmsa"), st.sampled_from(PAGES), st.integers(1, 4)),
)


@given(st.lists(steps, max_size=8))
def test_digest_equals_the_published_calculator(script: list[tuple[str, object, object]]) -> None:
    ours, theirs = LaunchContext(), GCTX()
    for kind, first, second in script:
        if kind == "vmsa":
            assert isinstance(first, bytes)
            assert isinstance(second, int)
            ours.add_vmsa(first, second)
            for _ in range(second):
                theirs.update_vmsa_page(first)
            continue
        assert isinstance(first, int)
        if kind == "data":
            assert isinstance(second, bytes)
            ours.add_data(first, second)
            theirs.update_normal_pages(first, second)
        elif kind in ("zero", "unmeasured"):
            assert isinstance(second, int)
            ours.add_blank(PageType[kind.upper()], first, second * 4096)
            getattr(theirs, f"update_{kind}_pages")(first, second * 4096)
        else:
            ours.add_blank(PageType[kind.upper()], first, 4096)
            getattr(theirs, f"update_{kind}_page")(first)
    assert ours.digest == theirs.ld()


def test_one_page_is_hashed_as_the_specification_says() -> None:
    context = LaunchContext()
    context.add_data(0xFFFF_F000, PAGES[2])
    info = bytes(48) + hashlib.sha384(PAGES[2]).digest() + bytes.fromhex("7000 01 00 00 00 00 00")
    assert len(info) + 8 == 0x70
    assert context.digest == hashlib.sha384(info + (0xFFFF_F000).to_bytes(8, "little")).digest()


def test_a_context_goes_on_from_a_digest() -> None:
    whole, first = LaunchContext(), LaunchContext()
    whole.add_data(0, PAGES[0] + PAGES[1])
    first.add_data(0, PAGES[0])
    second = LaunchContext(first.digest)
    second.add_data(4096, PAGES[1])
    assert second.digest == whole.digest


def test_a_digest_of_another_size_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="48 bytes"):
        LaunchContext(bytes(32))
