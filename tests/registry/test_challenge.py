"""WWW-Authenticate headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import RegistryError
from enarx.registry.challenge import Challenge, parse_challenges


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], []),
        ([""], []),
        (["Basic"], [Challenge("basic")]),
        (['Basic realm="a b"'], [Challenge("basic", {"realm": "a b"})]),
        (["basic Realm=token"], [Challenge("basic", {"realm": "token"})]),
        (["Negotiate abc=="], [Challenge("negotiate")]),
        (["Negotiate abc==, Basic"], [Challenge("negotiate"), Challenge("basic")]),
        (
            ['Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push"'],
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.example/token",
                        "service": "registry.example",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        (
            ['Basic realm="x", Bearer realm="y" , error="z"'],
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y", "error": "z"})],
        ),
        (
            ['Basic realm="x"', "Bearer realm=y"],
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y"})],
        ),
        ([r'Basic realm="quote \" and \\ slash"'], [Challenge("basic", {"realm": 'quote " and \\ slash'})]),
        ([', ,Basic realm="x",, ,'], [Challenge("basic", {"realm": "x"})]),
        (['Basic realm = "x"\t,\tcharset= UTF-8'], [Challenge("basic", {"realm": "x", "charset": "UTF-8"})]),
        (['Basic realm=""'], [Challenge("basic", {"realm": ""})]),
    ],
)
def test_challenges_are_read(headers: list[str], expected: list[Challenge]) -> None:
    assert list(parse_challenges(headers)) == expected


@pytest.mark.parametrize(
    "header",
    [
        'realm="x"', 'Basic realm="x', 'Basic realm="x" service="y"', 'Basic realm="x",realm="y"', "Basic @",
        'Basic realm="x"y', "Basic a b", 'Basic realm="\x00"', 'Basic realm="\x7f"', "Basic, =x", '"Basic"',
        'Basic "x"', "Basic " + "x" * (17 << 10), ",".join(["Basic"] * 17), 'Basic Realm="x",rEALM="y"',
    ],
)  # fmt: skip
def test_malformed_challenges_are_refused(header: str) -> None:
    with pytest.raises(RegistryError) as caught:
        parse_challenges([header])
    assert caught.value.code == "registry-challenge"


_WORD = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
_VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


def written(challenges: list[tuple[str, dict[str, str]]]) -> str:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return ", ".join(
        f"{scheme} {','.join(f'{name}={quoted(value)}' for name, value in parameters.items())}".rstrip()
        for scheme, parameters in challenges
    )


@given(st.lists(st.tuples(_WORD, st.dictionaries(_WORD, _VALUE, max_size=4)), max_size=5))
def test_what_is_written_is_read(challenges: list[tuple[str, dict[str, str]]]) -> None:
    assert [(one.scheme, one.parameters) for one in parse_challenges([written(challenges)])] == challenges


@given(st.lists(st.text(st.sampled_from('abz019 ,=";\\\t~/+-.\x00é'), max_size=60), max_size=3))
def test_any_header_is_read_or_refused(headers: list[str]) -> None:
    try:
        for challenge in parse_challenges(headers):
            assert challenge.scheme == challenge.scheme.lower()
    except RegistryError:
        pass


def test_a_long_header_of_one_kind_of_character_takes_no_time() -> None:
    for character in ' ,="a\\\t':
        for prefix in ("", "Basic ", 'Basic realm="x"', "Basic a="):
            try:
                parse_challenges([prefix + character * 16_000])
            except RegistryError:
                continue
