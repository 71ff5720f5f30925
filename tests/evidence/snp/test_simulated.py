"""Roots of simulators: only what says that it is one, only what is given, and always shown as simulated."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from enarx.errors import ConfigError
from enarx.evidence.snp import AMD_ROOTS, Policy, Trust, appraise, authenticate
from enarx.evidence.snp.product import Product
from enarx.evidence.snp.roots import amd_name
from enarx.evidence.snp.simulated import ROOTS_MAX, root_name, simulated_roots
from tests.evidence.snp.forge import NOW, Machine, Vendor


def simulator(number: int = 1, product: Product = Product.MILAN, name: str = "") -> Vendor:
    vendor = Vendor(product, name=f"simulator {number}")
    vendor.ark_name = amd_name(name or root_name(product, f"{number:016x}"))
    vendor.ask_name = amd_name(f"SIMULATED SEV-{product.value} {number:016x}")
    return vendor


def pem(*certificates: bytes) -> bytes:
    blocks = (base64.encodebytes(one).decode() for one in certificates)
    return "".join(f"-----BEGIN CERTIFICATE-----\n{one}-----END CERTIFICATE-----\n" for one in blocks).encode()


def refused(data: bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        simulated_roots(data)
    assert caught.value.code == "simulated-root"
    assert "enarx simulator root" in caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("product", list(Product), ids=lambda product: str(product.value))
def test_root_that_is_named_is_believed_and_marked(product: Product) -> None:
    vendor = simulator(product=product)
    text = b"SIMULATED root, to be named in a policy\n\n" + pem(vendor.ark, vendor.ask)
    (root,) = simulated_roots(text)
    assert (root.product, root.simulated, root.ark.name) == (product, True, root_name(product, f"{1:016x}"))
    assert simulated_roots(vendor.ask + vendor.ark) == (root,)
    machine = Machine(vendor)
    authentic = authenticate(machine.report(), machine.collateral, NOW, trust=Trust((*AMD_ROOTS, root)))
    assert authentic.proof.simulated
    assert appraise(authentic, Policy(any_measurement=True, simulated=True)).accepted
    assert not appraise(authentic, Policy(any_measurement=True)).accepted


def test_several_simulators_are_told_apart() -> None:
    vendors = [simulator(number) for number in range(1, ROOTS_MAX + 1)]
    roots = simulated_roots(pem(*(one for vendor in vendors for one in (vendor.ark, vendor.ask))))
    for vendor, root in zip(vendors, roots, strict=True):
        machine = Machine(vendor)
        proof = authenticate(machine.report(), machine.collateral, NOW, trust=Trust(roots)).proof
        assert proof.root == root.ark.name
    vendors.append(simulator(ROOTS_MAX + 1))
    assert "more than" in refused(pem(*(one for vendor in vendors for one in (vendor.ark, vendor.ask))))


def test_genuine_roots_cannot_be_named_as_simulated(vectors: Path) -> None:
    for product in ("milan", "genoa", "turin"):
        assert "no root of a simulator" in refused((vectors / f"snp/trust/ask-ark-{product}.pem").read_bytes())


@pytest.mark.parametrize(
    "name",
    [
        "ARK-Milan",
        "ARK-Milan SIMULATED",
        "SIMULATED ARK-Milan",
        "SIMULATED ARK-Milan 0123456789ABCDEF",
        "SIMULATED ARK-Milan 0123456789abcdef\n",
        "SIMULATED ARK-Rome 0123456789abcdef",
        "Simulated ARK-Milan 0123456789abcdef",
    ],
)
def test_root_that_does_not_say_what_it_is_is_refused(name: str) -> None:
    vendor = simulator(name=name)
    assert "no root of a simulator" in refused(pem(vendor.ark, vendor.ask))


def test_strangers_duplicates_and_halves_are_refused() -> None:
    vendor, other = simulator(1), simulator(2)
    refused(pem(vendor.ark))
    refused(pem(vendor.ask))
    refused(pem(vendor.ark, vendor.ask, other.ask))
    assert "twice" in refused(pem(vendor.ark, vendor.ark, vendor.ask))
    refused(pem(vendor.ark, vendor.ask, Machine(vendor).certificate))
    forged = simulator(1)
    forged.ark_key = other.ark_key
    refused(pem(vendor.ark, forged.ask))
    for nothing in (b"", b"no certificate", pem(vendor.ark)[:-40], pem(b"0"), bytes(300 * 1024)):
        refused(nothing)


def test_self_signature_of_the_root_is_checked() -> None:
    vendor, other = simulator(1), simulator(2)
    forged = vendor.ark_plan.sign(other.ark_key)
    assert "does not verify" in refused(pem(forged, vendor.ask))
