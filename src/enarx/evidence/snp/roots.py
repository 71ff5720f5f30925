"""Roots of trust for SEV-SNP: AMD's by default, replaceable by anybody's.

A root is an ARK together with the intermediates that it is known to have certified, so that a VCEK or VLEK verifies
with no chain at hand, and a chain that is given is checked against something that the giver did not choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from enarx.errors import AuthenticityError
from enarx.evidence import der
from enarx.evidence.certificate import parse_certificate
from enarx.evidence.chain import Authority, authority, check_issued
from enarx.evidence.name import encode_name
from enarx.evidence.signature import PYCA, RsaKey, Scheme, Verifier
from enarx.evidence.snp import rootfacts
from enarx.evidence.snp.product import Product

CHAIN_SCHEME = Scheme.RSA_PSS_SHA384
"""How ARK, ASK and ASVK sign (57230 chapter 3)."""
_EXPONENT = 65537


@dataclass(frozen=True, slots=True)
class Root:
    """An ARK for one product, its known intermediates (ASK, ASVK), and the serial numbers it has revoked for good.

    ``simulated`` marks the root of a simulator: everything that shows evidence under it must say so.
    """

    product: Product
    ark: Authority
    intermediates: tuple[Authority, ...]
    revoked: Mapping[int, int] = field(default_factory=dict)
    simulated: bool = False


def root_from_certificates(
    product: Product,
    ark: bytes,
    intermediates: Iterable[bytes],
    *,
    simulated: bool = False,
    verifier: Verifier = PYCA,
) -> Root:
    """A root made of DER certificates that the caller has decided to trust.

    The ARK must be self-signed and must have signed each intermediate; AuthenticityError or MalformedError otherwise.
    """
    certificate = parse_certificate(ark)
    top = replace(authority(certificate, CHAIN_SCHEME), signs_crls=True)
    check_issued(certificate, top.name, top, verifier)
    known: list[Authority] = []
    for encoded in intermediates:
        below = parse_certificate(encoded)
        made = authority(below, CHAIN_SCHEME)
        check_issued(below, made.name, top, verifier, below=1)
        known.append(made)
    if not known:
        raise AuthenticityError(
            "a root needs at least one intermediate", code="untrusted-chain", hint="give its ASK, ASVK or both"
        )
    return Root(product, top, tuple(known), simulated=simulated)


def amd_name(common_name: str) -> bytes:
    """The encoded distinguished name that AMD gives to ``common_name`` (57230 table 4)."""
    parts = (
        ("2.5.4.11", der.UTF8_STRING, "Engineering"),
        ("2.5.4.6", der.PRINTABLE_STRING, "US"),
        ("2.5.4.7", der.UTF8_STRING, "Santa Clara"),
        ("2.5.4.8", der.UTF8_STRING, "CA"),
        ("2.5.4.10", der.UTF8_STRING, "Advanced Micro Devices"),
        ("2.5.4.3", der.UTF8_STRING, common_name),
    )
    return encode_name(parts)


def _authority(fact: rootfacts.Fact, *, root: bool) -> Authority:
    return Authority(
        name=fact.name,
        subject=amd_name(fact.name),
        serial=fact.serial,
        not_before=fact.not_before,
        not_after=fact.not_after,
        key=RsaKey(int(fact.modulus, 16), _EXPONENT),
        scheme=CHAIN_SCHEME,
        sha256=bytes.fromhex(fact.sha256),
        signs_crls=root,
        path_length=None if root else 0,
    )


def _root(product: Product, ark: rootfacts.Fact, *intermediates: rootfacts.Fact) -> Root:
    return Root(
        product,
        _authority(ark, root=True),
        tuple(_authority(fact, root=False) for fact in intermediates),
        MappingProxyType(rootfacts.REVOKED.get(ark.name, {})),
    )


AMD_ROOTS = (
    _root(Product.MILAN, rootfacts.MILAN_ARK, rootfacts.MILAN_ASK, rootfacts.MILAN_ASVK),
    _root(Product.GENOA, rootfacts.GENOA_ARK, rootfacts.GENOA_ASK, rootfacts.GENOA_ASVK),
    _root(Product.TURIN, rootfacts.TURIN_ARK, rootfacts.TURIN_ASK, rootfacts.TURIN_ASVK),
)
"""The roots that AMD's genuine processors chain to."""
