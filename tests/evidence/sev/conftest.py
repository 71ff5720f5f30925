"""Fixtures for the tests of SEV: published certificates where they are at hand, and platforms of our own making."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enarx.evidence.authentic import Authentic
from enarx.evidence.sev.authenticate import Platform, authenticate
from tests.evidence.sev.platforms import MadePlatform, make_platform

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def read(vectors: Path) -> Callable[[str], bytes]:
    """Reads a published certificate by its path in the directory of evidence."""
    return lambda name: (vectors / name).read_bytes()


@pytest.fixture(scope="session")
def made() -> MadePlatform:
    """A platform with a root of our own."""
    return make_platform()


@pytest.fixture
def platform(made: MadePlatform) -> Authentic[Platform]:
    """The same platform, verified up to that root."""
    return authenticate(made.chain, NOW, [made.root])


@pytest.fixture(scope="session")
def read_key(read: Callable[[str], bytes]) -> tuple[bytes, bytes]:
    """TEK and TIK that the published secret packets were made with."""
    return read("measure/sev/secret/tek1.bin"), read("measure/sev/secret/tik1.bin")
