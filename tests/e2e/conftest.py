"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import images, support
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
def built_image() -> Path:
    """The image of a VM Keep, one for all processes of the tests."""
    support.require_tool("qemu-system-x86_64", "qemu-system-x86")
    return images.stock_image()


@pytest.fixture
def image(built_image: Path, tmp_path: Path) -> Path:
    """The same in a directory of the test's own."""
    return vms.own_image(built_image, tmp_path)
