"""Whatever is in evidence, requests and the database: it is shown as text, and cannot add to a page's markup."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from enarx.trust.clean import clean
from tests.tenant.steward.console.inside import Inside, entry, inside, read_page

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(lambda text: text != "kvm")
PLAIN = "plain"
SERIAL = 7


@pytest.fixture(scope="module")
def steward() -> Iterator[Inside]:
    with (
        tempfile.TemporaryDirectory() as directory,
        inside(str(Path(directory) / "x.db")) as one,
    ):
        one.sign_in()
        yield one


def pages(steward: Inside, text: str) -> dict[str, str]:
    """Every page that shows ``text``, where everything that is a stranger's is that."""
    steward.execute("DELETE FROM explanations")
    steward.execute("DELETE FROM keeps")
    steward.execute("DELETE FROM certificates")
    for trigger in ("log_no_delete", "log_no_update"):
        steward.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    steward.execute("DELETE FROM log")
    rule = dict.fromkeys(("name", "expected", "seen", "source", "code"), text) | {"hint": f"{text}!"}
    explanation: dict[str, Any] = {
        "workload": text, "message": text, "hint": text, "rules": [rule | {"passed": False}, rule | {"passed": True}],
    }  # fmt: skip
    stated: dict[str, Any] = {
        "technology": text, "code": text, "route": text, "policy": text,
        "facts": {text: text, "measurement": text, "workload": text, "signers": [text, text]}, "failed": [text],
    }  # fmt: skip
    refused, issued, other, unexplained = steward.write(
        entry(explanation=explanation, **stated),
        entry(issued=SERIAL, explanation=explanation, **stated),
        entry(**(stated | {"event": text})),
        entry(**(stated | {"serial": text})),
    )
    steward.execute("UPDATE log SET hash = ? WHERE sequence = ?", text, other)
    serial = f"{SERIAL:032x}"
    paths = (
        "", "/keeps", f"/keeps/{serial}", "/decisions", "/log",
        *(f"/decisions/{one}" for one in (refused, issued, unexplained)),
    )  # fmt: skip
    found = {}
    for path in paths:
        answer = steward.get(f"/console{path}")
        assert answer.status == 200
        found[path] = answer.text
    return found


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXT)
@example("<script>alert(1)</script>")
@example("\"><svg onload='alert(1)'>")
@example("' onmouseover='alert(1)")
@example("javascript:alert(1)")
@example("</code></td></table>{{ 7 * 7 }}{% raw %}")
@example("\u202e\x1b[31m\x00\r\n&lt;b&gt;")
@example("https://evil.example/")
def test_a_strangers_text_is_text_on_every_page(steward: Inside, text: str) -> None:
    usual = pages(steward, PLAIN)
    for path, page in pages(steward, text).items():
        expected, found = read_page(usual[path]), read_page(page)
        assert found.elements == expected.elements, path
        assert clean(text)[:10] in "".join(found.texts) + "".join(found.values)
        assert all(char.isprintable() or char == "\n" for char in page)
        assert found.addresses == expected.addresses, path  # no link, form or source has a stranger's text in it


def test_no_template_marks_anything_as_safe() -> None:
    from importlib.resources import files

    for package in ("enarx.tenant.steward.console", "enarx.trust"):
        for template in files(package).joinpath("templates").iterdir():
            if template.name.endswith(".html") and template.name != "page.html":
                source = template.read_text()
                assert "safe" not in source.replace("unsafe", ""), template.name
                assert "autoescape" not in source
