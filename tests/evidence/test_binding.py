"""What both ends must compute alike: key binding, extensions, the label of sealed secrets."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.evidence import binding, der

SEQUENCE = b"\x30\x03\x02\x01\x05"


def test_report_data_is_the_digest_of_the_key_padded_with_zeros() -> None:
    assert binding.report_data(b"key") == hashlib.sha384(b"key").digest() + bytes(16)
    assert binding.report_data(b"key", hash="sha256") == hashlib.sha256(b"key").digest() + bytes(32)


def test_report_data_of_a_key_written_by_hand() -> None:
    """The generator of P-384 as public key; the digest by ``openssl pkey -pubin -outform DER | sha384sum``."""
    spki = ec.derive_private_key(1, ec.SECP384R1()).public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    digest = "9b816e622b2e1a95723958091bfa35d774110a7475ec59c9425e007a8a84e0ebaabef67249e6a0fe621ae4f4d30b0cc8"
    assert binding.report_data(spki).hex() == digest + 32 * "0"


def test_evidence_extension_golden() -> None:
    report = bytes(range(256)) * 4 + bytes(160)
    value = binding.snp_evidence(report, SEQUENCE, [("http://x/crl", b"\x30\x00")])
    url = "0c0c" + b"http://x/crl".hex()
    assert value.hex() == "308204c1301b3003020105301430123010" + url + "3000048204a0" + report.hex()


def test_evidence_without_revocation_lists_keeps_the_empty_list() -> None:
    value = binding.snp_evidence(bytes(1184), SEQUENCE)
    assert value[4:].startswith(bytes.fromhex("30093003020105300230000482"))


@pytest.mark.parametrize("size", [0, 1183, 1185])
def test_report_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(MalformedError):
        binding.snp_evidence(bytes(size), SEQUENCE)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\x30",
        b"\x31\x00",
        SEQUENCE + b"\0",
        SEQUENCE[:-1],
        b"\x30\x80\0\0",
        b"\x30\x81\x03\x02\x01\x05",
        b"-----",
    ],
    ids=lambda blob: blob.hex() or "empty",
)
def test_certificate_or_list_that_could_spill_over_is_refused(blob: bytes) -> None:
    with pytest.raises(MalformedError, match="VCEK"):
        binding.snp_evidence(bytes(1184), blob)
    with pytest.raises(MalformedError, match="revocation list"):
        binding.snp_evidence(bytes(1184), SEQUENCE, [("u", blob)])


@given(st.sampled_from([0x04, 0x0C, 0x30]), st.integers(0, 70_000))
def test_small_writer_agrees_with_the_one_that_verifiers_use(tag: int, size: int) -> None:
    assert binding.encode(tag, bytes(size)) == der.encode(tag, bytes(size))


@pytest.mark.parametrize("size", [0, 31, 33, 48])
def test_manifest_digest_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(MalformedError):
        binding.manifest_digest_extension(bytes(size))
    with pytest.raises(MalformedError):
        binding.secret_info(bytes(size), "name")


def test_secret_info_golden() -> None:
    assert binding.secret_info(b"d" * 32, "clé") == b"enarx secret v1\0" + b"d" * 32 + b"cl\xc3\xa9"


@pytest.mark.parametrize(
    "oid",
    [
        binding.KVM_EVIDENCE_OID,
        binding.SGX_EVIDENCE_OID,
        binding.SNP_EVIDENCE_OID,
        binding.MANIFEST_OID,
        binding.MANIFEST_DIGEST_OID,
    ],
)
def test_every_reader_of_certificates_can_read_our_identifiers(oid: str) -> None:
    """Go refuses arcs of 2^31 and more; ``der`` and ``cryptography`` read what the other wrote."""
    assert all(int(arc) < 1 << 31 for arc in oid.split("."))
    assert der.dotted_oid(der.encode_oid(oid)) == oid
    key = ec.generate_private_key(ec.SECP384R1())
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), b"\x04\x00")
    request = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(extension, critical=False)
    assert der.encode_oid(oid) in request.sign(key, hashes.SHA384()).public_bytes(Encoding.DER)


def test_our_identifiers_are_made_from_the_guid_that_the_module_names() -> None:
    guid = "dd8058e9b30a4fcfbec1edb4659be4b0"
    parts = [guid[at : at + 4] for at in range(0, 20, 4)] + [guid[20:26], guid[26:]]
    arc = ".".join(("1.2.840.113556.1.8000.2554", *(str(int(part, 16)) for part in parts)))
    assert (f"{arc}.1", f"{arc}.2") == (binding.MANIFEST_OID, binding.MANIFEST_DIGEST_OID)


def test_session_digest_written_by_hand() -> None:
    whole = b"enarx session v1\0" + hashlib.sha384(b"key").digest() + b"n" * 32 + b"e" * 32
    assert binding.session_digest(b"key", b"n" * 32, b"e" * 32) == hashlib.sha384(whole).digest()


@pytest.mark.parametrize(("nonce", "exporter"), [(31, 32), (32, 33), (0, 0)])
def test_session_digest_of_other_sizes_is_refused(nonce: int, exporter: int) -> None:
    with pytest.raises(MalformedError):
        binding.session_digest(b"key", bytes(nonce), bytes(exporter))


def test_report_data_of_sessions_is_over_all_of_them_in_their_order() -> None:
    one, two = b"1" * 48, b"2" * 48
    assert binding.session_report_data([one, two]) == hashlib.sha512(b"enarx sessions v1\0" + one + two).digest()
    assert len({binding.session_report_data(given) for given in ([one], [two], [one, two], [two, one])}) == 4


@pytest.mark.parametrize("digests", [[], [b"1" * 48] * 65, [b"1" * 47], [b"1" * 48, b"2" * 49]], ids=len)
def test_report_data_of_no_sessions_or_too_many_is_refused(digests: list[bytes]) -> None:
    with pytest.raises(MalformedError):
        binding.session_report_data(digests)


@given(st.binary(max_size=200), st.lists(st.binary(min_size=48, max_size=48), min_size=1, max_size=64))
def test_report_data_of_a_key_is_never_that_of_sessions(key: bytes, digests: list[bytes]) -> None:
    assert binding.report_data(key) != binding.session_report_data(digests)
