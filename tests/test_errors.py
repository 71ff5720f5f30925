"""The contract of every error: a stable code, a message, a hint, and the exit status that the table promises."""

from __future__ import annotations

import re

import pytest

from enarx import errors
from enarx.errors import EnarxError

KINDS = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EnarxError)),
    key=lambda kind: kind.__name__,
)


def drawn() -> dict[str, int]:
    """The exit statuses in the picture at the top of the module."""
    pattern = re.compile(r"\+-- (\w+) .* exit (\d+)$", re.MULTILINE)
    return {name: int(status) for name, status in pattern.findall(errors.__doc__ or "")}


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_carries_what_it_was_given(kind: type[EnarxError]) -> None:
    error = kind("what happened", code="some-code", hint="what to do")
    assert (str(error), error.message, error.code, error.hint) == (
        "what happened", "what happened", "some-code", "what to do",
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_code_of_its_own(kind: type[EnarxError]) -> None:
    assert re.fullmatch(r"[a-z][a-z-]+", kind("x").code)
    assert [other for other in KINDS if other.default_code == kind.default_code] == [kind]
    assert kind("x").hint == ""


def test_the_picture_shows_every_kind_with_its_exit_status() -> None:
    abstract = {"EnarxError", "EvidenceError"}
    assert drawn() == {kind.__name__: kind.exit_status for kind in KINDS if kind.__name__ not in abstract}


def test_every_kind_of_refused_evidence_has_its_own_exit_status() -> None:
    statuses = [kind.exit_status for kind in KINDS if issubclass(kind, errors.EvidenceError)]
    assert sorted(set(statuses)) == [1, 3, 4, 5, 6]
