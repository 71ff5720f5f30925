"""Fixtures for tests of the simulator: one installation with keys of the real size for a whole run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from enarx.evidence.snp import AMD_ROOTS, Trust
from enarx.evidence.snp.simulated import simulated_roots
from enarx.simulator.installation import Installation, open_installation

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return open_installation(tmp_path_factory.mktemp("data") / "simulator", NOW)


@pytest.fixture(scope="session")
def trust(installation: Installation) -> Trust:
    """What a policy that names the installation's root believes."""
    return Trust((*AMD_ROOTS, *simulated_roots(installation.ark + installation.ask)))


@pytest.fixture
def directory(installation: Installation, tmp_path: Path) -> Path:
    """A copy of the installation that a test may spoil."""
    copy = tmp_path / "simulator"
    copy.mkdir(mode=0o700)
    for path in installation.directory.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
        (copy / path.name).chmod(0o600)
    return copy
