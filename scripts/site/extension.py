"""Sphinx's part: a page says ``<!-- generated: NAME -->`` where what NAME generates is to stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from scripts.site import commandline, errorcodes, formats

if TYPE_CHECKING:
    from sphinx.application import Sphinx

GENERATORS: Final[Mapping[str, Callable[[], str]]] = {
    "command line": commandline.page,
    "error codes": errorcodes.page,
    "Enarx.toml": formats.enarx_toml,
    "policy keys": formats.policy_keys,
    "limits": formats.limits,
}
_MARK: Final = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)


def fill(text: str) -> str:
    """``text`` with what is generated in its places. Raises KeyError for a name that generates nothing."""
    return _MARK.sub(lambda found: GENERATORS[found[1]](), text)


def _fill(_app: Sphinx, _document: str, source: list[str]) -> None:
    source[0] = fill(source[0])


def _mend(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: object) -> None:
    """Two things that keyboards and screen readers need, and Sphinx leaves out."""
    menu, body = context.get("furo_navigation_tree"), context.get("body")
    if isinstance(menu, str):  # captions of menus are headings of no level, which WAI-ARIA does not know
        context["furo_navigation_tree"] = menu.replace('role="heading"', 'role="heading" aria-level="2"')
    if isinstance(body, str):  # what scrolls has to be reached to be scrolled
        context["body"] = body.replace("<pre>", '<pre tabindex="0">')


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _fill)
    app.connect("html-page-context", _mend, priority=900)  # after the theme's own
    return {"parallel_read_safe": True, "parallel_write_safe": True}
