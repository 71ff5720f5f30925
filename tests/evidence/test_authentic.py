"""Authentic evidence comes from authenticate, and from nowhere else."""

from __future__ import annotations

import ast
import copy
import pickle
from datetime import UTC, datetime
from pathlib import Path

import pytest

import enarx
from enarx.evidence.authentic import Authentic, Proof, vouch

MAY_VOUCH = {"evidence/authentic.py", "evidence/snp/authenticate.py", "evidence/sev/authenticate.py"}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROOF = Proof("snp", "a root", "VCEK", "Milan", NOW, NOW, False, ())


def test_authentic_cannot_be_called_into_being() -> None:
    for seal in (None, object(), "seal"):
        with pytest.raises(TypeError):
            Authentic("evidence", PROOF, seal=seal)


def test_authentic_cannot_be_changed_copied_into_another_or_derived_from() -> None:
    made = vouch("evidence", PROOF)
    with pytest.raises(AttributeError):
        made._value = "other"
    with pytest.raises(AttributeError):
        del made._value
    with pytest.raises(TypeError):
        pickle.dumps(made)
    with pytest.raises(TypeError):
        copy.copy(made)
    with pytest.raises(TypeError):
        type("Mine", (Authentic,), {})
    assert made.value == "evidence"
    assert made.proof is PROOF


def test_only_the_authenticate_modules_vouch() -> None:
    root = Path(enarx.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                {alias.name for alias in node.names}
                if isinstance(node, ast.ImportFrom)
                else {node.attr}
                if isinstance(node, ast.Attribute)
                else {node.id}
                if isinstance(node, ast.Name)
                else set()
            )
            if names & {"vouch", "_SEAL"}:
                found.add(path.relative_to(root).as_posix())
    assert found <= MAY_VOUCH | {"evidence/sev/launch.py", "evidence/sev/enrolled.py"}
    assert "evidence/snp/authenticate.py" in found
