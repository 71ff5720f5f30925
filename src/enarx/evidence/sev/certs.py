"""The two certificate formats of SEV, bytes to frozen dataclass and back, bit for bit.

Source: AMD "Secure Encrypted Virtualization API" (publication 55766, revision 3.24), appendix B.1 (AMD signing key
certificates: ARK and ASK) and appendix C (SEV certificates: OCA, PEK, PDH, CEK). Numbers are little-endian throughout,
those inside keys and signatures included. Nothing is judged here beyond what must hold for the bytes to have a
meaning; reserved bytes are kept as they came and judged by ``authenticate``.

SEV certificate (appendix C.1), 2,084 bytes::

    0x000  u32  version            0x414  u32  sig1 usage     0x61C  u32  sig2 usage
    0x004  u8   api_major          0x418  u32  sig1 algo      0x620  u32  sig2 algo
    0x005  u8   api_minor          0x41C  512  sig1           0x624  512  sig2
    0x006  2    reserved
    0x008  u32  pubkey usage       The signed part is everything before 0x414.
    0x00C  u32  pubkey algo
    0x010  1028 pubkey

AMD signing key certificate (appendix B.1), 832 or 1,600 bytes::

    0x00  u32  version             0x28  16   reserved
    0x04  16   key id              0x38  u32  public exponent size, bits
    0x14  16   certifying key id   0x3C  u32  modulus size, bits
    0x24  u32  key usage           0x40  ..   exponent, modulus, signature
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeAlias

from enarx.errors import MalformedError
from enarx.evidence.sev.kinds import CA_USAGES, PLATFORM_USAGES, Algorithm, Curve, Usage

CERTIFICATE_VERSION = 1

SEV_CERTIFICATE_BYTES = 2084
SEV_BODY_BYTES = 0x414
PUBLIC_KEY_BYTES = 1028
SIGNATURE_BYTES = 512
COMPONENT_BYTES = 72
"""Bytes of one coordinate (Qx, Qy) or signature component (r, s): 576 bits, appendix C.3.2 and C.4.2."""
RSA_FIELD_BYTES = 512

CA_FIXED_BYTES = 64
CA_RESERVED_BYTES = 16
KEY_ID_BYTES = 16
CA_KEY_BITS = (2048, 4096)
CA_CERTIFICATE_BYTES = tuple(CA_FIXED_BYTES + 3 * bits // 8 for bits in CA_KEY_BITS)

MAX_CERTIFICATES = 8
"""Certificates in one file; a complete chain has six."""
MAX_CHAIN_BYTES = MAX_CERTIFICATES * SEV_CERTIFICATE_BYTES

_SEV_HEAD = struct.Struct("<IBB2sII")
_SLOT = struct.Struct(f"<II{SIGNATURE_BYTES}s")
_CA_HEAD = struct.Struct(f"<I{KEY_ID_BYTES}s{KEY_ID_BYTES}sI{CA_RESERVED_BYTES}sII")
_ECC_KEY = struct.Struct(f"<I{COMPONENT_BYTES}s{COMPONENT_BYTES}s")
_RSA_KEY = struct.Struct(f"<I{RSA_FIELD_BYTES}s{RSA_FIELD_BYTES}s")


@dataclass(frozen=True, slots=True)
class EccKey:
    """An ECDSA or ECDH public key as stored (appendix C.3.2): curve number, 72-byte coordinates, 880 reserved bytes."""

    curve: int
    x: int
    y: int
    reserved: bytes


@dataclass(frozen=True, slots=True)
class RsaKey:
    """An RSA public key as stored (appendix C.3.1): modulus size in bits, exponent, modulus."""

    modulus_bits: int
    exponent: int
    modulus: int


@dataclass(frozen=True, slots=True)
class Signature:
    """One of the two signature slots: the signing key's usage and algorithm, and 512 bytes of signature."""

    usage: Usage
    algorithm: Algorithm
    value: bytes

    @property
    def present(self) -> bool:
        """False for an unused slot, which names neither a usage nor an algorithm."""
        return self.usage is not Usage.INVALID or self.algorithm is not Algorithm.INVALID

    @property
    def r(self) -> int:
        """ECDSA component r (appendix C.4.2)."""
        return int.from_bytes(self.value[:COMPONENT_BYTES], "little")

    @property
    def s(self) -> int:
        """ECDSA component s (appendix C.4.2)."""
        return int.from_bytes(self.value[COMPONENT_BYTES : 2 * COMPONENT_BYTES], "little")

    @property
    def ecdsa_reserved(self) -> bytes:
        """What follows r and s in an ECDSA signature; the specification says it must be zero."""
        return self.value[2 * COMPONENT_BYTES :]


