"""VCEK and VLEK certificates: values that are there and cannot be right are refused like absent ones."""

from __future__ import annotations

import pytest

from enarx.errors import AuthenticityError, EvidenceError
from enarx.evidence import der
from enarx.evidence.certificate import parse_certificate
from enarx.evidence.der import encode_natural
from enarx.evidence.snp.endorsement import (
    CSP_ID_MAX_BYTES,
    OID_CSP_ID,
    OID_HARDWARE_ID,
    OID_PRODUCT_NAME,
    Endorsement,
    Kind,
    read_endorsement,
    tcb_oids,
)
from enarx.evidence.snp.product import Product
from enarx.simulator.certificates import CertificatePlan
from tests.evidence.snp.forge import Machine, Vendor, rsa_key, spki, text_value


def read(machine: Machine, plan: CertificatePlan) -> Endorsement:
    return read_endorsement(parse_certificate(machine.endorse(plan)))


def test_everything_is_read(any_machine: Machine) -> None:
    found = read(any_machine, any_machine.plan)
    assert found.kind is Kind.VCEK
    assert found.product is any_machine.vendor.product
    assert found.hardware_id == any_machine.hardware_id
    assert found.tcb.raw == any_machine.report().reported_tcb_raw
    assert found.csp_id == ""


def test_vlek_names_a_provider_and_no_chip(cloud_machine: Machine) -> None:
    found = read(cloud_machine, cloud_machine.plan)
    assert (found.kind, found.hardware_id, found.csp_id) == (Kind.VLEK, None, "CN=a provider")


@pytest.mark.parametrize("name", ["Milan", "Milan-B0", "Milan-"])
def test_product_is_known_with_and_without_a_stepping(name: str, machine: Machine) -> None:
    assert read(machine, machine.plan.having(OID_PRODUCT_NAME, text_value(name))).product is Product.MILAN


@pytest.mark.parametrize("name", ["Genoa-B1", "Bergamo-A2", "Siena"])
def test_bergamo_and_siena_are_genoa(name: str) -> None:
    genoa = Machine(Vendor(Product.GENOA))
    assert read(genoa, genoa.plan.having(OID_PRODUCT_NAME, text_value(name))).product is Product.GENOA


@pytest.mark.parametrize("name", ["Rome", "milan", "MilanX", "-B0"])
def test_unknown_product_is_refused(name: str, machine: Machine) -> None:
    with pytest.raises(AuthenticityError) as caught:
        read(machine, machine.plan.having(OID_PRODUCT_NAME, text_value(name)))
    assert caught.value.code == "unsupported-product"


def test_hardware_id_is_read_bare_and_as_an_octet_string(any_machine: Machine) -> None:
    wrapped = der.encode(der.OCTET_STRING, any_machine.hardware_id)
    plan = any_machine.plan.having(OID_HARDWARE_ID, wrapped)
    assert read(any_machine, plan).hardware_id == any_machine.hardware_id


@pytest.mark.parametrize("size", [0, 1, 7, 9, 63, 65, 128])
def test_hardware_id_of_another_size_is_refused(size: int, any_machine: Machine) -> None:
    with pytest.raises(AuthenticityError) as caught:
        read(any_machine, any_machine.plan.having(OID_HARDWARE_ID, bytes(size)))
    assert caught.value.code == "malformed-extension"


@pytest.mark.parametrize(
    "value",
    [b"", b"\x02\x00", b"\x02\x01", encode_natural(256), b"\x02\x01\xff", b"\x04\x01\x01", encode_natural(3) + b"\0"],
)
def test_tcb_component_that_is_no_byte_is_refused(value: bytes, machine: Machine) -> None:
    for oid in tcb_oids(Product.MILAN):
        with pytest.raises(EvidenceError):
            read(machine, machine.plan.having(oid, value))


def test_all_values_of_a_component_are_read(machine: Machine) -> None:
    for value in (0, 1, 127, 128, 255):
        found = read(machine, machine.plan.having(tcb_oids(Product.MILAN)[7], encode_natural(value)))
        assert found.tcb.component("microcode") == value


@pytest.mark.parametrize(
    "value",
    [
        b"",
        text_value(""),
        text_value("a\nb"),
        text_value("a\x7f"),
        encode_natural(3),
        text_value("x" * CSP_ID_MAX_BYTES),
        text_value("x") + b"\0",
    ],
)
def test_provider_that_is_no_plain_text_is_refused(value: bytes, cloud_machine: Machine) -> None:
    with pytest.raises(EvidenceError):
        read(cloud_machine, cloud_machine.plan.having(OID_CSP_ID, value))


def test_key_of_another_kind_is_refused(machine: Machine) -> None:
    from dataclasses import replace

    with pytest.raises(AuthenticityError) as caught:
        read(machine, replace(machine.plan, public_key=spki(rsa_key("any"))))
    assert caught.value.code == "unsupported-algorithm"


def test_tcb_is_shown_by_component(machine: Machine) -> None:
    assert str(read(machine, machine.plan).tcb) == "bootloader=4 tee=0 snp=24 microcode=219"
