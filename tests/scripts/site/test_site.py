"""The site of the documents, as ``make docs`` builds it: without a warning, and without anybody else's server."""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from scripts.site import errorcodes
from scripts.site.extension import GENERATORS, fill
from tests.browser import Scheme, chromium, opened
from tests.support import ROOT

SECONDS = 280
"""What building does not take, however busy the machine is."""
ELSEWHERE = re.compile(r"\s*(https?:)?//", re.IGNORECASE)
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
SHOWN = ("index.html", "tutorial.html", "reference/command-line.html", "reference/errors.html")


class Loaded(HTMLParser):
    """What a page has a browser load, and the identifiers on it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in LOADING and LOADING[tag] in values:
            self.loads.append(values[LOADING[tag]])
        if "id" in values:
            self.ids.add(values["id"])


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once, whichever process of the tests is the first."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if base.name.startswith("popen-") else base) / "site"
    shared.mkdir(exist_ok=True)
    with (shared / "busy").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        report = shared / "report"
        if not report.exists():
            command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
            command += ["-d", str(shared / "doctrees"), str(ROOT / "docs"), str(shared / "html")]
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
            )  # fmt: skip
            report.write_text(done.stdout + done.stderr if done.returncode == 0 else f"failed: {done.stderr}")
    said = report.read_text()
    assert not said, said
    return shared / "html"


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        found = Loaded(page.read_text(encoding="utf-8"))
        assert found.loads
        assert not [one for one in found.loads if ELSEWHERE.match(one)], page
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\(\s*['\"]?\s*(https?:)?//", text), sheet


def test_every_command_and_error_has_its_place(site: Path) -> None:
    from enarx.cli.main import COMMANDS

    commands = Loaded((site / "reference" / "command-line.html").read_text(encoding="utf-8")).ids
    assert commands >= {f"enarx-{name}" for name in COMMANDS}
    assert {"enarx-steward-serve", "enarx-config-init"} <= commands
    errors = Loaded((site / "reference" / "errors.html").read_text(encoding="utf-8")).ids
    assert {"error-steward-refused", "error-manifest-too-long", "error-policy-unknown-key"} <= errors


def test_a_browser_shows_it_without_complaint(site: Path) -> None:
    with chromium() as browser:
        for name in SHOWN:
            with opened(browser, site / name) as seen:
                assert not seen.console, name
                assert all(request.startswith(("file:", "data:")) for request in seen.requests), name
                assert seen.measure("document.documentElement.scrollWidth <= window.innerWidth"), name
        for scheme in SCHEMES:
            with opened(browser, site / "index.html", scheme=scheme) as seen:
                assert not seen.violations(), scheme


def test_what_generates_nothing_is_an_error() -> None:
    assert fill("a\n<!-- generated: Enarx.toml -->\n").startswith("a\n```toml\n##")
    with pytest.raises(KeyError):
        fill("<!-- generated: nothing -->")


def test_each_generator_is_used_once() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))
    assert sorted(re.findall(r"^<!-- generated: (.+) -->$", texts, re.MULTILINE)) == sorted(GENERATORS)


def test_codes_are_found_where_they_are_named_and_where_they_are_handed_over(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "def bad(code, what):\n    return MalformedError(f'it is {what}', code=f'thing-{code}', hint='mend')\n"
        "class Document:\n    def error(self, path, code, what, hint):\n"
        "        return ConfigError(f'{self.name}: {what}', code=code, hint=hint)\n"
        "def check(size):\n    if size:\n        raise bad('too-long', f'{size} bytes')\n"
        "    what, hint = 'no table', f'add {size}'\n    raise document.error((), 'no-table', what, hint)\n"
        "raise LimitError('no ' + 'more', code='limit-x', hint=f'raise {size}')\n"
    )
    assert {(one.code, one.maker, one.message, one.hint) for one in errorcodes.places(tmp_path)} == {
        ("thing-too-long", "MalformedError", "… bytes", "mend"),
        ("no-table", "ConfigError", "no table", "add …"),
        ("limit-x", "LimitError", "no more", "raise …"),
    }
