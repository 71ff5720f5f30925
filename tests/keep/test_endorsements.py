"""The host's certificate table, as the Keep sorts it: the same as the verifier's own reader finds."""

from __future__ import annotations

import ssl
import struct
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.evidence.snp import certtable
from enarx.keep.endorsements import (
    ARK,
    ASK,
    CRL,
    TABLE_MAX_BYTES,
    TABLE_MAX_ENTRIES,
    VCEK,
    VLEK,
    Endorsements,
    read_table,
)
from tests.keep.tenants import CRL_URL, machine, table


def test_identifiers_are_those_of_the_verifier() -> None:
    assert (VCEK, VLEK, ASK, ARK, CRL) == (
        certtable.VCEK_GUID,
        certtable.VLEK_GUID,
        certtable.ASK_GUID,
        certtable.ARK_GUID,
        certtable.CRL_GUID,
    )


def test_table_is_sorted_and_its_list_has_the_distribution_point_of_the_chain() -> None:
    found, theirs = read_table(table()), certtable.parse(table())
    assert found == Endorsements(machine().certificate, theirs.chain, theirs.crls)
    assert found.distributed_crls() == ((CRL_URL, theirs.crls[0]),)


def test_list_without_a_distribution_point_is_left_out_of_the_extension() -> None:
    vendor = machine().vendor
    for chain in ((vendor.ask, vendor.ark), (), (b"junk", b"\x30\x00")):
        assert Endorsements(b"leaf", chain, (b"crl",)).distributed_crls() == ()


@pytest.mark.parametrize("product", ["milan", "genoa", "turin"])
@pytest.mark.parametrize("chain", ["ask-ark", "asvk-ark"])
def test_distribution_point_of_amds_own_chains(vectors: Path, product: str, chain: str) -> None:
    pem = (vectors / "snp" / "trust" / f"{chain}-{product}.pem").read_text()
    blocks = [f"{block}-----END CERTIFICATE-----" for block in pem.split("-----END CERTIFICATE-----")[:2]]
    found = Endorsements(b"", tuple(map(ssl.PEM_cert_to_DER_cert, map(str.strip, blocks))), (b"crl",))
    kind = "vcek" if chain == "ask-ark" else "vlek"
    assert found.distributed_crls() == ((f"https://kdsintf.amd.com/{kind}/v1/{product.title()}/crl", b"crl"),)


def test_certificates_in_pem_are_taken_as_der() -> None:
    vendor = machine().vendor
    pem = [ssl.DER_cert_to_PEM_cert(der).encode() for der in (machine().certificate, vendor.ask, vendor.ark)]
    found = read_table(certtable.encode(zip((VCEK, ASK, ARK), pem, strict=True)))
    assert found == Endorsements(machine().certificate, (vendor.ask, vendor.ark))


def test_vlek_stands_where_a_vcek_would() -> None:
    assert read_table(certtable.encode([(VLEK, b"vlek")])) == Endorsements(b"vlek")


def test_guid_with_little_endian_fields_is_recognised() -> None:
    stored = UUID(bytes=VCEK.bytes_le)
    assert read_table(certtable.encode([(stored, b"vcek")])).leaf == b"vcek"


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [(ASK, b"a")],
        [(VCEK, b"a"), (VLEK, b"b")],
        [(VCEK, b"a"), (VCEK, b"b")],
        [(VCEK, b"")],
        [(VCEK, b"-----BEGIN CERTIFICATE-----\nnot base64")],
        [(VCEK, b"-----BEGIN CERTIFICATE-----\n\xff\n-----END CERTIFICATE-----")],
        [(VCEK, b"a"), *[(uuid4(), b"x") for _ in range(TABLE_MAX_ENTRIES)]],
        [(VCEK, bytes(TABLE_MAX_BYTES))],
    ],
    ids=["empty", "no leaf", "both", "twice", "no bytes", "open PEM", "PEM of no text", "too many", "too long"],
)
def test_table_that_cannot_be_used_is_refused(entries: list[tuple[UUID, bytes]]) -> None:
    with pytest.raises(MalformedError) as caught:
        read_table(certtable.encode(entries))
    assert caught.value.code == "endorsements"
    assert caught.value.hint


@pytest.mark.parametrize(("offset", "length"), [(0, 8), (47, 8), (48, 9), (0xFFFF_FFFF, 1), (48, 0xFFFF_FFFF), (56, 1)])
def test_entry_that_points_outside_is_refused(offset: int, length: int) -> None:
    data = struct.pack("<16sII", VCEK.bytes, offset, length) + bytes(24) + b"contents"
    with pytest.raises(MalformedError):
        read_table(data)
    assert read_table(struct.pack("<16sII", VCEK.bytes, 48, 8) + bytes(24) + b"contents").leaf == b"contents"


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read_as_the_verifier_reads_them(data: bytes) -> None:
    _agree(data)


@given(st.data())
def test_changed_table_is_refused_or_read_as_the_verifier_reads_it(data: st.DataObject) -> None:
    blobs = st.binary(min_size=1, max_size=8)
    guids = st.sampled_from([VCEK, VLEK, ASK, ARK, CRL, UUID(int=1)])
    changed = bytearray(certtable.encode(data.draw(st.lists(st.tuples(guids, blobs), max_size=5))))
    for at in data.draw(st.lists(st.integers(0, len(changed) - 1), max_size=2)):
        changed[at] ^= data.draw(st.integers(1, 255))
    _agree(bytes(changed))


def _agree(data: bytes) -> None:
    try:
        theirs = certtable.parse(data)
        leaf = theirs.endorsement
    except MalformedError:
        leaf = None
    if leaf is None:
        with pytest.raises(MalformedError):
            read_table(data)
    else:
        assert read_table(data) == Endorsements(leaf, theirs.chain, theirs.crls)
