"""The console in a real browser: signing in, looking around, with scripts and without, live."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import START_MILLISECONDS, Scheme, Seen, chromium
from tests.tenant.keeps import Keep
from tests.tenant.steward.console.inside import TOKEN
from tests.tenant.steward.console.serving import REFUSED, busy, place
from tests.tenant.steward.running import Running, running

WIDTHS = (320, 390, 820, 1440)
PAGES = ("", "/keeps", "/decisions", "/decisions?outcome=refused", "/policy", "/log")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=START_MILLISECONDS)
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def steward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(place(tmp_path_factory.mktemp("steward")), "--workers", "2") as one:
        busy(one)
        yield one


@pytest.fixture(scope="module")
def signed_in(browser: Browser, steward: Running) -> Any:
    """What a browser remembers of having signed in once: attempts are limited."""
    with visiting(browser, steward, None) as seen:
        sign_in(seen, steward)
        return seen.page.context.storage_state()


@contextmanager
def visiting(
    browser: Browser, steward: Running, state: Any, *, width: int = 1440, scheme: Scheme = "light", **more: Any
) -> Iterator[Seen]:
    """A window on the console; the tenant's CA is in no browser's store."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, ignore_https_errors=True,
        base_url=f"https://127.0.0.1:{steward.port}", storage_state=state, **more,
    )  # fmt: skip
    context.set_default_timeout(START_MILLISECONDS)
    try:
        seen = Seen(context.new_page())
        seen.page.on("console", lambda message: seen.console.append(message.text))
        seen.page.on("pageerror", lambda error: seen.console.append(str(error)))
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        yield seen
    finally:
        context.close()


def sign_in(seen: Seen, steward: Running, target: str = "/console") -> None:
    seen.page.goto(target)
    seen.page.get_by_label("Token").fill(TOKEN)
    seen.page.get_by_role("button", name="Sign in").click()
    seen.page.wait_for_url(f"https://127.0.0.1:{steward.port}{target}")


def paths(seen: Seen) -> list[str]:
    """All kinds of pages: the lists, a decision of each outcome, and a Keep."""
    seen.page.goto("/console/decisions")
    issued = seen.page.locator("tr.ok a").first.get_attribute("href")
    refused = seen.page.locator("tr.no a").first.get_attribute("href")
    seen.page.goto("/console/keeps")
    keep = seen.page.locator(".keepcard a").first.get_attribute("href")
    assert issued and refused and keep
    return [*(f"/console{page}" for page in PAGES), issued, refused, keep]


@pytest.mark.parametrize("scripts", [True, False])
def test_a_person_signs_in_looks_around_and_leaves(browser: Browser, steward: Running, scripts: bool) -> None:
    with visiting(browser, steward, None, java_script_enabled=scripts) as seen:
        page = seen.page
        sign_in(seen, steward, "/console/keeps")
        assert page.get_by_role("heading", level=1).inner_text() == "Keeps"
        page.locator(".keepcard a").first.click()
        expect(page.get_by_role("heading", name="Who has to be trusted")).to_be_visible()
        expect(page.get_by_text("Keep on a SIMULATED processor").first).to_be_visible()
        page.get_by_role("link", name="Decisions", exact=True).first.click()
        page.get_by_role("link", name="Refused").click()
        page.locator("tr.no a").first.click()
        expect(page.get_by_role("heading", name="Explanation")).to_be_visible()
        for name in ("Policy", "Log", "Overview"):
            page.get_by_role("navigation", name="Console").get_by_role("link", name=name).click()
            expect(page.locator("nav a[aria-current=page]")).to_have_text(name)
        assert seen.console == []
        here = f"https://127.0.0.1:{steward.port}/"
        assert [url for url in seen.requests if not url.startswith(here)] == []
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/console/login")
        page.goto("/console/keeps")
        assert page.url.endswith("/console/login?next=/console/keeps")


def test_a_wrong_token_is_said_to_be_wrong(browser: Browser, steward: Running) -> None:
    with visiting(browser, steward, None) as seen:
        seen.page.goto("/console")
        assert seen.measure("document.activeElement.id") == "token"
        seen.page.get_by_label("Token").fill("wrong")
        seen.page.keyboard.press("Enter")
        expect(seen.page.get_by_role("alert")).to_contain_text("does not name this token")
        assert seen.page.context.cookies() == []


