"""The lock files fit pyproject.toml and each other, and name no index."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import ROOT

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = SETTINGS["dependency-groups"]
LOCKS = {
    "runtime.txt": SETTINGS["project"]["dependencies"],
    "build.txt": [*GROUPS["build"], *SETTINGS["build-system"]["requires"]],
    "fuzz.txt": GROUPS["fuzz"],
    "dev.txt": [
        *SETTINGS["project"]["dependencies"],
        *(line for lines in SETTINGS["project"]["optional-dependencies"].values() for line in lines),
        *GROUPS["build"],
        *(line for line in GROUPS["dev"] if isinstance(line, str)),
    ],
}


def entries(name: str) -> Iterator[tuple[Requirement, int]]:
    """Each locked requirement and how many hashes it has."""
    text = (ROOT / "requirements" / name).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield Requirement(line.split(" --hash")[0]), line.count("--hash=sha256:")


def versions(name: str) -> dict[str, str]:
    return {entry.name: str(entry.specifier).removeprefix("==") for entry, _hashes in entries(name)}


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_has_what_pyproject_asks_for(name: str) -> None:
    locked = versions(name)
    for line in LOCKS[name]:
        asked = Requirement(line)
        wanted = canonicalize_name(asked.name)  # as a lock writes it
        assert wanted in locked, f"{name} lacks {wanted}: run `make lock`"
        assert asked.specifier.contains(locked[wanted]), f"{name}: {asked}, but {locked[wanted]}: `make lock`"


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_is_pinned_and_hashed(name: str) -> None:
    for entry, hashes in entries(name):
        assert re.fullmatch(r"==[^,*]+", str(entry.specifier)), entry
        assert hashes >= 1, entry


@pytest.mark.parametrize("name", ["runtime.txt", "build.txt"])
def test_the_small_locks_are_slices_of_the_large_one(name: str) -> None:
    assert versions(name).items() <= versions("dev.txt").items()


def test_no_lock_file_names_an_index() -> None:
    for name in [*LOCKS, "apt.txt"]:
        assert "://" not in (ROOT / "requirements" / name).read_text()
