"""The bar that is drawn while something is transferred."""

from __future__ import annotations

import io
import os

import pytest

from enarx.cli.progress import ProgressBar, bar

WHAT = "pull sha256:" + "0123456789abcdef" * 4


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("a terminal of unknown size")


def test_a_bar_says_what_how_far_and_how_fast() -> None:
    assert bar(WHAT, 0, 4, 0.0) == "pull sha256:0123456789ab [........................] 0.0/0.0 MB"
    expected = "pull sha256:0123456789ab [############............] 50.0/100.0 MB  12 MB/s"
    assert bar(WHAT, 50_000_000, 100_000_000, 12e6) == expected
    assert "[########################]" in bar(WHAT, 0, 0, 0.0)


def test_it_is_drawn_on_a_terminal_and_wiped_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with ProgressBar(stream) as progress:
        progress(WHAT, 0, 100)
        progress(WHAT, 50, 100)
        progress(WHAT, 100, 100)
    written = stream.getvalue().split("\r\x1b[K")
    assert written[0] == ""
    assert "[........................]" in written[1]
    assert "[########################]" in written[-2]
    assert written[-1] == ""
    assert all(len(line) < 80 for line in written)


@pytest.mark.parametrize("term", ["dumb", ""])
def test_nothing_is_drawn_on_what_is_no_terminal(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    monkeypatch.setenv("TERM", term or "xterm")
    stream = Terminal() if term else io.StringIO()
    with ProgressBar(stream) as progress:
        progress(WHAT, 100, 100)
    assert stream.getvalue() == ""


def test_a_stream_that_is_closed_is_no_terminal() -> None:
    stream = io.StringIO()
    stream.close()
    with ProgressBar(stream) as progress:
        progress(WHAT, 1, 2)


def test_a_narrow_terminal_gets_a_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((20, 5)))
    monkeypatch.setattr(Terminal, "fileno", lambda _: 2)
    stream = Terminal()
    with ProgressBar(stream) as progress:
        progress(WHAT, 100, 100)
    assert max(len(line) for line in stream.getvalue().split("\r\x1b[K")) == 19
