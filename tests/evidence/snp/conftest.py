"""Fixtures for the tests of SEV-SNP: vendors and machines of our own making, published evidence where it is at hand."""

from __future__ import annotations

import pytest

from enarx.evidence.snp.product import Product
from tests.evidence.snp.forge import Machine, Vendor


@pytest.fixture(scope="session")
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture(scope="session")
def machine(vendor: Vendor) -> Machine:
    return Machine(vendor)


@pytest.fixture(scope="session")
def cloud_machine(vendor: Vendor) -> Machine:
    """A machine that signs with its provider's VLEK."""
    return Machine(vendor, vlek=True)


@pytest.fixture(scope="session", params=list(Product), ids=lambda product: str(product.value))
def any_machine(request: pytest.FixtureRequest) -> Machine:
    return Machine(Vendor(request.param))