def test_no_script_can_read_the_session_and_none_of_another_site_can_use_it(
    browser: Browser, steward: Running, signed_in: Any
) -> None:
    with visiting(browser, steward, signed_in) as seen:
        seen.page.goto("/console")
        assert seen.measure("document.cookie") == ""
        (cookie,) = seen.page.context.cookies()
        assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
        # Another origin on the same machine: its form and its frame get nothing.
        seen.page.goto("about:blank")
        seen.page.set_content(
            f'<form method="post" action="https://127.0.0.1:{steward.port}/console/logout"><button>x</button></form>'
        )
        seen.page.get_by_role("button").click()
        expect(seen.page.get_by_role("heading", name="This request comes from elsewhere")).to_be_visible()
        seen.page.goto("/console")
        expect(seen.page.get_by_role("button", name="Sign out")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(browser: Browser, steward: Running, signed_in: Any, scheme: Scheme) -> None:
    with visiting(browser, steward, signed_in, scheme=scheme, bypass_csp=True) as seen:
        for path in paths(seen):
            seen.page.goto(path)
            assert seen.violations() == [], path
            assert seen.undecided("color-contrast") == [], path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_at_the_door_and_on_a_phone(
    browser: Browser, steward: Running, signed_in: Any, scheme: Scheme
) -> None:
    with visiting(browser, steward, None, scheme=scheme, bypass_csp=True) as seen:
        seen.page.goto("/console")
        assert seen.violations() == []
    with visiting(browser, steward, signed_in, width=390, scheme=scheme, bypass_csp=True) as seen:
        for path in paths(seen):
            seen.page.goto(path)
            assert seen.violations() == [], path


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(browser: Browser, steward: Running, signed_in: Any, width: int) -> None:
    with visiting(browser, steward, signed_in, width=width) as seen:
        for path in (*paths(seen), "/console/nothing"):
            seen.page.goto(path)
            assert seen.measure("document.documentElement.scrollWidth") <= width, path
        seen.page.context.clear_cookies()
        seen.page.goto("/console")
        assert seen.measure("document.documentElement.scrollWidth") <= width


def test_no_page_reports_an_error_or_asks_anybody_else(browser: Browser, steward: Running, signed_in: Any) -> None:
    with visiting(browser, steward, signed_in) as seen:
        for path in paths(seen):
            seen.page.goto(path, wait_until="networkidle")
        assert seen.console == []
        assert {url.split("/")[2] for url in seen.requests} == {f"127.0.0.1:{steward.port}"}


def test_what_happens_is_shown_without_reloading(browser: Browser, steward: Running, signed_in: Any) -> None:
    with visiting(browser, steward, signed_in) as seen:
        page = seen.page
        page.goto("/console/log")
        page.evaluate("window.unchanged = true")
        expect(page.locator("#live")).to_contain_text("Live")
        before = page.get_by_role("heading", level=1).inner_text()
        assert steward.attest(REFUSED.body()).status == 403
        expect(page.get_by_role("heading", level=1)).not_to_have_text(before)
        assert page.evaluate("window.unchanged")
        page.goto("/console/keeps")
        cards = page.locator(".keepcard").count()
        assert steward.attest(Keep().body()).status == 200
        expect(page.locator(".keepcard")).to_have_count(cards + 1)
        assert seen.console == []


def test_updates_leave_the_keyboard_and_a_selection_where_they_are(
    browser: Browser, steward: Running, signed_in: Any
) -> None:
    with visiting(browser, steward, signed_in) as seen:
        page = seen.page
        page.goto("/console/decisions")
        link = page.locator("tbody a").last
        address = link.get_attribute("href")
        link.focus()
        first = page.locator("tbody a").first.inner_text()
        assert steward.attest(REFUSED.body()).status == 403
        expect(page.locator("tbody a").first).not_to_have_text(first)
        assert seen.measure("document.activeElement.getAttribute('href')") == address
        seen.measure("getSelection().selectAllChildren(document.querySelector('h1'))")
        first = page.locator("tbody a").first.inner_text()
        assert steward.attest(REFUSED.body()).status == 403
        expect(page.get_by_role("status")).to_have_text("Waiting while text is selected")
        assert seen.measure("getSelection().toString()").strip() == "Decisions"
        assert page.locator("tbody a").first.inner_text() == first
        seen.measure("getSelection().removeAllRanges()")
        expect(page.locator("tbody a").first).not_to_have_text(first)
        expect(page.get_by_role("status")).to_have_text("Live")
        assert seen.console == []


def test_live_updates_can_be_paused(browser: Browser, steward: Running, signed_in: Any) -> None:
    with visiting(browser, steward, signed_in) as seen:
        page = seen.page
        page.clock.install()
        page.goto("/console/log")
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("status")).to_have_text("Paused")
        before = page.get_by_role("heading", level=1).inner_text()
        assert steward.attest(REFUSED.body()).status == 403
        seen.requests.clear()
        page.clock.fast_forward(60_000)
        assert seen.requests == []
        assert page.get_by_role("heading", level=1).inner_text() == before
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("heading", level=1)).not_to_have_text(before)


def test_a_session_that_ends_stops_the_updates_and_says_so(browser: Browser, steward: Running) -> None:
    with visiting(browser, steward, None) as seen:
        sign_in(seen, steward, "/console/log")
        seen.page.context.clear_cookies()
        expect(seen.page.get_by_role("status")).to_contain_text("Signed out")
        assert seen.console == []


def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    browser: Browser, steward: Running, signed_in: Any
) -> None:
    with visiting(browser, steward, signed_in) as seen:
        seen.page.goto("/console/decisions")
        seen.page.keyboard.press("Tab")
        assert seen.measure("document.activeElement.className") == "skip"
        links = seen.measure("document.querySelectorAll('a, button, [tabindex]').length")
        reached = set()
        for number in range(links + 2):
            seen.page.keyboard.press("Tab")
            place = seen.measure("document.activeElement.outerHTML")
            if place.startswith("<body"):
                break
            assert seen.measure("getComputedStyle(document.activeElement).outlineStyle") != "none", place
            reached.add((number, place))
        assert len(reached) == links - 1