UNSIGNED = Signature(Usage.INVALID, Algorithm.INVALID, bytes(SIGNATURE_BYTES))


@dataclass(frozen=True, slots=True)
class SevCertificate:
    """An OCA, PEK, PDH or CEK certificate; ``key_blob`` is the 1,028-byte public key field as stored."""

    api_major: int
    api_minor: int
    usage: Usage
    algorithm: Algorithm
    key_blob: bytes
    signatures: tuple[Signature, Signature] = (UNSIGNED, UNSIGNED)
    reserved: bytes = bytes(2)
    version: int = CERTIFICATE_VERSION

    @property
    def body(self) -> bytes:
        """The signed part: version to public key."""
        head = _SEV_HEAD.pack(self.version, self.api_major, self.api_minor, self.reserved, self.usage, self.algorithm)
        return head + self.key_blob

    def to_bytes(self) -> bytes:
        """The 2,084 bytes this certificate was parsed from, or is to be stored as."""
        slots = b"".join(_SLOT.pack(slot.usage, slot.algorithm, slot.value) for slot in self.signatures)
        return self.body + slots

    @property
    def ecc_key(self) -> EccKey:
        """The public key read as an elliptic-curve key; meaningful for ECDSA and ECDH algorithms."""
        curve, x, y = _ECC_KEY.unpack_from(self.key_blob)
        rest = self.key_blob[_ECC_KEY.size :]
        return EccKey(curve, int.from_bytes(x, "little"), int.from_bytes(y, "little"), rest)

    @property
    def rsa_key(self) -> RsaKey:
        """The public key read as an RSA key; meaningful for RSA algorithms."""
        bits, exponent, modulus = _RSA_KEY.unpack_from(self.key_blob)
        return RsaKey(bits, int.from_bytes(exponent, "little"), int.from_bytes(modulus, "little"))


