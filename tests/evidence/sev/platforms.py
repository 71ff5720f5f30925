"""Makes complete SEV platforms: root, signing key, chip key, owner and platform keys, as AMD and a firmware would.

Written against the specification's layout and apart from the code under test where signatures are made: the
certificates' bytes come from ``struct`` and the keys from ``cryptography``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from enarx.evidence.sev.certs import CaCertificate, Certificate, SevCertificate, parse_ca_certificate
from enarx.evidence.sev.certs import parse_sev_certificate as parse_sev
from enarx.evidence.sev.roots import CaKey, Root

ARK, ASK = 0x00, 0x13
UNUSED, OCA, PEK, PDH, CEK = 0x1000, 0x1001, 0x1002, 0x1003, 0x1004
RSA_256, ECDSA_256, ECDH_256, RSA_384, ECDSA_384 = 0x1, 0x2, 0x3, 0x101, 0x102
NO_SIGNATURE = struct.pack("<II512x", UNUSED, 0)


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """One RSA key per name, as they are slow to make."""
    return rsa.generate_private_key(65537, bits)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP384R1())


def pss(key: rsa.RSAPrivateKey, message: bytes) -> bytes:
    """A little-endian PSS signature with the digest that goes with the key size."""
    digest = hashes.SHA256() if key.key_size == 2048 else hashes.SHA384()
    return key.sign(message, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)[::-1]


def ca_certificate(
    key: rsa.RSAPrivateKey, key_id: bytes, usage: int, signer: rsa.RSAPrivateKey, signer_id: bytes
) -> CaCertificate:
    size = key.key_size // 8
    numbers = key.public_key().public_numbers()
    body = struct.pack("<I16s16sI16xII", 1, key_id, signer_id, usage, size * 8, size * 8)
    body += numbers.e.to_bytes(size, "little") + numbers.n.to_bytes(size, "little")
    return parse_ca_certificate(body + pss(signer, body))


def sev_body(key: ec.EllipticCurvePrivateKey, usage: int, algorithm: int, api: tuple[int, int] = (1, 51)) -> bytes:
    numbers = key.public_key().public_numbers()
    curve = {"secp256r1": 1, "secp384r1": 2}[key.curve.name]
    head = struct.pack("<IBB2xIII", 1, *api, usage, algorithm, curve)
    point = numbers.x.to_bytes(72, "little") + numbers.y.to_bytes(72, "little")
    return (head + point).ljust(0x414, b"\0")


def ecdsa_slot(
    key: ec.EllipticCurvePrivateKey, body: bytes, usage: int, algorithm: int = ECDSA_256, swap: bool = False
) -> bytes:
    digest = hashes.SHA256() if algorithm == ECDSA_256 else hashes.SHA384()
    r, s = decode_dss_signature(key.sign(body, ec.ECDSA(digest)))
    first, second = (s, r) if swap else (r, s)
    value = first.to_bytes(72, "little") + second.to_bytes(72, "little")
    return struct.pack("<II512s", usage, algorithm, value)


def rsa_slot(key: rsa.RSAPrivateKey, body: bytes, usage: int = ASK) -> bytes:
    algorithm = RSA_256 if key.key_size == 2048 else RSA_384
    return struct.pack("<II512s", usage, algorithm, pss(key, body))


@dataclass
class MadePlatform:
    """The keys and certificates of one platform."""

    root: Root
    ark: CaCertificate
    ask: CaCertificate
    cek: SevCertificate
    oca: SevCertificate
    pek: SevCertificate
    pdh: SevCertificate
    ask_key: rsa.RSAPrivateKey = field(repr=False)
    cek_key: ec.EllipticCurvePrivateKey = field(repr=False)
    oca_key: ec.EllipticCurvePrivateKey = field(repr=False)
    pek_key: ec.EllipticCurvePrivateKey = field(repr=False)
    pdh_key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def chain(self) -> tuple[Certificate, ...]:
        return (self.pdh, self.pek, self.oca, self.cek, self.ask, self.ark)


def make_platform(
    name: str = "test", bits: int = 2048, curve: ec.EllipticCurve | None = None, algorithm: int = ECDSA_256
) -> MadePlatform:
    """A platform whose chain verifies up to ``root``; PEK signatures in the order OCA, CEK."""
    ark_key, ask_key = rsa_key(f"{name}-ark", bits), rsa_key(f"{name}-ask", bits)
    ark_id, ask_id = f"{name}-ark".encode().ljust(16, b"\1"), f"{name}-ask".encode().ljust(16, b"\1")
    ark = ca_certificate(ark_key, ark_id, ARK, ark_key, ark_id)
    ask = ca_certificate(ask_key, ask_id, ASK, ark_key, ark_id)
    cek_key, oca_key, pek_key, pdh_key = (ec_key(curve) for _ in range(4))
    body = sev_body(cek_key, CEK, algorithm)
    cek = parse_sev(body + rsa_slot(ask_key, body) + NO_SIGNATURE)
    body = sev_body(oca_key, OCA, algorithm)
    oca = parse_sev(body + ecdsa_slot(oca_key, body, OCA, algorithm) + NO_SIGNATURE)
    body = sev_body(pek_key, PEK, algorithm)
    pek = parse_sev(body + ecdsa_slot(oca_key, body, OCA, algorithm) + ecdsa_slot(cek_key, body, CEK, algorithm))
    body = sev_body(pdh_key, PDH, ECDH_256)
    pdh = parse_sev(body + ecdsa_slot(pek_key, body, PEK, algorithm) + NO_SIGNATURE)
    root = Root("Test", CaKey.of(ark), CaKey.of(ask), simulated=True)
    return MadePlatform(root, ark, ask, cek, oca, pek, pdh, ask_key, cek_key, oca_key, pek_key, pdh_key)
