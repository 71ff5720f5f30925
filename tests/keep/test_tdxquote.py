from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.keep.tdxquote import read_quote
from tests.keep.attesting import CONFIG_ID, DATA, make_quote


@pytest.mark.parametrize(("version", "body"), [(4, 2), (5, 2), (5, 3)])
def test_both_fields_are_where_the_format_has_them(version: int, body: int) -> None:
    found = read_quote(make_quote(version=version, body=body))

    assert found is not None
    assert (found.config_id, found.report_data) == (CONFIG_ID, DATA)


@pytest.mark.parametrize(
    "quote",
    [
        b"",
        make_quote()[:47],
        make_quote()[: 48 + 583],
        make_quote(version=5)[: 54 + 583],
        make_quote(version=3),
        make_quote(version=6),
        make_quote(kind=0),
        make_quote(version=5, body=1),
        make_quote(version=5)[:50],
    ],
)
def test_anything_else_is_no_quote(quote: bytes) -> None:
    assert read_quote(quote) is None


@given(st.binary(max_size=800))
def test_arbitrary_bytes_are_a_quote_or_not(data: bytes) -> None:
    found = read_quote(data)

    assert found is None or (len(found.config_id), len(found.report_data)) == (48, 64)


def test_published_quotes_have_the_fields_that_others_read(vectors: Path) -> None:
    cases = tomllib.loads((vectors / "INDEX.toml").read_text())["case"]
    known = [case for case in cases if case.get("tee") == "tdx" and "mrconfigid" in case.get("fields", {})]
    ids = set()
    for case in known:
        quote = read_quote((vectors / case["inputs"][0]).read_bytes())
        assert quote is not None, case["name"]
        assert quote.config_id.hex() == case["fields"]["mrconfigid"], case["name"]
        assert quote.report_data.hex() == case["fields"]["report_data"], case["name"]
        ids.add((case["fields"]["version"], any(quote.config_id)))
    assert {(4, True), (4, False), (5, False)} <= ids
