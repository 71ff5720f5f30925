"""Commands run as a user runs them, through the command line's one entry."""

from __future__ import annotations

import contextlib
import io
import re

from enarx.cli.main import main


def error_code(*arguments: str) -> str:
    """The code of the error that a command shows; it must fail, say what to do, and print no traceback."""
    shown = io.StringIO()
    with contextlib.redirect_stderr(shown):
        status = main(arguments)
    text = shown.getvalue()
    assert status != 0
    assert text.startswith("Error: ")
    assert "\nHint: " in text
    found = re.search(r"^Code: ([a-z0-9-]+)$", text, re.MULTILINE)
    assert found is not None
    return found[1]
