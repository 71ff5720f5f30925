"""Signature algorithms as certificates and revocation lists name them (RFC 4055, RFC 5758)."""

from __future__ import annotations

from itertools import product

from enarx.errors import MalformedError
from enarx.evidence import der
from enarx.evidence.signature import Scheme

_OID_RSASSA_PSS = der.encode_oid("1.2.840.113549.1.1.10")
_OID_MGF1 = der.encode_oid("1.2.840.113549.1.1.8")
_ECDSA = {
    der.encode_oid("1.2.840.10045.4.3.2"): Scheme.ECDSA_SHA256,
    der.encode_oid("1.2.840.10045.4.3.3"): Scheme.ECDSA_SHA384,
    der.encode_oid("1.2.840.10045.4.3.4"): Scheme.ECDSA_SHA512,
}
_PSS = {
    der.encode_oid("2.16.840.1.101.3.4.2.1"): (Scheme.RSA_PSS_SHA256, 32),
    der.encode_oid("2.16.840.1.101.3.4.2.2"): (Scheme.RSA_PSS_SHA384, 48),
    der.encode_oid("2.16.840.1.101.3.4.2.3"): (Scheme.RSA_PSS_SHA512, 64),
}


def signature_scheme(data: bytes, algorithm: der.Element) -> Scheme:
    """The scheme that an AlgorithmIdentifier names; MalformedError (``unsupported-algorithm``) for any other."""
    name = der.expect(data, algorithm.start, algorithm.stop, der.OID)
    identifier = der.oid(data, name)
    if identifier == _OID_RSASSA_PSS:
        parameters = data[name.stop : algorithm.stop]
        scheme = _PSS_PARAMETERS.get(parameters)
        if scheme is not None:
            return scheme
    elif name.stop == algorithm.stop and identifier in _ECDSA:
        return _ECDSA[identifier]
    raise MalformedError(
        f"signature algorithm {der.dotted_oid(identifier)} or its parameters are not supported",
        code="unsupported-algorithm",
        hint="expected RSASSA-PSS with MGF1 and a salt as long as the digest, or ECDSA",
    )


def _pss_parameters() -> dict[bytes, Scheme]:
    """RSASSA-PSS-params (RFC 4055 3.1) of each accepted scheme, in every way in which they may be written.

    DER leaves a default out; AMD's ARK and ASK certificates spell the trailer field out all the same. The parameters of
    a digest are NULL or absent (RFC 4055 2.1).
    """
    accepted: dict[bytes, Scheme] = {}
    for digest, (scheme, salt) in _PSS.items():
        name = der.encode(der.OID, digest)
        written = [der.encode(der.SEQUENCE, name + null) for null in (b"\x05\x00", b"")]
        for algorithm, inner, trailer in product(written, written, (b"", der.encode(0xA3, der.encode_natural(1)))):
            mask = der.encode(der.SEQUENCE, der.encode(der.OID, _OID_MGF1) + inner)
            size = der.encode(0xA2, der.encode_natural(salt))
            fields = der.encode(0xA0, algorithm) + der.encode(0xA1, mask) + size + trailer
            accepted[der.encode(der.SEQUENCE, fields)] = scheme
    return accepted


_PSS_PARAMETERS = _pss_parameters()
