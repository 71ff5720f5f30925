"""Certificates and revocation lists: serial number 0, bounds, and what another reader makes of the same bytes."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from enarx.errors import EvidenceError, MalformedError
from enarx.evidence import der
from enarx.evidence.certificate import (
    CERTIFICATE_MAX_BYTES,
    CERTIFICATE_MAX_EXTENSIONS,
    CRL_MAX_ENTRIES,
    parse_certificate,
    parse_crl,
    parse_public_key,
)
from enarx.evidence.name import common_name
from enarx.evidence.signature import Curve, EcKey, RsaKey, Scheme
from enarx.simulator.certificates import spki
from tests.evidence.snp.forge import (
    LONG_AGO,
    Machine,
    Vendor,
    ec_key,
    extension,
    make_crl,
    rsa_key,
)


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine(Vendor())


def test_serial_number_zero_is_read_today_and_when_others_refuse_it(machine: Machine) -> None:
    assert parse_certificate(machine.certificate).serial == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_certificate(machine.certificate).serial == 0


def test_another_reader_sees_the_same_in_a_real_chain() -> None:
    vectors = pytest.importorskip("omne_attest.vectors")
    for encoded in (vectors.vcek(), vectors.ask(), vectors.ark()):
        ours = parse_certificate(encoded)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = x509.load_der_x509_certificate(encoded)
            assert ours.serial == theirs.serial_number
        assert ours.tbs == theirs.tbs_certificate_bytes
        assert ours.signature == theirs.signature
        assert ours.issuer == theirs.issuer.public_bytes()
        assert ours.subject == theirs.subject.public_bytes()
        assert ours.not_before == theirs.not_valid_before_utc.timestamp()
        assert ours.not_after == theirs.not_valid_after_utc.timestamp()
        assert ours.sha256 == theirs.fingerprint(hashes.SHA256())
        assert len(ours.extensions) == len(list(theirs.extensions))
        public = theirs.public_key()
        numbers = public.public_numbers()  # type: ignore[union-attr]
        if isinstance(ours.key, EcKey):
            assert (ours.key.x, ours.key.y) == (numbers.x, numbers.y)  # type: ignore[union-attr]
        else:
            assert (ours.key.modulus, ours.key.exponent) == (numbers.n, numbers.e)  # type: ignore[union-attr]


def test_another_maker_of_certificates_is_understood() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .serial_number(2**159 - 1)
        .public_key(key.public_key())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2051, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=3), critical=True)
        .sign(key, hashes.SHA256())
    )
    ours = parse_certificate(made.public_bytes(serialization.Encoding.DER))
    assert ours.scheme is Scheme.ECDSA_SHA256
    assert ours.serial == 2**159 - 1
    assert ours.not_after == datetime(2051, 1, 1, tzinfo=UTC).timestamp()
    assert common_name(ours.subject) == "somebody"
    assert isinstance(ours.key, EcKey)
    assert ours.key.curve is Curve.P256


@pytest.mark.parametrize("cut", [0, 1, 2, 100, -1])
def test_truncated_certificate_is_malformed(cut: int, machine: Machine) -> None:
    with pytest.raises(MalformedError):
        parse_certificate(machine.certificate[:cut])


def test_bytes_behind_a_certificate_are_malformed(machine: Machine) -> None:
    with pytest.raises(MalformedError):
        parse_certificate(machine.certificate + b"\0")


def test_certificate_past_its_limits_is_refused(machine: Machine) -> None:
    large = machine.endorse(machine.plan.having("1.2.3", bytes(CERTIFICATE_MAX_BYTES)))
    with pytest.raises(MalformedError) as caught:
        parse_certificate(large)
    assert caught.value.code == "too-long"
    few = tuple(extension(f"1.2.{i}", b"") for i in range(CERTIFICATE_MAX_EXTENSIONS))
    assert len(parse_certificate(machine.endorse(replace(machine.plan, extensions=few))).extensions) == len(few)
    many = (*few, extension("1.3.1", b""))
    with pytest.raises(MalformedError):
        parse_certificate(machine.endorse(replace(machine.plan, extensions=many)))


def test_extension_that_appears_twice_is_malformed(machine: Machine) -> None:
    twice = (*machine.plan.extensions, machine.plan.extensions[0])
    with pytest.raises(MalformedError, match="twice"):
        parse_certificate(machine.endorse(replace(machine.plan, extensions=twice)))


def test_signature_algorithm_outside_must_be_the_one_inside(machine: Machine) -> None:
    at = machine.certificate.rindex(bytes.fromhex("a203020130"))
    changed = machine.certificate[:at] + bytes.fromhex("a203020120") + machine.certificate[at + 5 :]
    with pytest.raises(MalformedError, match="differs"):
        parse_certificate(changed)


def test_unsupported_algorithms_are_named(machine: Machine) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_certificate(machine.certificate.replace(bytes.fromhex("a203020130"), bytes.fromhex("a203020120")))
    assert caught.value.code == "unsupported-algorithm"


def test_public_keys_of_all_kinds_are_read() -> None:
    assert isinstance(parse_public_key(spki(rsa_key("any"))), RsaKey)
    key = ec_key("any")
    numbers = key.public_key().public_numbers()
    assert parse_public_key(spki(key)) == EcKey(Curve.P384, numbers.x, numbers.y)
    compressed = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    squeezed = spki(key)[:-98] + b"\x03\x32\x00" + compressed[:49]
    with pytest.raises(MalformedError):
        parse_public_key(squeezed)


@pytest.mark.parametrize(("modulus", "exponent"), [(2**2047 - 1, 65537), (2**8192, 65537), (2**2048 - 1, 1)])
def test_rsa_keys_of_unreasonable_size_are_refused(modulus: int, exponent: int) -> None:
    numbers = der.encode(der.SEQUENCE, der.encode_natural(modulus) + der.encode_natural(exponent))
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    encoded = der.encode(der.SEQUENCE, algorithm + der.encode(der.BIT_STRING, b"\0" + numbers))
    with pytest.raises(MalformedError):
        parse_public_key(encoded)


def test_revocation_list_is_read() -> None:
    vendor = Vendor()
    crl = parse_crl(make_crl(vendor.ark_name, vendor.ark_key, {5: LONG_AGO, 0x20001: LONG_AGO + timedelta(days=1)}))
    assert dict(crl.revoked) == {5: LONG_AGO.timestamp(), 0x20001: LONG_AGO.timestamp() + 86400}
    assert crl.number == 7
    assert crl.issuer == vendor.ark_name


def test_critical_extension_of_a_list_is_refused() -> None:
    vendor = Vendor()
    for oid in ("2.5.29.27", "2.5.29.28", "1.2.3"):
        crl = make_crl(vendor.ark_name, vendor.ark_key, extensions=(extension(oid, b"\x30\x00", True),))
        with pytest.raises(MalformedError) as caught:
            parse_crl(crl)
        assert caught.value.code == "unsupported-extension"


def test_list_of_too_many_is_refused() -> None:
    vendor = Vendor()
    honest = make_crl(vendor.ark_name, vendor.ark_key)
    crl = make_crl(vendor.ark_name, vendor.ark_key, dict.fromkeys(range(CRL_MAX_ENTRIES + 1), LONG_AGO))
    with pytest.raises(MalformedError) as caught:
        parse_crl(crl)
    assert caught.value.code == "too-long"
    assert parse_crl(honest).revoked == {}


def mutated(draw: Callable[[st.SearchStrategy[int]], int], data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)


@settings(max_examples=300)
@given(st.data())
def test_mutated_certificates_raise_nothing_but_our_errors(data: st.DataObject) -> None:
    machine = Machine(Vendor())
    with contextlib.suppress(EvidenceError):
        certificate = parse_certificate(mutated(data.draw, machine.certificate))
        common_name(certificate.subject)


@settings(max_examples=200)
@given(st.data())
def test_mutated_lists_raise_nothing_but_our_errors(data: st.DataObject) -> None:
    crl = Vendor().crl(1, 2, 3)
    with contextlib.suppress(EvidenceError):
        parse_crl(mutated(data.draw, crl))


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_our_errors(data: bytes) -> None:
    for parse in (parse_certificate, parse_crl, parse_public_key, common_name):
        try:
            parse(data)
        except EvidenceError:
            continue
