"""Parsing of both certificate formats: bit-exact, bounded, and with no error but ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.evidence.sev import certs
from enarx.evidence.sev.kinds import Algorithm, Usage
from tests.evidence.sev import platforms
from tests.evidence.sev.platforms import MadePlatform, make_platform

PUBLISHED = (
    "sev/naples.pdh.cert",
    "sev/naples.pek.cert",
    "sev/naples.oca.cert",
    "sev/naples.cek.cert",
    "sev/trust/naples.ask.cert",
    "sev/trust/naples.ark.cert",
    "sev/trust/rome.ask.cert",
    "sev/trust/rome.ark.cert",
    "sev/milan.ask.cert",
    "sev/milan.ark.cert",
    "sev/turin.ask.cert",
    "sev/turin.ark.cert",
    "sev/negative/naples.pdh-flip.cert",
)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_certificate_round_trips_bit_for_bit(name: str, read: Callable[[str], bytes]) -> None:
    data = read(name)
    (certificate,) = certs.parse_chain(data)
    assert certificate.to_bytes() == data
    assert certificate.body + data[len(certificate.body) :] == data


def test_fields_of_the_published_pek_are_those_of_its_bytes(read: Callable[[str], bytes]) -> None:
    pek = certs.parse_sev_certificate(read("sev/naples.pek.cert"))
    assert (pek.version, pek.api_major, pek.api_minor, pek.reserved) == (1, 0, 16, bytes(2))
    assert (pek.usage, pek.algorithm) == (Usage.PEK, Algorithm.ECDSA_SHA256)
    assert [slot.usage for slot in pek.signatures] == [Usage.OCA, Usage.CEK]
    assert pek.ecc_key.curve == 2
    assert pek.ecc_key.x.to_bytes(48, "little").hex().startswith("2b5331da2f7add5f")
    assert not any(pek.ecc_key.reserved)


def test_a_whole_exported_chain_is_parsed_in_any_order(made: MadePlatform) -> None:
    for chain in (made.chain, made.chain[::-1], made.chain[2:] + made.chain[:2]):
        data = b"".join(certificate.to_bytes() for certificate in chain)
        assert certs.parse_chain(data) == tuple(chain)


def test_naples_root_without_signature_is_parsed_as_amd_distributed_it(made: MadePlatform) -> None:
    bare = certs.parse_ca_certificate(made.ark.body)
    assert bare.signature == b""
    assert bare.to_bytes() == made.ark.body


def test_no_other_certificate_may_lack_its_signature(made: MadePlatform) -> None:
    with pytest.raises(MalformedError):
        certs.parse_ca_certificate(made.ask.body)
    large = platforms.rsa_key("large", 4096)
    root = platforms.ca_certificate(large, bytes(16), platforms.ARK, large, bytes(16))
    assert certs.parse_ca_certificate(root.to_bytes()) == root
    with pytest.raises(MalformedError):
        certs.parse_ca_certificate(root.body)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 63, 64, 2083, 2085, 4168])
def test_a_sev_certificate_of_another_length_is_refused(length: int, made: MadePlatform) -> None:
    data = (made.pek.to_bytes() * 3)[:length]
    with pytest.raises(MalformedError) as caught:
        certs.parse_sev_certificate(data)
    assert caught.value.code == "malformed"
    assert caught.value.hint


@pytest.mark.parametrize("length", [0, 3, 63, 64, 319, 575, 577, 831, 833])
def test_a_ca_certificate_of_another_length_is_refused(length: int, made: MadePlatform) -> None:
    data = (made.ask.to_bytes() * 2)[:length]
    with pytest.raises(MalformedError):
        certs.parse_ca_certificate(data)


@pytest.mark.parametrize(
    ("offset", "value", "what"),
    [
        (0, 0, "version"),
        (0, 2, "version"),
        (8, 0x1000, "INVALID"),
        (8, 0x1005, "usage"),
        (8, 0x13, "not ASK"),
        (12, 0x4, "algorithm"),
        (12, 0x104, "algorithm"),
        (0x414, 0x1005, "usage"),
        (0x418, 0x999, "algorithm"),
    ],
)
def test_undefined_numbers_in_a_sev_certificate_are_refused(
    offset: int, value: int, what: str, made: MadePlatform
) -> None:
    data = bytearray(made.pek.to_bytes())
    data[offset : offset + 4] = value.to_bytes(4, "little")
    with pytest.raises(MalformedError, match=what) as caught:
        certs.parse_sev_certificate(bytes(data))
    assert caught.value.code == "malformed"


@pytest.mark.parametrize(("offset", "value"), [(0, 2), (36, 0x1004), (36, 1), (56, 4096), (60, 4096), (60, 2**32 - 1)])
def test_undefined_numbers_in_a_ca_certificate_are_refused(offset: int, value: int, made: MadePlatform) -> None:
    data = bytearray(made.ask.to_bytes())
    data[offset : offset + 4] = value.to_bytes(4, "little")
    with pytest.raises(MalformedError):
        certs.parse_ca_certificate(bytes(data))


def test_one_certificate_more_than_the_limit_is_refused(made: MadePlatform) -> None:
    small = made.ask.to_bytes()
    assert len(certs.parse_chain(small * certs.MAX_CERTIFICATES)) == certs.MAX_CERTIFICATES
    with pytest.raises(MalformedError) as caught:
        certs.parse_chain(small * (certs.MAX_CERTIFICATES + 1))
    assert caught.value.code == "malformed"
    with pytest.raises(MalformedError):
        certs.parse_chain(bytes(certs.MAX_CHAIN_BYTES + 1))


_MADE = make_platform()
_GENUINE = [certificate.to_bytes() for certificate in _MADE.chain]


@given(st.binary(max_size=4200))
def test_any_bytes_parse_or_raise_our_error(data: bytes) -> None:
    try:
        found = certs.parse_chain(data)
    except MalformedError:
        return
    assert b"".join(certificate.to_bytes() for certificate in found) == data


@settings(max_examples=300)
@given(
    st.sampled_from(_GENUINE),
    st.lists(st.tuples(st.integers(0, 2083), st.integers(0, 255)), max_size=6),
    st.integers(-40, 40),
)
def test_a_damaged_certificate_parses_to_its_own_bytes_or_raises_our_error(
    data: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    damaged = bytearray(data + bytes(max(cut, 0)))[: len(data) + cut]
    for offset, value in changes:
        damaged[offset % len(damaged)] = value
    try:
        found = certs.parse_chain(bytes(damaged))
    except MalformedError:
        return
    assert b"".join(certificate.to_bytes() for certificate in found) == bytes(damaged)


@given(
    st.integers(0, 255),
    st.integers(0, 255),
    st.sampled_from([Usage.OCA, Usage.PEK, Usage.PDH, Usage.CEK]),
    st.sampled_from(list(Algorithm)),
    st.binary(min_size=1028, max_size=1028),
    st.binary(min_size=2, max_size=2),
)
def test_every_certificate_that_can_be_written_can_be_read(
    major: int, minor: int, usage: Usage, algorithm: Algorithm, blob: bytes, reserved: bytes
) -> None:
    certificate = certs.SevCertificate(major, minor, usage, algorithm, blob, reserved=reserved)
    signed = replace(certificate, signatures=(certs.Signature(Usage.CEK, algorithm, blob[:512]), certs.UNSIGNED))
    assert certs.parse_sev_certificate(signed.to_bytes()) == signed
