"""Registries and stores for the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx.registry import Store
from tests.registry.running import Running, registry


@pytest.fixture(scope="session")
def plain_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """docker-registry without TLS or authentication, for all tests of a process."""
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")
