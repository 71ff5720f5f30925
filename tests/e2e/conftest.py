"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e import vms
from tests.e2e.peers import Certificate, make_certificate


@pytest.fixture(scope="session")
def authority() -> Certificate:
    """A certificate authority that the workload may be told to trust."""
    return make_certificate("Test CA")


@pytest.fixture(scope="session")
def stranger() -> Certificate:
    """A certificate authority that nobody was told to trust."""
    return make_certificate("Another CA")


@pytest.fixture(scope="session")
def built_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image of a VM Keep, one for all processes of the tests."""
    base = tmp_path_factory.getbasetemp()
    return vms.build_image(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture
def image(built_image: Path, tmp_path: Path) -> Path:
    """The same in a directory of the test's own."""
    return vms.own_image(built_image, tmp_path)
