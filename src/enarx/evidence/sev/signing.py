"""SEV signatures: from the numbers in a certificate to a verification, and from a private key to a signature slot.

Source: SEV API 55766, appendix C.4 (RSA: PSS with a salt as long as the digest; ECDSA: r and s; both little-endian)
and appendix B.1 (ARK and ASK: SHA-256 with 2,048-bit keys, SHA-384 with 4,096-bit keys).
"""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from enarx.errors import MalformedError
from enarx.evidence import signature as generic
from enarx.evidence.sev.certs import (
    COMPONENT_BYTES,
    SIGNATURE_BYTES,
    SevCertificate,
    Signature,
    ecc_key_blob,
)
from enarx.evidence.sev.kinds import RSA_ALGORITHMS, Algorithm, Curve, Usage
from enarx.evidence.sev.roots import CaKey

SCHEMES: dict[Algorithm, generic.Scheme] = {
    Algorithm.RSA_SHA256: generic.Scheme.RSA_PSS_SHA256,
    Algorithm.RSA_SHA384: generic.Scheme.RSA_PSS_SHA384,
    Algorithm.ECDSA_SHA256: generic.Scheme.ECDSA_SHA256,
    Algorithm.ECDSA_SHA384: generic.Scheme.ECDSA_SHA384,
}
_DIGESTS: dict[Algorithm, hashes.HashAlgorithm] = {
    Algorithm.ECDSA_SHA256: hashes.SHA256(),
    Algorithm.ECDSA_SHA384: hashes.SHA384(),
}
_CURVES: dict[Curve, generic.Curve] = {Curve.P256: generic.Curve.P256, Curve.P384: generic.Curve.P384}
_LIBRARY_CURVES: dict[Curve, ec.EllipticCurve] = {Curve.P256: ec.SECP256R1(), Curve.P384: ec.SECP384R1()}


def ca_algorithm(key: CaKey) -> Algorithm:
    """The only algorithm an ARK or ASK of this size signs with."""
    return Algorithm.RSA_SHA256 if key.modulus_bits == 2048 else Algorithm.RSA_SHA384


def ca_verifying_key(key: CaKey, verifier: generic.Verifier) -> generic.VerifyingKey:
    """The ARK or ASK key, ready to verify big-endian signatures."""
    return verifier.load(generic.RsaKey(key.modulus, key.exponent), SCHEMES[ca_algorithm(key)])


def verifying_key(certificate: SevCertificate, verifier: generic.Verifier) -> generic.VerifyingKey:
    """The key of an OCA, PEK or CEK certificate, ready to verify; MalformedError when it is no signing key."""
    scheme = SCHEMES.get(certificate.algorithm)
    if scheme is None:
        raise MalformedError(
            f"the {certificate.usage.name} key is for {certificate.algorithm.name}, which does not sign",
            code="unsupported-algorithm",
            hint="the certificate is not one that SEV firmware issues",
        )
    if certificate.algorithm in RSA_ALGORITHMS:
        key = certificate.rsa_key
        return verifier.load(generic.RsaKey(key.modulus, key.exponent), scheme)
    return verifier.load(_ec_key(certificate), scheme)


def ecdh_key(certificate: SevCertificate) -> ec.EllipticCurvePublicKey:
    """The key of a PDH certificate as a point that is on its curve; MalformedError when it is not."""
    point = certificate.ecc_key
    curve = _LIBRARY_CURVES[_curve(point.curve)]
    try:
        return ec.EllipticCurvePublicNumbers(point.x, point.y, curve).public_key()
    except ValueError as error:
        raise MalformedError(
            f"the {certificate.usage.name} key is not a point on {curve.name}",
            code="key-invalid",
            hint="agreeing on a secret with such a key would leak the other key",
        ) from error


def octets(slot: Signature, modulus_bits: int) -> bytes:
    """A slot's signature as ``Verifier`` takes it: DER for ECDSA, big-endian octets for RSA."""
    if slot.algorithm in RSA_ALGORITHMS:
        return slot.value[: modulus_bits // 8][::-1]
    return ecdsa_octets(slot.r, slot.s)


def ecdsa_octets(r: int, s: int) -> bytes:
    """r and s as a DER sequence."""
    return encode_dss_signature(r, s)


def key_blob(key: ec.EllipticCurvePublicKey) -> bytes:
    """The 1,028-byte public key field for a P-256 or P-384 key; MalformedError for another curve."""
    numbers = key.public_numbers()
    return ecc_key_blob(curve_of(key), numbers.x, numbers.y)


def curve_of(key: ec.EllipticCurvePublicKey) -> Curve:
    """P-256 or P-384; MalformedError for another curve."""
    for curve, library_curve in _LIBRARY_CURVES.items():
        if key.curve.name == library_curve.name:
            return curve
    raise MalformedError(
        f"SEV has no curve {key.curve.name}", code="unsupported-algorithm", hint="use a P-384 or P-256 key"
    )


def sign(body: bytes, key: ec.EllipticCurvePrivateKey, usage: Usage, algorithm: Algorithm) -> Signature:
    """Sign a certificate body with ECDSA; ``usage`` and ``algorithm`` are those of the signing key."""
    digest = _DIGESTS.get(algorithm)
    if digest is None:
        raise MalformedError(
            f"{algorithm.name} is not an ECDSA algorithm",
            code="unsupported-algorithm",
            hint="use ECDSA_SHA256 or ECDSA_SHA384",
        )
    r, s = decode_dss_signature(key.sign(body, ec.ECDSA(digest)))
    value = r.to_bytes(COMPONENT_BYTES, "little") + s.to_bytes(COMPONENT_BYTES, "little")
    return Signature(usage, algorithm, value.ljust(SIGNATURE_BYTES, b"\0"))


def _ec_key(certificate: SevCertificate) -> generic.EcKey:
    point = certificate.ecc_key
    return generic.EcKey(_CURVES[_curve(point.curve)], point.x, point.y)


def _curve(number: int) -> Curve:
    try:
        return Curve(number)
    except ValueError:
        raise MalformedError(
            f"curve {number} is not defined", code="unsupported-algorithm", hint="known are 1 (P-256) and 2 (P-384)"
        ) from None
