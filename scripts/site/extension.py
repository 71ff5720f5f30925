"""Sphinx's part: a page says ``<!-- generated: NAME -->`` where what NAME generates is to stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

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


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", lambda _app, _document, source: source.__setitem__(0, fill(source[0])))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
