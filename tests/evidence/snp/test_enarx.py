"""Enarx's extensions, read back: what the Keep writes, real AMD parts in it, and all that is not DER of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.evidence import binding, der
from enarx.evidence.certificate import CERTIFICATE_MAX_BYTES, CRL_MAX_BYTES, parse_certificate, parse_crl
from enarx.evidence.snp import parse as parse_report
from enarx.evidence.snp.enarx import (
    CRLS_MAX,
    EVIDENCE_MAX_BYTES,
    MANIFEST_MAX_BYTES,
    URL_MAX_CHARS,
    DistributedCrl,
    SnpEvidence,
    parse_evidence,
    parse_manifest,
    parse_manifest_digest,
)
from enarx.manifest import MAX_BYTES

REPORT = bytes(range(256)) * 4 + bytes(160)
CERTIFICATE = der.encode(der.SEQUENCE, b"\x02\x01\x05")
VALUE = binding.snp_evidence(REPORT, CERTIFICATE, [("http://crl", b"\x30\x00")])

sequences = st.binary(max_size=300).map(lambda contents: der.encode(der.SEQUENCE, contents))
urls = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)


@given(st.binary(min_size=1184, max_size=1184), sequences, st.lists(st.tuples(urls, sequences), max_size=CRLS_MAX))
def test_what_the_keep_writes_is_what_the_verifier_reads(
    report: bytes, vcek: bytes, crls: list[tuple[str, bytes]]
) -> None:
    found = parse_evidence(binding.snp_evidence(report, vcek, crls))
    assert found == SnpEvidence(report, vcek, tuple(DistributedCrl(*entry) for entry in crls))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_an_error_of_ours(data: bytes) -> None:
    for parse in (parse_evidence, parse_manifest_digest):
        with pytest.raises(MalformedError):
            parse(data)


@given(st.data())
def test_a_changed_byte_is_refused_or_read_as_what_it_says(data: st.DataObject) -> None:
    value = bytearray(VALUE)
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = parse_evidence(bytes(value))
    except MalformedError:
        return
    again = binding.snp_evidence(found.report, found.vcek, [(entry.url, entry.crl) for entry in found.crls])
    assert again == bytes(value)  # nothing in the value that is not in what was read


@pytest.mark.parametrize("cut", range(0, len(VALUE), 7))
def test_truncated_evidence_is_refused(cut: int) -> None:
    with pytest.raises(MalformedError):
        parse_evidence(VALUE[:cut])


def _evidence(certificates: bytes, tail: bytes = b"") -> bytes:
    report = der.encode(der.OCTET_STRING, REPORT)
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, certificates) + report + tail)


def _lists(entries: bytes, tail: bytes = b"") -> bytes:
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, entries) + tail)


def _entry(url: bytes, crl: bytes = b"\x30\x00", tail: bytes = b"", tag: int = der.UTF8_STRING) -> bytes:
    return der.encode(der.SEQUENCE, der.encode(tag, url) + crl + tail)


NOTHING = _lists(b"")


@pytest.mark.parametrize(
    "value",
    [
        VALUE + b"\0",
        _evidence(CERTIFICATE + NOTHING, b"\x05\x00"),
        _evidence(CERTIFICATE + NOTHING + b"\x05\x00"),
        _evidence(CERTIFICATE + _lists(b"", b"\x05\x00")),
        _evidence(CERTIFICATE),
        _evidence(NOTHING),
        _evidence(der.encode(der.SET, b"") + NOTHING),
        _evidence(CERTIFICATE + _lists(_entry(b"u", tail=b"\x05\x00"))),
        _evidence(CERTIFICATE + _lists(_entry(b"u", tag=der.IA5_STRING))),
        _evidence(CERTIFICATE + _lists(_entry(b""))),
        _evidence(CERTIFICATE + _lists(_entry(b"a b"))),
        _evidence(CERTIFICATE + _lists(_entry("é".encode()))),
        _evidence(CERTIFICATE + _lists(_entry(b"a\n"))),
        _evidence(CERTIFICATE + _lists(_entry(b"u", b"\x31\x00"))),
        der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, CERTIFICATE + NOTHING) + der.encode(4, REPORT[:-1])),
        der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, CERTIFICATE + NOTHING) + der.encode(4, REPORT + b"\0")),
    ],
    ids=[
        "trailing", "after the report", "after the lists", "after the entries", "no lists", "no certificate",
        "certificate is no sequence", "after a list", "another string", "empty url", "space in url", "url not ASCII",
        "newline in url", "list is no sequence", "short report", "long report",
    ],
)  # fmt: skip
def test_what_does_not_belong_is_refused(value: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_evidence(value)


def _sequence_of(size: int) -> bytes:
    """A SEQUENCE of ``size`` bytes in all."""
    return next(found for head in range(2, 6) if len(found := der.encode(der.SEQUENCE, bytes(size - head))) == size)


def test_everything_is_bounded() -> None:
    fits = binding.snp_evidence(REPORT, _sequence_of(CERTIFICATE_MAX_BYTES))
    assert len(parse_evidence(fits).vcek) == CERTIFICATE_MAX_BYTES
    most = [("u" * URL_MAX_CHARS, b"\x30\x00")] * CRLS_MAX
    assert len(parse_evidence(binding.snp_evidence(REPORT, CERTIFICATE, most)).crls) == CRLS_MAX
    largest = binding.snp_evidence(REPORT, CERTIFICATE, [("u", _sequence_of(CRL_MAX_BYTES))])
    assert len(parse_evidence(largest).crls[0].crl) == CRL_MAX_BYTES
    for value in (
        binding.snp_evidence(REPORT, _sequence_of(CERTIFICATE_MAX_BYTES + 1)),
        binding.snp_evidence(REPORT, CERTIFICATE, [*most, most[0]]),
        binding.snp_evidence(REPORT, CERTIFICATE, [("u" * (URL_MAX_CHARS + 1), b"\x30\x00")]),
        binding.snp_evidence(REPORT, CERTIFICATE, [("u", _sequence_of(CRL_MAX_BYTES + 1))]),
        binding.snp_evidence(REPORT, CERTIFICATE, [("u", _sequence_of(EVIDENCE_MAX_BYTES))]),
    ):
        with pytest.raises(MalformedError) as caught:
            parse_evidence(value)
        assert caught.value.code == "too-long"


@given(st.binary(max_size=400))
def test_manifest_extension_is_read_back(manifest: bytes) -> None:
    value = binding.manifest_extension(manifest)
    assert parse_manifest(value) == manifest
    for other in (value + b"\0", value[:-1], b"\x0c" + value[1:]):
        with pytest.raises(MalformedError):
            parse_manifest(other)


def test_manifest_extension_is_bounded_as_the_manifest_is() -> None:
    assert MANIFEST_MAX_BYTES == MAX_BYTES
    assert len(parse_manifest(binding.manifest_extension(bytes(MAX_BYTES)))) == MAX_BYTES
    for size in (MAX_BYTES + 1, MAX_BYTES + 100):
        with pytest.raises(MalformedError):
            parse_manifest(binding.manifest_extension(bytes(size)))


def test_manifest_digest_extension_is_read_back() -> None:
    digest = bytes(range(32))
    value = binding.manifest_digest_extension(digest)
    assert parse_manifest_digest(value) == digest
    for other in (value + b"\0", value[:-1], b"\x04\x1f" + digest[:31], b"\x04\x21" + digest + b"\0"):
        with pytest.raises(MalformedError):
            parse_manifest_digest(other)


def test_real_amd_report_certificate_and_list_survive_the_extension(vectors: Path) -> None:
    """A report and VCEK of a Milan machine, with the two lists of the published Steward's sample request."""
    folder = vectors / "snp"
    report = (folder / "milan-v2-virtee.report.bin").read_bytes()
    vcek = (folder / "milan-v2-virtee.vcek.der").read_bytes()
    crls = [
        (
            f"https://kdsintf.amd.com/vcek/v1/{product}/crl",
            (folder / f"trust/crl-{product.lower()}-2022.der").read_bytes(),
        )
        for product in ("Milan", "Genoa")
    ]
    found = parse_evidence(binding.snp_evidence(report, vcek, crls))
    assert parse_report(found.report) == parse_report(report)
    assert parse_certificate(found.vcek) == parse_certificate(vcek)
    assert [parse_crl(entry.crl).number for entry in found.crls] == [parse_crl(crl).number for _, crl in crls]
