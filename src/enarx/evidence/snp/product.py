"""AMD products that have SEV-SNP, and what differs between them.

One place, so that the next product is a new member here and new facts in ``rootfacts.py``. Sources: SEV-SNP Firmware
ABI specification (56860) revision 1.58, tables 3 (TCB_VERSION) and 23 (CPUID fields of the report); VCEK and KDS
interface specification (57230), product names and hwID.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

CLASSIC_COMPONENTS = ("bootloader", "tee", "reserved2", "reserved3", "reserved4", "reserved5", "snp", "microcode")
"""TCB_VERSION bytes 0 to 7 on Milan and Genoa (56860 table 3)."""
TURIN_COMPONENTS = ("fmc", "bootloader", "tee", "snp", "reserved4", "reserved5", "reserved6", "microcode")
"""TCB_VERSION bytes 0 to 7 on Turin (56860 table 3): FMC first, SNP moved to byte 3."""


@dataclass(frozen=True, slots=True)
class ProductFacts:
    """``models`` are CPUID model ranges (first, last) of ``family``; ``sold_as`` the names that certificates use."""

    family: int
    models: tuple[tuple[int, int], ...]
    sold_as: frozenset[str]
    components: tuple[str, ...]
    hardware_id_bytes: int


class Product(Enum):
    """Processor families by the name of their root key. Bergamo and Siena belong to Genoa."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"

    @property
    def facts(self) -> ProductFacts:
        """What distinguishes the product in reports and certificates."""
        return _FACTS[self]


_FACTS = {
    Product.MILAN: ProductFacts(0x19, ((0x00, 0x0F),), frozenset(("Milan",)), CLASSIC_COMPONENTS, 64),
    Product.GENOA: ProductFacts(
        0x19, ((0x10, 0x1F), (0xA0, 0xAF)), frozenset(("Genoa", "Bergamo", "Siena")), CLASSIC_COMPONENTS, 64
    ),
    Product.TURIN: ProductFacts(0x1A, ((0x00, 0x1F),), frozenset(("Turin",)), TURIN_COMPONENTS, 8),
}


PRODUCTS = {product.value: product for product in Product}
"""Products by the name that a proof gives them."""


@lru_cache(maxsize=64)
def product_of_cpuid(family: int, model: int) -> Product | None:
    """The product of combined (base plus extended) CPUID family and model, None for one that is not known."""
    for product, facts in _FACTS.items():
        if family == facts.family and any(first <= model <= last for first, last in facts.models):
            return product
    return None


def product_named(name: str) -> Product | None:
    """The product that a certificate calls ``name``, with or without a stepping (``Milan-B0``); None if not known."""
    base = name.partition("-")[0]
    for product, facts in _FACTS.items():
        if base in facts.sold_as:
            return product
    return None
