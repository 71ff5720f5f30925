"""Reports: every field at its place, nothing lost, nothing judged."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.evidence.snp.abi import PLATFORM_BITS, POLICY_BITS
from enarx.evidence.snp.product import Product
from enarx.evidence.snp.report import NEWEST_VERSION, REPORT_BYTES, SIGNED_BYTES, VERSIONS, parse
from tests.evidence.snp.forge import Machine


def random_report(version: int) -> bytes:
    return version.to_bytes(4, "little") + random.Random(version).randbytes(REPORT_BYTES - 4)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_bit_survives_the_round_trip(version: int) -> None:
    data = random_report(version)
    assert parse(data).encode() == data
    assert parse(data).signed() == data[:SIGNED_BYTES]


@given(st.binary(min_size=REPORT_BYTES - 4, max_size=REPORT_BYTES - 4), st.sampled_from(VERSIONS))
def test_any_bytes_of_a_known_version_parse_and_encode_to_themselves(rest: bytes, version: int) -> None:
    data = version.to_bytes(4, "little") + rest
    assert parse(data).encode() == data


@given(st.binary(max_size=REPORT_BYTES + 8))
def test_other_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    try:
        report = parse(data)
    except MalformedError as error:
        assert error.code in ("malformed", "unsupported-version")
    else:
        assert report.encode() == data


@pytest.mark.parametrize("size", [0, 1, 671, 672, 1183, 1185, 4096])
def test_truncated_and_over_long_reports_are_refused(size: int) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(bytes(size))
    assert caught.value.code == "malformed"


@pytest.mark.parametrize("version", [0, 1, 4, 6, 7, 0xFFFFFFFF])
def test_unknown_versions_are_refused_and_newer_ones_say_so(version: int) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(version.to_bytes(4, "little") + bytes(REPORT_BYTES - 4))
    assert caught.value.code == "unsupported-version"
    assert ("newer" in caught.value.message) is (version > NEWEST_VERSION)


OFFSETS = {  # 56860 table 23
    "version": 0x000,
    "guest_svn": 0x004,
    "policy": 0x008,
    "family_id": 0x010,
    "image_id": 0x020,
    "vmpl": 0x030,
    "signature_algorithm": 0x034,
    "current_tcb_raw": 0x038,
    "platform_info": 0x040,
    "flags": 0x048,
    "reserved_4c": 0x04C,
    "report_data": 0x050,
    "measurement": 0x090,
    "host_data": 0x0C0,
    "id_key_digest": 0x0E0,
    "author_key_digest": 0x110,
    "report_id": 0x140,
    "report_id_ma": 0x160,
    "reported_tcb_raw": 0x180,
    "cpuid_family": 0x188,
    "cpuid_model": 0x189,
    "cpuid_stepping": 0x18A,
    "reserved_18b": 0x18B,
    "chip_id": 0x1A0,
    "committed_tcb_raw": 0x1E0,
    "current_build": 0x1E8,
    "current_minor": 0x1E9,
    "current_major": 0x1EA,
    "reserved_1eb": 0x1EB,
    "committed_build": 0x1EC,
    "committed_minor": 0x1ED,
    "committed_major": 0x1EE,
    "reserved_1ef": 0x1EF,
    "launch_tcb_raw": 0x1F0,
    "launch_mit_vector": 0x1F8,
    "current_mit_vector": 0x200,
    "reserved_208": 0x208,
    "signature_r": 0x2A0,
    "signature_s": 0x2E8,
    "reserved_330": 0x330,
}


@pytest.mark.parametrize("name", [one for one in OFFSETS if one != "version"])
def test_each_field_lies_where_the_specification_says(name: str) -> None:
    zero = parse((5).to_bytes(4, "little") + bytes(REPORT_BYTES - 4))
    value = getattr(zero, name)
    change: dict[str, Any] = {name: b"\x01" + value[1:] if isinstance(value, bytes) else 1}
    changed = replace(zero, **change)
    encoded = changed.encode()
    assert [i for i in range(4, REPORT_BYTES) if encoded[i]] == [OFFSETS[name]]


def test_every_field_has_a_place() -> None:
    zero = parse((5).to_bytes(4, "little") + bytes(REPORT_BYTES - 4))
    assert [one.name for one in fields(zero)] == list(OFFSETS)


def test_field_of_another_length_cannot_be_put_into_a_report(machine: Machine) -> None:
    for size in (47, 49):
        with pytest.raises(ValueError, match="measurement"):
            replace(machine.report(), measurement=bytes(size))


def test_turin_counts_its_tcb_from_the_fmc(machine: Machine) -> None:
    turin = machine.report(cpuid_family=0x1A, cpuid_model=0x02, reported_tcb_raw=bytes((1, 2, 3, 4, 0, 0, 0, 9)))
    assert turin.product is Product.TURIN
    assert turin.reported_tcb.named() == {"fmc": 1, "bootloader": 2, "tee": 3, "snp": 4, "microcode": 9}
    milan = machine.report(reported_tcb_raw=bytes((1, 2, 0, 0, 0, 0, 3, 9)))
    assert milan.reported_tcb.named() == {"bootloader": 1, "tee": 2, "snp": 3, "microcode": 9}
    assert milan.reported_tcb.component("fmc") is None


@pytest.mark.parametrize(
    ("family", "model", "product"),
    [
        (0x19, 0x01, Product.MILAN),
        (0x19, 0x11, Product.GENOA),
        (0x19, 0xA0, Product.GENOA),
        (0x19, 0xAF, Product.GENOA),
        (0x1A, 0x02, Product.TURIN),
        (0x1A, 0x11, Product.TURIN),
        (0x1A, 0x20, None),
        (0x19, 0x20, None),
        (0x17, 0x31, None),
    ],
)
def test_product_follows_from_cpuid(family: int, model: int, product: Product | None, machine: Machine) -> None:
    assert machine.report(cpuid_family=family, cpuid_model=model).product is product


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"policy": 0}, "POLICY bit 17"),
        ({"policy": 0x30000 | 1 << 26}, "POLICY bits 26..63"),
        ({"platform_info": 1 << 8}, "PLATFORM_INFO bits 8..63"),
        ({"flags": 1 << 5}, "flags bits 5..31"),
        ({"reserved_4c": b"\0\0\0\1"}, "0x4C..0x4F"),
        ({"reserved_18b": b"\1".rjust(21, b"\0")}, "0x18B..0x19F"),
        ({"reserved_1eb": 1}, "0x1EB, 0x1EF"),
        ({"reserved_1ef": 1}, "0x1EB, 0x1EF"),
        ({"reserved_208": b"\1" + bytes(151)}, "0x208..0x29F"),
        ({"version": 2, "cpuid_family": 1}, "0x188..0x18A"),
        ({"version": 3, "launch_mit_vector": 1}, "0x1F8..0x207"),
    ],
)
def test_reserved_fields_that_are_set_are_named(change: dict[str, int | bytes], named: str, machine: Machine) -> None:
    assert machine.report().reserved() == ()
    assert machine.report(**change).reserved() == (named,)


def test_bits_are_the_ones_of_the_specification() -> None:
    assert {name: bit.bit_length() - 1 for name, bit in POLICY_BITS.items()} == {
        "smt": 16,
        "migration": 18,
        "debug": 19,
        "single_socket": 20,
        "cxl": 21,
        "aes_256_xts": 22,
        "rapl_disabled": 23,
        "ciphertext_hiding": 24,
        "page_swap_disabled": 25,
    }
    assert [bit.bit_length() - 1 for bit in PLATFORM_BITS.values()] == list(range(8))


def test_another_parser_reads_the_same_from_a_real_report() -> None:
    omne = pytest.importorskip("omne_attest.snp")
    data: bytes = pytest.importorskip("omne_attest.vectors").attestation()
    ours, theirs = parse(data), omne.Report.parse(data)
    for name in ("version", "guest_svn", "policy", "family_id", "image_id", "vmpl", "platform_info", "report_data"):
        assert getattr(ours, name) == getattr(theirs, name)
    for name in ("measurement", "host_data", "id_key_digest", "author_key_digest", "report_id", "chip_id"):
        assert getattr(ours, name) == getattr(theirs, name)
    tcb = ours.reported_tcb
    assert (tcb.component("bootloader"), tcb.component("tee"), tcb.component("snp"), tcb.component("microcode")) == (
        theirs.reported_tcb.boot_loader,
        theirs.reported_tcb.tee,
        theirs.reported_tcb.snp,
        theirs.reported_tcb.microcode,
    )
    assert ours.encode() == data
