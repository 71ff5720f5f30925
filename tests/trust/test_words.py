"""Both languages say everything, and say the same."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from enarx.trust.model import Around, Basis, Kind, Layer, Owner, Source, Status, Text
from enarx.trust.words import LANGUAGES, Words
from tests.support import ROOT
from tests.trust.stacks import designs, proved

SOURCES = ROOT / "src" / "enarx"
JAPANESE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
SAME_IN_BOTH = {"BIOS", "CPU", "OEM", "Python", "QEMU", "Keep", "Enarx.toml", "Steward", "BIOS/EFI", "SBOM"}


def gaps(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_languages_have_the_same_keys_and_gaps() -> None:
    english, japanese = LANGUAGES["en"], LANGUAGES["ja"]
    assert english.keys() == japanese.keys()
    assert {key: gaps(text) for key, text in english.items()} == {key: gaps(text) for key, text in japanese.items()}


def test_japanese_is_japanese() -> None:
    for key, text in LANGUAGES["ja"].items():
        bare = re.sub(r"\{\w+\}", "", text)
        if any(char.isalpha() for char in bare) and text not in SAME_IN_BOTH:
            assert JAPANESE.search(text), key
        assert text == LANGUAGES["en"][key] or not text.endswith("."), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_that_a_stack_can_be_has_a_word(language: str) -> None:
    words = Words(language)
    names = [f"kind.{kind.value}" for kind in Kind] + [f"about.{kind.value}" for kind in Kind]
    names += [f"basis.{basis.value}" for basis in Basis] + [f"source.{source.value}" for source in Source]
    names += [f"owner.{owner.value}" for owner in Owner] + [f"owner-about.{owner.value}" for owner in Owner]
    names += [f"status.{one.value}" for one in Status] + [f"status-about.{one.value}" for one in Status]
    names += [f"layer.{layer.value}" for layer in Layer] + [f"around.{one.value}" for one in Around]
    assert all(words(name) for name in names)
    for stack in (*designs(), proved()):
        assert all(words(note) for note in stack.notes)
        for row in (*stack.rows, *stack.around):
            assert words(row.reason) not in ("", row.reason.key)
            assert all(words.label(fact.name) != "" for fact in (*row.evidence, *row.versions))


def test_no_word_is_there_for_nobody() -> None:
    """A key that stands in no source can only be made from a value of the model, or of a table of `keep` or `facts`."""
    made: tuple[str, ...] = (
        "kind.",
        "about.",
        "basis.",
        "source.",
        "owner",
        "status",
        "layer.",
        "around.",
        "verdict.",
        "tcb.",
    )
    made += ("platform.", "rule.", "snp.", "sev.", "simulated.", "vm.", "container.", "host.", "debug.", "migration.")
    made += ("sharing.", "note.", "sev-es.")
    text = "".join(path.read_text() for path in _sources())
    for key in LANGUAGES["en"]:
        assert f'"{key}"' in text or key.startswith(made), key


def _sources() -> list[Path]:
    trust = [path for path in (SOURCES / "trust").rglob("*") if path.suffix in (".py", ".html", ".svg")]
    return [path for path in trust if path.parent.name != "words"] + sorted((SOURCES / "cli").glob("*.py"))


def test_values_are_put_in_and_not_read_as_gaps() -> None:
    text = Text.of("summary.owners", owners="{count} {0.__class__}")
    assert "{count} {0.__class__}" in Words("en")(text)
    with pytest.raises(KeyError):
        Words("en")("no such key")
    with pytest.raises(KeyError):
        Words("fr")
