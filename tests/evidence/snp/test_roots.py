"""The embedded facts about AMD's roots, held against AMD's certificates wherever these are at hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from enarx.errors import AuthenticityError
from enarx.evidence.bundle import split_certificates
from enarx.evidence.certificate import parse_certificate
from enarx.evidence.chain import Authority, authority, check_issued
from enarx.evidence.name import common_name
from enarx.evidence.signature import PYCA, RsaKey
from enarx.evidence.snp.product import Product
from enarx.evidence.snp.roots import AMD_ROOTS, CHAIN_SCHEME, amd_name, root_from_certificates
from tests.evidence.snp.forge import Machine, Vendor


def facts() -> dict[str, Authority]:
    return {one.name: one for root in AMD_ROOTS for one in (root.ark, *root.intermediates)}


def agrees(encoded: bytes) -> str:
    """Every fact against the certificate it is about; returns its name."""
    certificate = parse_certificate(encoded)
    fact = facts()[common_name(certificate.subject)]
    assert (certificate.subject, certificate.serial) == (fact.subject, fact.serial)
    assert (certificate.not_before, certificate.not_after) == (fact.not_before, fact.not_after)
    assert (certificate.key, certificate.sha256) == (fact.key, fact.sha256)
    made = authority(certificate, CHAIN_SCHEME)
    assert (made.signs_crls, made.path_length) == (fact.signs_crls, fact.path_length)
    ark = next(root.ark for root in AMD_ROOTS if root.ark.subject == certificate.issuer)
    check_issued(certificate, fact.name, ark, PYCA)
    return fact.name


def test_there_is_a_root_with_both_intermediates_for_each_product() -> None:
    assert [root.product for root in AMD_ROOTS] == list(Product)
    assert sorted(facts()) == sorted(
        f"{kind}{product.value}" for product in Product for kind in ("ARK-", "SEV-", "SEV-VLEK-")
    )
    assert not any(root.simulated for root in AMD_ROOTS)


@pytest.mark.parametrize("name", sorted(facts()))
def test_every_fact_is_of_the_kind_that_amd_issues(name: str) -> None:
    fact = facts()[name]
    assert isinstance(fact.key, RsaKey)
    assert fact.key.modulus.bit_length() == 4096
    assert fact.key.exponent == 65537
    assert len(fact.sha256) == 32
    assert fact.subject == amd_name(name)
    assert (fact.not_after - fact.not_before) // 86400 in (9131, 9132)
    assert fact.signs_crls is name.startswith("ARK-")


def test_facts_are_all_different() -> None:
    known = facts().values()
    for values in ({one.sha256 for one in known}, {one.serial for one in known}, {one.key for one in known}):
        assert len(values) == len(known)


def test_milan_facts_agree_with_the_certificates_of_a_published_package() -> None:
    vectors = pytest.importorskip("omne_attest.vectors")
    assert agrees(vectors.ark()) == "ARK-Milan"
    assert agrees(vectors.ask()) == "SEV-Milan"


def test_all_facts_agree_with_the_published_chains(vectors: Path) -> None:
    found = {
        agrees(encoded)
        for path in sorted((vectors / "snp" / "trust").glob("*.pem"))
        for encoded in split_certificates(path.read_bytes())
    }
    assert found == set(facts())


def test_another_vendor_can_be_trusted_instead() -> None:
    vendor = Vendor(Product.TURIN)
    root = root_from_certificates(Product.TURIN, vendor.ark, (vendor.ask,), simulated=True)
    assert root.simulated
    assert [one.name for one in root.intermediates] == ["SEV-Turin"]


def test_root_that_does_not_hold_together_is_refused() -> None:
    vendor, other = Vendor(), Vendor(name="impostor")
    with pytest.raises(AuthenticityError):
        root_from_certificates(Product.MILAN, vendor.ark, (other.ask,))
    with pytest.raises(AuthenticityError):
        root_from_certificates(Product.MILAN, vendor.ask, (vendor.ask,))
    with pytest.raises(AuthenticityError):
        root_from_certificates(Product.MILAN, Machine(vendor).certificate, (vendor.ask,))
    with pytest.raises(AuthenticityError):
        root_from_certificates(Product.MILAN, vendor.ark, ())
    unsigned = replace(vendor.ark_plan, serial=5).sign(other.ark_key)
    with pytest.raises(AuthenticityError):
        root_from_certificates(Product.MILAN, unsigned, (vendor.ask,))
