"""The page in a real browser: at three widths, light and dark, in both languages."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from enarx.trust.model import Layer, Stack
from enarx.trust.page import page
from enarx.trust.picture import picture
from enarx.trust.words import Words
from tests.browser import Scheme, chromium, opened
from tests.evidence.snp.forge import NOW
from tests.trust.stacks import designs, hostile, proved

WIDTHS = (360, 820, 1440)
SHOWN: dict[str, Callable[[], list[Stack]]] = {
    "compared": lambda: [*designs()[:2], proved()],
    "one": lambda: [proved()],
    "six": lambda: designs()[2:8],
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pages")
    for language in ("en", "ja"):
        for name, stacks in SHOWN.items():
            (directory / f"{name}-{language}.html").write_text(page(stacks(), Words(language), NOW))
    return directory


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_to_object_to(
    browser: Browser, pages: Path, width: int, scheme: Scheme, language: str
) -> None:
    with opened(browser, pages / f"compared-{language}.html", width=width, scheme=scheme, bypass_csp=True) as seen:
        assert seen.violations() == []
        assert seen.undecided("color-contrast") == []


@pytest.mark.parametrize("name", ["one", "six"])
def test_axe_finds_nothing_in_other_pages(browser: Browser, pages: Path, name: str) -> None:
    for scheme in ("light", "dark"):
        with opened(browser, pages / f"{name}-en.html", scheme=scheme, bypass_csp=True) as seen:
            assert seen.violations() == []


def test_axe_sees_a_page_that_is_bad(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<html><body><img src='data:,'><p style='color:#aaa;background:#fff'>pale</p>")
    with opened(browser, tmp_path / "bad.html") as seen:
        assert {"color-contrast", "html-has-lang", "image-alt"} <= {one.partition(":")[0] for one in seen.violations()}


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("name", SHOWN)
def test_the_page_asks_for_nothing_and_reports_no_error(
    browser: Browser, pages: Path, name: str, language: str
) -> None:
    path = pages / f"{name}-{language}.html"
    with opened(browser, path) as seen:
        seen.page.wait_for_load_state("networkidle")
        assert seen.console == []
        assert {url for url in seen.requests if not url.startswith("data:")} == {path.as_uri()}


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("name", SHOWN)
def test_nothing_is_wider_than_the_window_or_cut(browser: Browser, pages: Path, name: str, language: str) -> None:
    with opened(browser, pages / f"{name}-{language}.html") as seen:
        for width in (320, *WIDTHS):
            seen.page.set_viewport_size({"width": width, "height": 900})
            assert seen.measure("document.documentElement.scrollWidth") <= width
            cut = seen.measure(
                "[...document.querySelectorAll('.slab a, .slab b, .own, .st, h1, h3, .chips li, .score')]"
                ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => [e.className, e.textContent])"
            )
            assert cut == [], width


@pytest.mark.parametrize(("width", "side_by_side"), [(360, False), (820, True), (1440, True)])
def test_towers_stand_side_by_side_with_layers_at_one_height(
    browser: Browser, pages: Path, width: int, side_by_side: bool
) -> None:
    with opened(browser, pages / "compared-en.html", width=width) as seen:
        tops = seen.measure(
            "[...document.querySelectorAll('.tower')].map(t => [...t.querySelectorAll('.slab')]"
            ".map(s => Math.round(s.getBoundingClientRect().top)))"
        )
        assert [len(tower) for tower in tops] == [len(Layer)] * 3
        assert (tops[0] == tops[1] == tops[2]) == side_by_side


def test_the_keyboard_reaches_every_row_and_leads_to_its_reasons(browser: Browser, pages: Path) -> None:
    with opened(browser, pages / "one-en.html", reduced_motion="reduce") as seen:
        keyboard = seen.page.keyboard
        keyboard.press("Tab")
        assert seen.measure("document.activeElement.className") == "skip"
        reached = []
        for _ in range(len(proved().there)):
            keyboard.press("Tab")
            reached.append(seen.measure("document.activeElement.getAttribute('href')"))
        assert reached == [f"#r-{row.place.value}" for row in proved().there]
        outline = seen.measure("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
        keyboard.press("Enter")
        assert seen.measure("location.hash") == "#r-cpu"
        box = seen.measure("document.querySelector('#r-cpu').getBoundingClientRect().top")
        assert 0 <= box < 900


def test_a_screen_reader_hears_layer_owner_and_status(browser: Browser, pages: Path) -> None:
    with opened(browser, pages / "one-en.html") as seen:
        snapshot = seen.page.locator(".slabs").aria_snapshot()
        assert "Hypervisor Cloud provider out of the stack" in snapshot
        assert "CPU firmware Silicon vendor proved" in snapshot
        headings = seen.measure("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => +e.tagName[1])")
        assert headings[0] == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(headings))


def test_print_and_forced_colours_lose_no_word(browser: Browser, pages: Path) -> None:
    with opened(browser, pages / "one-en.html", forced_colors="active") as seen:
        assert seen.page.locator(".slab >> text=out of the stack").first.is_visible()
        seen.page.emulate_media(media="print")
        assert seen.page.locator("text=Hypervisor").first.is_visible()


@pytest.mark.parametrize(
    "text", ["<script>document.title='owned'</script>", '"><svg onload="document.title=\'owned\'">', "\u202e\x1b[2J"]
)
def test_no_word_of_a_strangers_is_executed(browser: Browser, tmp_path: Path, text: str) -> None:
    stack: Stack = hostile(text)
    path = tmp_path / "hostile.html"
    path.write_text(page([stack], Words("en"), NOW))
    with opened(browser, path) as seen:
        assert seen.page.title() != "owned"
        assert seen.console == []


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_picture_is_drawn_by_a_browser(browser: Browser, tmp_path: Path, language: str) -> None:
    (tmp_path / "picture.svg").write_text(picture([*designs()[:2], proved()], Words(language)))
    (tmp_path / "page.html").write_text('<!doctype html><title>x</title><img src="picture.svg" alt="x">')
    with opened(browser, tmp_path / "page.html") as seen:
        size = seen.measure("[document.images[0].naturalWidth, document.images[0].naturalHeight]")
        assert size[0] > 900
        assert size[1] > 700
        seen.page.goto((tmp_path / "picture.svg").as_uri())
        outside = seen.measure(
            "(() => { const all = document.documentElement.getBoundingClientRect(); "
            "return [...document.querySelectorAll('text')].map(e => [e.textContent, e.getBoundingClientRect()])"
            ".filter(([_, b]) => b.right > all.right || b.bottom > all.bottom).map(([t]) => t) })()"
        )
        assert outside == []
        assert seen.console == []
