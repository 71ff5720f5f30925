"""Version requirements as Cargo reads them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import ConfigError
from enarx.evidence.snp.semver import REQUIREMENT_MAX_CHARACTERS, parse_requirement


@pytest.mark.parametrize(
    ("requirement", "inside", "outside"),
    [
        (">=1.51", ["1.51", "1.52", "2.0"], ["1.50", "0.99"]),
        (">1.51", ["1.52", "2.0"], ["1.51", "1.0"]),
        ("<1.51", ["1.50", "0.1"], ["1.51", "2.0"]),
        ("<=1.51", ["1.51", "1.0"], ["1.52"]),
        ("=1.51", ["1.51"], ["1.50", "1.52"]),
        ("1.51", ["1.51", "1.99"], ["1.50", "2.0"]),
        ("^1.2", ["1.2", "1.99"], ["1.1", "2.0"]),
        ("^0.2", ["0.2"], ["0.3", "0.1", "1.2"]),
        ("^0.0", ["0.0"], ["0.1"]),
        ("^0", ["0.0", "0.99"], ["1.0"]),
        ("~1.2", ["1.2"], ["1.3", "1.1"]),
        ("~1", ["1.0", "1.99"], ["2.0"]),
        ("1.*", ["1.0", "1.99"], ["2.0", "0.9"]),
        ("*", ["0.0", "255.255"], []),
        (">=1.49, <1.55", ["1.49", "1.54"], ["1.48", "1.55"]),
        (">= 1", ["1.0", "2.5"], ["0.99"]),
        ("1", ["1.0", "1.9"], ["2.0", "0.9"]),
        (">1.0", ["1.1"], ["1.0"]),
    ],
)
def test_requirement_matches_what_cargo_would(requirement: str, inside: list[str], outside: list[str]) -> None:
    parsed = parse_requirement(requirement)
    for text, expected in [*((one, True) for one in inside), *((one, False) for one in outside)]:
        major, minor = map(int, text.split("."))
        assert parsed.matches((major, minor, 0)) is expected, text
    assert str(parsed) == requirement


@pytest.mark.parametrize(
    "text", ["", " ", ">=", "1.x", "=>1", "1.2.3.4", "v1", "1,", ">=1.*", "1.*.3", "1 2", "-1", "1.51-rc", "²"]
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_requirement(text)


def test_requirement_past_its_limit_is_refused() -> None:
    long = ",".join([">=1.0"] * 60)
    assert len(long) > REQUIREMENT_MAX_CHARACTERS
    with pytest.raises(ConfigError):
        parse_requirement(long)
    parse_requirement(",".join([">=1.0"] * 40))


@given(st.text(max_size=40))
def test_any_text_is_a_requirement_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_requirement(text).matches((1, 51, 0))
