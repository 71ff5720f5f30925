"""VCEK and VLEK certificates: which chip or provider, which product, which TCB (57230 revision 0.53, tables 8 to 10).

Reading only, except that an extension which the specification promises and which is absent or malformed is an error:
a check that has nothing to compare with must not pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from enarx.errors import AuthenticityError
from enarx.evidence import der
from enarx.evidence.certificate import Certificate
from enarx.evidence.name import common_name
from enarx.evidence.signature import Curve, EcKey
from enarx.evidence.snp.product import Product, product_named
from enarx.evidence.snp.tcb import Tcb

_ARC = "1.3.6.1.4.1.3704.1"
OID_STRUCT_VERSION = f"{_ARC}.1"
OID_PRODUCT_NAME = f"{_ARC}.2"
OID_HARDWARE_ID = f"{_ARC}.4"
OID_CSP_ID = f"{_ARC}.5"
_CLASSIC_SPL = (1, 2, 4, 5, 6, 7, 3, 8)
_TURIN_SPL = (9, 1, 2, 3, 5, 6, 7, 8)
"""The last arc of the extension that holds each byte of TCB_VERSION: blSPL 1, teeSPL 2, snpSPL 3, spl4..spl7 4..7,
ucodeSPL 8, fmcSPL 9."""
CSP_ID_MAX_BYTES = 256
"""Longest provider name that is read (bytes)."""


class Kind(Enum):
    """The key that signed: of one chip, or loaded for one provider. The value is the certificate's common name."""

    VCEK = "SEV-VCEK"
    VLEK = "SEV-VLEK"


@dataclass(frozen=True, slots=True)
class Endorsement:
    """What a VCEK or VLEK certificate says about the platform that holds its key.

    ``tcb`` has the bytes in the order of the report; ``hardware_id`` (8 bytes on Turin, else 64) is None for a VLEK,
    ``csp_id`` is empty for a VCEK.
    """

    kind: Kind
    product: Product
    product_name: str
    tcb: Tcb
    hardware_id: bytes | None
    csp_id: str
    key: EcKey


def tcb_oids(product: Product) -> tuple[str, ...]:
    """The extensions that hold bytes 0 to 7 of the TCB for a product."""
    arcs = _TURIN_SPL if product is Product.TURIN else _CLASSIC_SPL
    return tuple(f"{_ARC}.3.{arc}" for arc in arcs)


def read_endorsement(certificate: Certificate) -> Endorsement:
    """Read the AMD extensions of a VCEK or VLEK certificate; AuthenticityError when one is absent or malformed."""
    name = common_name(certificate.subject)
    try:
        kind = Kind(name)
    except ValueError as error:
        raise AuthenticityError(
            f"a certificate for {name!r} is no endorsement of a platform",
            code="untrusted-chain",
            hint="give the VCEK or VLEK certificate, and the ASK and ARK as its chain",
        ) from error
    if not isinstance(certificate.key, EcKey) or certificate.key.curve is not Curve.P384:
        raise AuthenticityError(
            f"the key of {name} is not on P-384", code="unsupported-algorithm", hint="AMD issues P-384 keys only"
        )
    _integer(certificate, OID_STRUCT_VERSION)
    product_name = _text(certificate, OID_PRODUCT_NAME)
    product = product_named(product_name)
    if product is None:
        raise AuthenticityError(
            f"product {product_name!r} is not known", code="unsupported-product", hint="update this verifier"
        )
    raw = bytes(_integer(certificate, oid) for oid in tcb_oids(product))
    return Endorsement(
        kind=kind,
        product=product,
        product_name=product_name,
        tcb=Tcb(raw, product.facts.components),
        hardware_id=_hardware_id(certificate, product) if kind is Kind.VCEK else None,
        csp_id=_text(certificate, OID_CSP_ID) if kind is Kind.VLEK else "",
        key=certificate.key,
    )


def _value(certificate: Certificate, oid: str) -> bytes:
    extension = certificate.extensions.get(_ENCODED[oid])
    if extension is None:
        raise AuthenticityError(
            f"{common_name(certificate.subject)} lacks the extension {oid}",
            code="missing-extension",
            hint="without it there is nothing to compare the report with; fetch the certificate from AMD again",
        )
    return extension.value


def _malformed(oid: str) -> AuthenticityError:
    return AuthenticityError(
        f"the extension {oid} has no readable value", code="malformed-extension", hint="fetch the certificate again"
    )


def _integer(certificate: Certificate, oid: str) -> int:
    value = _value(certificate, oid)
    number = der.integer(value, der.only(value, der.INTEGER, 8))
    if not 0 <= number <= 0xFF:
        raise _malformed(oid)
    return number


def _text(certificate: Certificate, oid: str) -> str:
    value = _value(certificate, oid)
    whole = der.only(value, value[0] if value else 0, CSP_ID_MAX_BYTES)
    text = value[whole.start : whole.stop]
    if whole.tag not in (der.IA5_STRING, der.UTF8_STRING, der.PRINTABLE_STRING):
        raise _malformed(oid)
    if not text or not all(0x20 <= octet < 0x7F for octet in text):
        raise _malformed(oid)
    return text.decode("ascii")


def _hardware_id(certificate: Certificate, product: Product) -> bytes:
    value = _value(certificate, OID_HARDWARE_ID)
    size = product.facts.hardware_id_bytes
    if len(value) == size + 2 and value[0] == der.OCTET_STRING and value[1] == size:
        value = value[2:]  # 57230 says OCTET STRING; certificates in the field mostly hold the bare octets
    if len(value) != size:
        raise _malformed(OID_HARDWARE_ID)
    return value


_ENCODED = {
    oid: der.encode_oid(oid)
    for oid in (
        OID_STRUCT_VERSION,
        OID_PRODUCT_NAME,
        OID_HARDWARE_ID,
        OID_CSP_ID,
        *(f"{_ARC}.3.{arc}" for arc in range(1, 10)),
    )
}
