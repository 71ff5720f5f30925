"""The chain of SEV certificates: what verifies, and by name what must not."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from enarx.errors import AuthenticityError, CollateralError, EvidenceError, MalformedError
from enarx.evidence.authentic import Authentic
from enarx.evidence.sev import certs
from enarx.evidence.sev.authenticate import Platform, authenticate, authenticate_chain, authenticate_report, sort_chain
from enarx.evidence.sev.certs import CaCertificate, Certificate, SevCertificate
from enarx.evidence.sev.kinds import Usage
from enarx.evidence.sev.report import AttestationReport
from enarx.evidence.sev.roots import AMD_ROOTS, CaKey, Root
from tests.evidence.sev import platforms as make
from tests.evidence.sev.platforms import MadePlatform, make_platform

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAPLES = ("naples.pdh", "naples.pek", "naples.oca", "naples.cek", "trust/naples.ask", "trust/naples.ark")

Read = Callable[[str], bytes]


def naples(read: Read) -> list[Certificate]:
    return [certificate for name in NAPLES for certificate in certs.parse_chain(read(f"sev/{name}.cert"))]


def resigned_pdh(made: MadePlatform, body: bytes, swap: bool = False) -> SevCertificate:
    slot = make.ecdsa_slot(made.pek_key, body, make.PEK, swap=swap)
    return certs.parse_sev_certificate(body + slot + make.NO_SIGNATURE)


def with_replaced(made: MadePlatform, *replacements: Certificate) -> list[Certificate]:
    new = {certificate.usage: certificate for certificate in replacements}
    return [new.get(certificate.usage, certificate) for certificate in made.chain]


def refused(chain: Iterable[Certificate], *roots: Root) -> str:
    with pytest.raises(EvidenceError) as caught:
        authenticate(chain, NOW, roots or AMD_ROOTS)
    assert caught.value.hint
    return caught.value.code


def owned_by_rsa(made: MadePlatform, bits: int, exponent: int = 65537, modulus: int | None = None) -> list[Certificate]:
    """The platform under an owner whose key is RSA; exponent and modulus may be replaced by unusable ones."""
    key = make.rsa_key(f"owner-{bits}", bits)
    algorithm = make.RSA_256 if bits == 2048 else make.RSA_384
    stated = key.public_key().public_numbers().n if modulus is None else modulus
    body = struct.pack("<IBB2xIII", 1, 1, 51, make.OCA, algorithm, bits)
    body += exponent.to_bytes(512, "little") + stated.to_bytes(512, "little")
    oca = certs.parse_sev_certificate(body + make.rsa_slot(key, body, make.OCA) + make.NO_SIGNATURE)
    body = made.pek.body
    slots = make.rsa_slot(key, body, make.OCA) + make.ecdsa_slot(made.cek_key, body, make.CEK)
    return with_replaced(made, oca, certs.parse_sev_certificate(body + slots))


def test_published_naples_platform_verifies_to_the_embedded_root(read: Read) -> None:
    verified = authenticate(naples(read), NOW)
    assert verified.value.product == "Naples"
    assert verified.value.api == (0, 16)
    assert (verified.proof.root, verified.proof.signer) == ("ARK-Naples", "PEK")
    assert {rule.name for rule in verified.proof.checks} == {
        "ark-signature",
        "ark-pinned",
        "ask-signature",
        "cek-signature-ask",
        "oca-signature-oca",
        "pek-signature-oca",
        "pek-signature-cek",
        "pdh-signature-pek",
        "pdh-key",
    }
    assert not verified.proof.simulated


def test_order_of_certificates_does_not_matter(read: Read) -> None:
    assert authenticate(reversed(naples(read)), NOW).value == authenticate(naples(read), NOW).value


def test_embedded_keys_stand_in_for_absent_ask_and_ark(read: Read) -> None:
    chain = naples(read)
    for given in (chain[:4], chain[:5], [*chain[:4], chain[5]]):
        assert authenticate(given, NOW).value.product == "Naples"


@pytest.mark.parametrize("product", ["milan", "turin", "trust/naples", "trust/rome"])
def test_ark_and_ask_of_every_published_product_verify(product: str, read: Read) -> None:
    ask, ark = (certs.parse_ca_certificate(read(f"sev/{product}.{kind}.cert")) for kind in ("ask", "ark"))
    for chain in (sort_chain([ask, ark]), sort_chain([ask]), sort_chain([ark])):
        verified = authenticate_chain(chain, NOW)
        assert verified.proof.product.lower() == product.split("/")[-1]


def test_naples_root_without_signature_is_held_to_the_pinned_key(read: Read) -> None:
    chain = naples(read)
    ark = chain[5]
    assert isinstance(ark, CaCertificate)
    assert authenticate([*chain[:5], replace(ark, signature=b"")], NOW).value.product == "Naples"
    changed = replace(ark, signature=b"", modulus=ark.modulus ^ 2)
    assert refused([*chain[:5], changed]) == "untrusted-chain"


@pytest.mark.parametrize("bits", [2048, 4096])
@pytest.mark.parametrize("algorithm", [make.ECDSA_256, make.ECDSA_384])
@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=["P256", "P384"])
def test_platforms_of_every_size_curve_and_digest_verify(bits: int, algorithm: int, curve: ec.EllipticCurve) -> None:
    platform = make_platform(f"sizes-{bits}", bits, curve, algorithm)
    verified = authenticate(platform.chain, NOW, [platform.root])
    assert verified.value.product == "Test"
    assert verified.proof.simulated


def test_pek_signatures_may_come_in_either_order(made: MadePlatform) -> None:
    turned = replace(made.pek, signatures=made.pek.signatures[::-1])
    assert authenticate(with_replaced(made, turned), NOW, [made.root]).value.pek == turned


@pytest.mark.parametrize("bits", [2048, 4096])
def test_owner_with_an_rsa_key_verifies(bits: int, made: MadePlatform) -> None:
    assert authenticate(owned_by_rsa(made, bits), NOW, [made.root]).value.oca.rsa_key.modulus_bits == bits


@pytest.mark.parametrize(("exponent", "modulus"), [(1, None), (2**80 + 1, None), (65537, 3), (65537, 0)])
def test_owner_with_an_unusable_rsa_key_is_refused(exponent: int, modulus: int | None, made: MadePlatform) -> None:
    assert refused(owned_by_rsa(made, 2048, exponent, modulus), made.root) in ("key-size", "key-invalid")


# Attacks by name.


def test_self_made_root_is_refused(made: MadePlatform) -> None:
    assert refused(made.chain) == "untrusted-chain"


def test_self_made_root_under_the_key_id_of_amds_is_refused(made: MadePlatform) -> None:
    milan = next(root for root in AMD_ROOTS if root.product == "Milan")
    assert milan.ark.key_id is not None
    key = make.rsa_key("copycat", 4096)
    ark = make.ca_certificate(key, milan.ark.key_id, make.ARK, key, milan.ark.key_id)
    ask = make.ca_certificate(make.rsa_key("copycat-ask", 4096), b"a" * 16, make.ASK, key, milan.ark.key_id)
    assert refused(with_replaced(made, ark, ask)) == "untrusted-chain"
    without_ark = [item for item in with_replaced(made, ask) if item.usage is not Usage.ARK]
    assert refused(without_ark) == "bad-signature"


def test_chain_of_another_product_is_refused(read: Read) -> None:
    chain = naples(read)
    rome = [certs.parse_ca_certificate(read(f"sev/trust/rome.{kind}.cert")) for kind in ("ask", "ark")]
    assert refused([*chain[:4], *rome]) == "bad-signature"
    assert refused([*chain[:4], rome[0]]) == "bad-signature"
    assert refused([*chain[:4], chain[4], rome[1]]) == "bad-signature"
    milan_ask = certs.parse_ca_certificate(read("sev/milan.ask.cert"))
    assert refused([*chain[:4], milan_ask, rome[1]]) == "bad-signature"


def test_cek_of_an_unknown_ask_is_refused_without_a_chain(made: MadePlatform) -> None:
    assert refused(made.chain[:4]) == "untrusted-chain"


def test_pek_without_the_chips_signature_is_refused(made: MadePlatform) -> None:
    owner_only = replace(made.pek, signatures=(made.pek.signatures[0], certs.UNSIGNED))
    assert refused(with_replaced(made, owner_only), made.root) == "bad-signature"


def test_pek_signed_by_the_owner_twice_is_refused(made: MadePlatform) -> None:
    twice = replace(made.pek, signatures=(made.pek.signatures[0],) * 2)
    assert refused(with_replaced(made, twice), made.root) == "bad-signature"


def test_pek_of_another_chip_is_refused(made: MadePlatform) -> None:
    other = make_platform("test")
    assert refused(with_replaced(made, other.pek), made.root) == "bad-signature"
    assert refused(with_replaced(made, other.pek, other.oca, other.pdh), made.root) == "bad-signature"


def test_unsigned_certificates_are_refused(made: MadePlatform) -> None:
    for certificate in (made.pdh, made.pek, made.oca, made.cek):
        bare = replace(certificate, signatures=(certs.UNSIGNED, certs.UNSIGNED))
        assert refused(with_replaced(made, bare), made.root) == "bad-signature"


def test_swapped_r_and_s_are_refused(made: MadePlatform) -> None:
    swapped = resigned_pdh(made, made.pdh.body, swap=True)
    assert refused(with_replaced(made, swapped), made.root) == "bad-signature"


@pytest.mark.parametrize("r_and_s", [(0, 0), (1, 0), (0, 1), (2**576 - 1, 2**576 - 1)])
def test_degenerate_signatures_are_refused(r_and_s: tuple[int, int], made: MadePlatform) -> None:
    value = b"".join(number.to_bytes(72, "little") for number in r_and_s).ljust(512, b"\0")
    forged = replace(made.pdh, signatures=(replace(made.pdh.signatures[0], value=value), certs.UNSIGNED))
    assert refused(with_replaced(made, forged), made.root) == "bad-signature"


def test_big_endian_signature_is_refused(made: MadePlatform) -> None:
    slot = made.pdh.signatures[0]
    value = slot.r.to_bytes(72, "big") + slot.s.to_bytes(72, "big")
    turned = replace(slot, value=value.ljust(512, b"\0"))
    assert refused(with_replaced(made, replace(made.pdh, signatures=(turned, certs.UNSIGNED))), made.root)


def test_reserved_bytes_are_refused_even_under_a_good_signature(made: MadePlatform) -> None:
    for offset in (6, 7, 16 + 148, 0x413):
        body = bytearray(made.pdh.body)
        body[offset] = 1
        assert refused(with_replaced(made, resigned_pdh(made, bytes(body))), made.root) == "malformed"
    slot = made.pdh.signatures[0]
    for offset in (144, 511):
        value = bytearray(slot.value)
        value[offset] = 1
        padded = replace(made.pdh, signatures=(replace(slot, value=bytes(value)), certs.UNSIGNED))
        assert refused(with_replaced(made, padded), made.root) == "malformed"


def test_reserved_bytes_of_a_root_are_refused(made: MadePlatform) -> None:
    assert refused(with_replaced(made, replace(made.ark, reserved=b"\1" * 16)), made.root) == "malformed"


def test_pdh_whose_key_is_not_on_its_curve_is_refused(made: MadePlatform) -> None:
    body = bytearray(made.pdh.body)
    body[20] ^= 1
    assert refused(with_replaced(made, resigned_pdh(made, bytes(body))), made.root) == "key-invalid"


@pytest.mark.parametrize("curve", [0, 3, 0xFFFFFFFF])
def test_pdh_on_an_undefined_curve_is_refused(curve: int, made: MadePlatform) -> None:
    body = bytearray(made.pdh.body)
    body[16:20] = struct.pack("<I", curve)
    assert refused(with_replaced(made, resigned_pdh(made, bytes(body))), made.root) == "unsupported-algorithm"


def test_pdh_with_a_signing_key_is_refused(made: MadePlatform) -> None:
    body = make.sev_body(made.pdh_key, make.PDH, make.ECDSA_256)
    assert refused(with_replaced(made, resigned_pdh(made, body)), made.root) == "unsupported-algorithm"


def test_pek_with_an_agreement_key_cannot_sign(made: MadePlatform) -> None:
    body = make.sev_body(made.pek_key, make.PEK, make.ECDH_256)
    slots = make.ecdsa_slot(made.oca_key, body, make.OCA) + make.ecdsa_slot(made.cek_key, body, make.CEK)
    pek = certs.parse_sev_certificate(body + slots)
    assert refused(with_replaced(made, pek), made.root) == "unsupported-algorithm"


def test_certificate_used_for_another_purpose_is_refused(made: MadePlatform) -> None:
    body = made.pdh.body
    slot = make.ecdsa_slot(made.cek_key, body, make.CEK)
    by_chip = certs.parse_sev_certificate(body + slot + make.NO_SIGNATURE)
    assert refused(with_replaced(made, by_chip), made.root) == "bad-signature"
    both = certs.parse_sev_certificate(body + make.ecdsa_slot(made.pek_key, body, make.PEK) + slot)
    assert refused(with_replaced(made, both), made.root) == "bad-signature"


def test_slot_that_claims_another_digest_is_refused(made: MadePlatform) -> None:
    slot = make.ecdsa_slot(made.pek_key, made.pdh.body, make.PEK, make.ECDSA_384)
    pdh = certs.parse_sev_certificate(made.pdh.body + slot + make.NO_SIGNATURE)
    assert refused(with_replaced(made, pdh), made.root) == "bad-signature"


@pytest.mark.parametrize(("usage", "algorithm"), [(0x1000, 0x2), (0x1002, 0x0)])
def test_half_used_signature_slot_is_refused(usage: int, algorithm: int, made: MadePlatform) -> None:
    data = made.pdh.to_bytes()[:0x61C] + struct.pack("<II512x", usage, algorithm)
    pdh = certs.parse_sev_certificate(data)
    assert refused(with_replaced(made, pdh), made.root) == "malformed"


def test_ask_that_signs_itself_is_refused(made: MadePlatform) -> None:
    own = make.ca_certificate(made.ask_key, made.ask.key_id, make.ASK, made.ask_key, made.ask.key_id)
    assert refused(with_replaced(made, own), made.root) == "bad-signature"
    alone = [item for item in with_replaced(made, own) if item.usage is not Usage.ARK]
    assert refused(alone, made.root) == "untrusted-chain"


@pytest.mark.parametrize(
    ("exponent", "modulus_bit"), [(65537, 0), (65537, 2046), (65537, 2047), (2**80 + 1, None), (1, None)]
)
def test_root_with_an_altered_key_did_not_sign_itself(
    exponent: int, modulus_bit: int | None, made: MadePlatform
) -> None:
    modulus = made.ark.modulus ^ (0 if modulus_bit is None else 1 << modulus_bit)
    altered = replace(made.ark, exponent=exponent, modulus=modulus)
    assert refused(with_replaced(made, altered), made.root) == "bad-signature"


def test_root_that_names_another_issuer_is_refused(made: MadePlatform) -> None:
    odd = replace(made.ark, certifying_id=b"x" * 16)
    assert refused(with_replaced(made, odd), made.root) == "untrusted-chain"


def test_missing_certificates_are_named(made: MadePlatform) -> None:
    for usage in (Usage.PDH, Usage.PEK, Usage.OCA, Usage.CEK):
        chain = [certificate for certificate in made.chain if certificate.usage is not usage]
        with pytest.raises(CollateralError, match=usage.name):
            authenticate(chain, NOW, [made.root])
    with pytest.raises(CollateralError):
        authenticate([], NOW)
    with pytest.raises(CollateralError):
        authenticate_chain(sort_chain([made.oca]), NOW)


def test_owner_is_not_vouched_for_without_a_pek_that_names_it(made: MadePlatform) -> None:
    with pytest.raises(CollateralError, match="PEK"):
        authenticate_chain(sort_chain([made.oca, made.cek, made.ask, made.ark]), NOW, [made.root])


def test_two_certificates_of_one_kind_are_refused(made: MadePlatform) -> None:
    assert refused([*made.chain, made.pdh], made.root) == "sev-certificate-duplicate"


def test_no_roots_accept_nothing(made: MadePlatform) -> None:
    with pytest.raises(AuthenticityError):
        authenticate(made.chain, NOW, [])


# Single-bit flips: one bit of every byte. What is still accepted is no signature's business, byte for byte.

UNUSED_SLOT = range(0x624, 0x824)
BEYOND_RSA_2048 = range(0x41C + 256, 0x61C)
UNCOVERED = {
    Usage.PDH: {*UNUSED_SLOT},
    Usage.PEK: set[int](),
    Usage.OCA: {*UNUSED_SLOT},
    Usage.CEK: {*UNUSED_SLOT, *BEYOND_RSA_2048},
    Usage.ASK: set[int](),
    Usage.ARK: set[int](),
}
"""The contents of an unused slot, and the rest of a 512-byte RSA field under a 2,048-bit key: nothing reads them."""


@pytest.mark.parametrize("usage", list(UNCOVERED), ids=lambda usage: usage.name)
def test_flipped_bit_in_any_byte_is_refused_but_where_nothing_is_signed(usage: Usage, read: Read) -> None:
    chain = naples(read)
    (genuine,) = (certificate for certificate in chain if certificate.usage is usage)
    others = [certificate for certificate in chain if certificate.usage is not usage]
    data = genuine.to_bytes()
    accepted = set()
    for offset in range(len(data)):
        flipped = bytearray(data)
        flipped[offset] ^= 1 << offset % 8
        try:
            authenticate([*certs.parse_chain(bytes(flipped)), *others], NOW)
        except EvidenceError:
            continue
        accepted.add(offset)
    assert accepted == UNCOVERED[usage]


def test_flipped_key_of_the_published_pdh_is_a_bad_signature(read: Read) -> None:
    flipped = certs.parse_sev_certificate(read("sev/negative/naples.pdh-flip.cert"))
    assert refused([flipped, *naples(read)[1:]]) == "bad-signature"


def test_owner_whose_key_was_altered_has_not_signed_itself(made: MadePlatform) -> None:
    altered = bytearray(made.oca.to_bytes())
    altered[0x40] ^= 1
    chain = [certs.parse_sev_certificate(bytes(altered)) if one is made.oca else one for one in made.chain]
    assert refused(chain, made.root) == "bad-signature"


def test_embedded_keys_are_those_of_the_published_certificates(read: Read) -> None:
    prefixes = {"Naples": "trust/naples", "Rome": "trust/rome", "Milan": "milan", "Turin": "turin"}
    for root in AMD_ROOTS:
        if root.product not in prefixes:
            continue
        for kind, key in (("ark", root.ark), ("ask", root.ask)):
            data = read(f"sev/{prefixes[root.product]}.{kind}.cert")
            assert key is not None
            assert key.is_key_of(certs.parse_ca_certificate(data))
            assert hashlib.sha256(data).hexdigest() == key.certificate_sha256


def test_every_product_has_a_root_of_its_own() -> None:
    assert [root.product for root in AMD_ROOTS] == ["Naples", "Rome", "Milan", "Genoa", "Turin"]
    moduli = [key.modulus for root in AMD_ROOTS for key in (root.ark, root.ask) if key is not None]
    assert len(set(moduli)) == 10
    assert not any(root.simulated for root in AMD_ROOTS)


def test_root_without_key_id_is_matched_by_its_key(made: MadePlatform) -> None:
    anonymous = Root("Test", replace(CaKey.of(made.ark), key_id=None))
    assert authenticate(made.chain, NOW, [anonymous]).value.product == "Test"


# ATTESTATION reports.


def report_of(made: MadePlatform, mnonce: bytes = b"n" * 16, **changes: int) -> AttestationReport:
    body = mnonce + b"d" * 32 + struct.pack("<I", 0x5)
    slot = make.ecdsa_slot(made.pek_key, body, make.PEK)
    numbers = {"usage": make.PEK, "algorithm": make.ECDSA_256, "reserved": 0} | changes
    data = body + struct.pack("<III", numbers["usage"], numbers["algorithm"], numbers["reserved"]) + slot[8:152]
    assert AttestationReport.from_bytes(data).to_bytes() == data
    return AttestationReport.from_bytes(data)


def test_attestation_report_of_this_platform_is_authentic(made: MadePlatform, platform: Authentic[Platform]) -> None:
    verified = authenticate_report(report_of(made), platform, b"n" * 16, NOW)
    assert verified.value.launch_digest == b"d" * 32
    assert verified.value.policy.es_required
    assert verified.proof.signer == "PEK"


def test_attestation_report_is_refused_when_anything_is_off(made: MadePlatform, platform: Authentic[Platform]) -> None:
    genuine = report_of(made)
    other = report_of(make_platform("test"))
    for report in (
        other,
        report_of(made, usage=make.CEK),
        report_of(made, algorithm=make.ECDSA_384),
        replace(genuine, launch_digest=b"e" * 32),
        replace(genuine, signature=genuine.signature[72:] + genuine.signature[:72]),
    ):
        with pytest.raises(AuthenticityError) as caught:
            authenticate_report(report, platform, b"n" * 16, NOW)
        assert caught.value.code == "bad-signature"
    with pytest.raises(MalformedError):
        authenticate_report(report_of(made, reserved=1), platform, b"n" * 16, NOW)
    with pytest.raises(AuthenticityError) as caught:
        authenticate_report(genuine, platform, b"m" * 16, NOW)
    assert caught.value.code == "nonce-mismatch"
    with pytest.raises(MalformedError):
        AttestationReport.from_bytes(genuine.to_bytes() + b"\0")