@dataclass(frozen=True, slots=True)
class CaCertificate:
    """An ARK or ASK certificate in AMD's own format.

    ``signature`` is empty for the Naples ARK in the form that AMD distributed at first, which ends after the modulus.
    """

    key_id: bytes
    certifying_id: bytes
    usage: Usage
    exponent: int
    modulus: int
    modulus_bits: int
    exponent_bits: int
    signature: bytes
    reserved: bytes = bytes(CA_RESERVED_BYTES)
    version: int = CERTIFICATE_VERSION

    @property
    def body(self) -> bytes:
        """The signed part: version to modulus."""
        head = _CA_HEAD.pack(
            self.version,
            self.key_id,
            self.certifying_id,
            self.usage,
            self.reserved,
            self.exponent_bits,
            self.modulus_bits,
        )
        exponent = self.exponent.to_bytes(self.exponent_bits // 8, "little")
        return head + exponent + self.modulus.to_bytes(self.modulus_bits // 8, "little")

    def to_bytes(self) -> bytes:
        """The bytes this certificate was parsed from."""
        return self.body + self.signature


Certificate: TypeAlias = SevCertificate | CaCertificate


def ecc_key_blob(curve: Curve, x: int, y: int) -> bytes:
    """The 1,028-byte public key field for a point (appendix C.3.2), coordinates little-endian, the rest zero."""
    packed = _ECC_KEY.pack(curve, x.to_bytes(COMPONENT_BYTES, "little"), y.to_bytes(COMPONENT_BYTES, "little"))
    return packed.ljust(PUBLIC_KEY_BYTES, b"\0")


def parse_sev_certificate(data: bytes) -> SevCertificate:
    """Parse exactly 2,084 bytes as an OCA, PEK, PDH or CEK certificate; raises MalformedError."""
    if len(data) != SEV_CERTIFICATE_BYTES:
        raise _malformed(f"a SEV certificate has {SEV_CERTIFICATE_BYTES} bytes, this has {len(data)}")
    version, major, minor, reserved, usage, algorithm = _SEV_HEAD.unpack_from(data)
    _require_version(version)
    slots = []
    for offset in (SEV_BODY_BYTES, SEV_BODY_BYTES + _SLOT.size):
        slot_usage, slot_algorithm, value = _SLOT.unpack_from(data, offset)
        slots.append(Signature(_usage(slot_usage), _algorithm(slot_algorithm), value))
    return SevCertificate(
        api_major=major,
        api_minor=minor,
        usage=_usage(usage, PLATFORM_USAGES),
        algorithm=_algorithm(algorithm),
        key_blob=bytes(data[_SEV_HEAD.size : SEV_BODY_BYTES]),
        signatures=(slots[0], slots[1]),
        reserved=reserved,
        version=version,
    )


def parse_ca_certificate(data: bytes) -> CaCertificate:
    """Parse exactly one ARK or ASK certificate (2,048 or 4,096-bit key); raises MalformedError."""
    certificate, used = _take_ca(data)
    if used != len(data):
        raise _malformed(f"{len(data) - used} bytes follow the {certificate.usage.name} certificate")
    return certificate


def parse_chain(data: bytes) -> tuple[Certificate, ...]:
    """Parse certificates of both formats that follow each other in one file, in any order.

    Covers one certificate, the ``cert_chain`` of PDH_CERT_EXPORT (PEK, OCA, CEK), AMD's ``ask_ark`` files, and a
    whole exported chain. At most 8 certificates; raises MalformedError.
    """
    if len(data) > MAX_CHAIN_BYTES:
        raise _malformed(f"{len(data)} bytes is more than the {MAX_CHAIN_BYTES} that a chain can have")
    found: list[Certificate] = []
    rest = bytes(data)
    while rest:
        if len(found) == MAX_CERTIFICATES:
            raise _malformed(f"more than {MAX_CERTIFICATES} certificates in one chain")
        if _looks_like_sev(rest):
            found.append(parse_sev_certificate(rest[:SEV_CERTIFICATE_BYTES]))
            rest = rest[SEV_CERTIFICATE_BYTES:]
        else:
            certificate, used = _take_ca(rest)
            found.append(certificate)
            rest = rest[used:]
    if not found:
        raise _malformed("there is no certificate in an empty file")
    return tuple(found)


def _looks_like_sev(data: bytes) -> bool:
    """A SEV certificate names its usage at offset 8; in the other format a random key id lies there."""
    return len(data) >= _SEV_HEAD.size and _SEV_HEAD.unpack_from(data)[4] in PLATFORM_USAGES


def _take_ca(data: bytes) -> tuple[CaCertificate, int]:
    if len(data) < CA_FIXED_BYTES:
        raise _malformed(f"an AMD CA certificate has at least {CA_FIXED_BYTES} bytes, this has {len(data)}")
    version, key_id, certifying_id, usage, reserved, exponent_bits, modulus_bits = _CA_HEAD.unpack_from(data)
    _require_version(version)
    kind = _usage(usage, CA_USAGES)
    if modulus_bits not in CA_KEY_BITS or exponent_bits != modulus_bits:
        raise _malformed(f"exponent and modulus of {exponent_bits} and {modulus_bits} bits are not defined")
    size = modulus_bits // 8
    signed, whole = CA_FIXED_BYTES + 2 * size, CA_FIXED_BYTES + 3 * size
    end = whole
    if len(data) == signed and kind is Usage.ARK and modulus_bits == CA_KEY_BITS[0]:
        end = signed  # The Naples ARK as first distributed: it stops before its signature.
    if len(data) < end:
        raise _malformed(f"a certificate with a {modulus_bits}-bit key has {whole} bytes, this has {len(data)}")
    certificate = CaCertificate(
        key_id=key_id,
        certifying_id=certifying_id,
        usage=kind,
        exponent=int.from_bytes(data[CA_FIXED_BYTES : CA_FIXED_BYTES + size], "little"),
        modulus=int.from_bytes(data[CA_FIXED_BYTES + size : signed], "little"),
        modulus_bits=modulus_bits,
        exponent_bits=exponent_bits,
        signature=bytes(data[signed:end]),
        reserved=reserved,
        version=version,
    )
    return certificate, end


def _require_version(version: int) -> None:
    if version != CERTIFICATE_VERSION:
        raise _malformed(f"certificate version {version} is not defined; known is {CERTIFICATE_VERSION}")


def _usage(value: int, allowed: frozenset[Usage] | None = None) -> Usage:
    try:
        usage = Usage(value)
    except ValueError:
        raise _malformed(f"key usage {value:#x} is not defined") from None
    if allowed is not None and usage not in allowed:
        names = ", ".join(sorted(item.name for item in allowed))
        raise _malformed(f"a certificate of this format is for {names}, not {usage.name}")
    return usage


def _algorithm(value: int) -> Algorithm:
    try:
        return Algorithm(value)
    except ValueError:
        raise _malformed(f"algorithm {value:#x} is not defined") from None


def _malformed(message: str) -> MalformedError:
    return MalformedError(
        message, code="malformed", hint="export the certificate again (PDH_CERT_EXPORT, or AMD's site)"
    )
