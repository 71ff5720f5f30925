"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import pytest

from tests.e2e.peers import Certificate, make_certificate


@pytest.fixture(scope="session")
def authority() -> Certificate:
    """A certificate authority that the workload may be told to trust."""
    return make_certificate("Test CA")


@pytest.fixture(scope="session")
def stranger() -> Certificate:
    """A certificate authority that nobody was told to trust."""
    return make_certificate("Another CA")
