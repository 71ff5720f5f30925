"""The forms of a stack: whole, the same each time, and safe whatever evidence says."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.trust.columns import width
from enarx.trust.jsonform import FORMAT, as_json
from enarx.trust.look import MARKS, OWNERS
from enarx.trust.model import Layer, Owner, Stack, Status
from enarx.trust.page import page
from enarx.trust.picture import picture
from enarx.trust.terminal import MIN_WIDTH, Style, render, render_short
from enarx.trust.words import LANGUAGES, Words
from tests.evidence.snp.forge import NOW
from tests.trust.stacks import designs, hostile, proved

EN = Words("en")
PAGE_MAX_BYTES = 150 << 10
SGR = re.compile(r"\x1b\[[0-9;]*m")
NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></svg></title>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\x1b[2J\x1b]0;owned\x07",
    "]]>&lt;!--",
    "&#60;script&#62;",
    "\u202egnihtyreve",
)


class _Tags(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, relative luminance and contrast ratio."""

    def luminance(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_owners_differ_in_colour_pattern_and_letter_and_carry_white_text() -> None:
    assert len({look.letter for look in OWNERS.values()}) == len({look.fill for look in OWNERS.values()}) == len(Owner)
    assert all(contrast(look.fill, "#ffffff") >= 4.5 for look in OWNERS.values())
    css = page([proved()], EN, NOW)
    styles = re.findall(r"\.o-([\w-]+)\{--fill:(#\w+);--pat:([^}]+)\}", css)
    assert {name: fill for name, fill, _ in styles} == {owner.value: OWNERS[owner].fill for owner in Owner}
    assert len({pattern for _, _, pattern in styles}) == len(Owner)
    assert len({mark for mark, _ in MARKS.values()}) == len({plain for _, plain in MARKS.values()}) == len(Status)


# --- terminal


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("columns", [20, 80, 100, 500])
def test_a_terminal_is_never_overrun(language: str, columns: int) -> None:
    style = Style(columns, color=True)
    for stacks in ([proved()], designs()[:3], designs()):
        for line in render(stacks, Words(language), style):
            assert width(SGR.sub("", line)) <= max(columns, MIN_WIDTH) + 2


def test_colour_is_added_and_nothing_else_changes() -> None:
    for stacks in ([proved()], designs()[:3]):
        plain = list(render(stacks, EN, Style(88)))
        colored = [SGR.sub("", line) for line in render(stacks, EN, Style(88, color=True))]
        assert not any("\x1b" in line for line in plain)
        marks = {f"[{look.letter}]": f" {look.letter} " for look in OWNERS.values()}
        for mark, chip in marks.items():
            plain = [line.replace(mark, chip) for line in plain]
        assert [line.rstrip() for line in plain] == [line.rstrip() for line in colored]


def test_a_terminal_without_unicode_gets_none() -> None:
    for stacks in ([proved()], designs()[:3]):
        text = "\n".join(render(stacks, EN, Style(88, ascii_only=True)))
        assert not set(text) & {"─", *(mark for mark, _ in MARKS.values() if not mark.isascii())}


def test_the_short_form_has_a_line_for_each_layer_and_the_notes() -> None:
    lines = list(render_short(designs()[3], EN, Style(88)))
    text = "\n".join(lines)
    assert "SIMULATED" in text
    assert sum(line.startswith(" [") for line in lines) == len(designs()[3].there)
    assert "layers have to be trusted" in text


@pytest.mark.parametrize("text", NASTY)
def test_a_terminal_is_written_no_sequence_of_a_strangers(text: str) -> None:
    for style in (Style(88), Style(88, color=True)):
        for line in (*render([hostile(text)], EN, style), *render([hostile(text), proved()], EN, style)):
            assert SGR.sub("", line).isprintable()


# --- JSON


def test_json_has_every_row_with_stable_names() -> None:
    found = json.loads(json.dumps(as_json([proved()], EN)))
    (stack,) = found["stacks"]
    assert (found["format"], stack["kind"], stack["verdict"]) == (FORMAT, "keep-snp", "accepted")
    assert [row["id"] for row in stack["layers"]] == [layer.value for layer in Layer]
    assert stack["summary"] == {
        "layers": 10, "remaining": 6, "proved": 5, "assumed": 1, "unknown": 0, "out": 4,
        "owners": ["tenant", "middleware", "os-vendor", "silicon-vendor"], "owners_gone": ["cloud-provider", "oem"],
    }  # fmt: skip
    (application, *_) = stack["layers"]
    assert application["evidence"][0]["name"] == "HOST_DATA"
    assert set(application["checks"]) <= {rule["name"] for rule in stack["rules"]}


def test_the_language_changes_texts_and_no_identifier() -> None:
    def bare(value: object) -> object:
        if isinstance(value, dict):
            return {key: bare(one) for key, one in value.items() if key not in ("text", "label", "language")}
        return [bare(one) for one in value] if isinstance(value, list) else value

    assert bare(as_json(designs(), EN)) == bare(as_json(designs(), Words("ja")))


# --- the page


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("stacks", [[proved()], designs()[:3], designs()[:6]], ids=["one", "three", "six"])
def test_the_page_is_small_whole_and_needs_nothing_else(language: str, stacks: list[Stack]) -> None:
    text = page(stacks, Words(language), NOW)
    assert len(text.encode()) <= PAGE_MAX_BYTES
    assert text == page(stacks, Words(language), NOW)
    tags = _Tags(text)
    assert not {"script", "img", "iframe", "object", "embed", "form"} & set(tags.tags)
    links = [value or "" for name, value in tags.attributes if name in ("href", "src", "srcset", "action")]
    assert links
    assert all(link.startswith("#") or link == "data:," for link in links)
    assert not [name for name, _ in tags.attributes if name == "style" or name.startswith("on")]
    assert "url(" not in text
    assert f'<html lang="{language}">' in text
    ids = [value for name, value in tags.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


def test_the_policy_of_the_page_admits_its_own_style_alone() -> None:
    text = page([proved()], EN, NOW)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{digest}'" in policy[1]
    assert "unsafe" not in policy[1]


def test_rows_that_say_the_same_in_several_stacks_are_said_once() -> None:
    text = page(designs()[:2], EN, NOW)
    assert text.count(escape(EN("vm.hypervisor")).replace("&#x27;", "&#39;")) == 1
    assert "Cloud virtual machine, Cloud container" in text


def test_rows_lead_to_their_checks() -> None:
    tags = _Tags(page([proved()], EN, NOW))
    targets = {value for name, value in tags.attributes if name == "href" and (value or "").startswith("#c1-")}
    assert len(targets) >= 8


@pytest.mark.parametrize("text", NASTY)
def test_no_markup_of_a_strangers_gets_into_page_or_picture(text: str) -> None:
    clean, dirty = _Tags(page([hostile("x")], EN, NOW)), _Tags(page([hostile(text)], EN, NOW))
    assert dirty.tags == clean.tags
    assert [name for name, _ in dirty.attributes] == [name for name, _ in clean.attributes]
    ours = [element.tag for element in ElementTree.fromstring(picture([hostile("x")], EN)).iter()]
    assert {element.tag for element in ElementTree.fromstring(picture([hostile(text)], EN)).iter()} == set(ours)


@given(st.text(max_size=120))
def test_whatever_evidence_says_every_form_holds(text: str) -> None:
    stack = hostile(text)
    tags = _Tags(page([stack], EN, NOW))
    assert "script" not in tags.tags
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    ElementTree.fromstring(picture([stack], EN))
    assert all(SGR.sub("", line).isprintable() for line in render([stack], EN, Style(80, color=True)))
    json.loads(json.dumps(as_json([stack], EN)).encode("ascii"))


# --- the picture


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("count", [1, 3, 6])
def test_the_picture_is_one_file_with_a_title_and_a_description(language: str, count: int) -> None:
    text = picture(designs()[:count], Words(language))
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    title, described = root.find(f"{space}title"), root.find(f"{space}desc")
    assert root.get("role") == "img"
    assert title is not None
    assert title.text
    assert described is not None
    for layer in Layer:
        assert Words(language)(f"layer.{layer.value}") in text
    assert not re.findall(r'(?:href|src)="(?!#)', text)
    assert not re.findall(r"url\((?!#)", text)
    assert not root.findall(f".//{space}script")


def test_nothing_is_drawn_outside_of_the_picture() -> None:
    root = ElementTree.fromstring(picture(designs(), EN))
    _, _, right, bottom = map(float, (root.get("viewBox") or "").split())
    for element in root.iter():
        for name, limit in (("x", right), ("y", bottom)):
            if element.get(name) and element.tag.endswith(("rect", "text")):
                assert 0 <= float(element.get(name) or 0) <= limit
