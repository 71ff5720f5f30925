"""A real browser for tests: Debian's Chromium, headless, driven by Playwright, with nothing but what it is shown.

It has no profile and opens no connection of its own. What a page does that it should not, a test can read: messages on
the console, errors of scripts, and every request for something else than the page.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support import require_tool

FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_MILLISECONDS = 120_000
"""How long the browser may take to start, and a page to load (milliseconds): this machine may be busy."""
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""The rules of axe-core that are asked for."""

Scheme = Literal["light", "dark"]


@dataclass
class Seen:
    """A page that is open, and what it did."""

    page: Page
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        """What axe-core finds, each rule with the elements and why."""
        found = Axe().run(self.page, options={"runOnly": WCAG}).response
        return [
            f"{one['id']}: {node['html'][:120]}: {node['failureSummary']}"
            for one in found["violations"]
            for node in one["nodes"]
        ]

    def undecided(self, rule: str) -> list[str]:
        """Elements that axe-core could not judge by a rule: for somebody, or another test, to judge."""
        found = Axe().run(self.page, options={"runOnly": {"type": "rule", "values": [rule]}}).response
        return [node["html"] for one in found["incomplete"] for node in one["nodes"]]

    def measure(self, expression: str) -> Any:
        """The value of an expression in the page."""
        return self.page.evaluate(expression)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser. The test is skipped where it is not installed, and fails where CI=true."""
    path = require_tool("chromium", "chromium")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # which Chromium refuses to set up for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=[*FLAGS, *sandbox], timeout=START_MILLISECONDS
        )  # fmt: skip
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, path: Path, *, width: int = 1440, height: int = 900, scheme: Scheme = "light", **more: Any
) -> Iterator[Seen]:
    """The file ``path`` as a page, in a window of this size (CSS pixels); ``more`` is Playwright's."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **more)
    context.set_default_timeout(START_MILLISECONDS)
    try:
        seen = Seen(context.new_page())
        seen.page.on("console", lambda message: seen.console.append(message.text))
        seen.page.on("pageerror", lambda error: seen.console.append(str(error)))
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.goto(path.as_uri())
        yield seen
    finally:
        context.close()
