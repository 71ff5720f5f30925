"""What is shown where the terminal's encoding lacks characters."""

from __future__ import annotations

import io
import sys

import pytest

from enarx.cli.terminal import can_show, showable


def output_in(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))


def test_a_terminal_that_has_every_character_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    output_in(monkeypatch, "utf-8")
    assert can_show("✔ ü")
    assert showable("✔ ü") == "✔ ü"


def test_a_question_mark_stands_for_what_a_terminal_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    output_in(monkeypatch, "latin-1")
    assert can_show("ü")
    assert not can_show("✔")
    assert showable("✔ ü") == "? ü"
