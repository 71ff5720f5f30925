"""Roots of simulators, for policies that name one. Nothing here is found or assumed: the certificates are given.

A simulator signs under a root that its installation made for itself, and that root says what it is: its common name
begins with ``SIMULATED ARK-`` and the product. No other certificate is read as a simulator's root, so that a vendor's
root cannot be named as a simulated one nor the reverse, and no two roots of one ``Trust`` have the same name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from enarx.errors import ConfigError, EvidenceError
from enarx.evidence.bundle import split_certificates
from enarx.evidence.certificate import Certificate, parse_certificate
from enarx.evidence.name import common_name
from enarx.evidence.signature import PYCA, Verifier
from enarx.evidence.snp.product import Product
from enarx.evidence.snp.roots import Root, root_from_certificates

MARK: Final = "SIMULATED"
"""The word with which the common names of a simulator's root and intermediates begin."""
ROOTS_MAX: Final = 8
"""Simulated roots that one policy may name (count)."""

_ROOT_NAME: Final = re.compile(rf"{MARK} ARK-([A-Za-z]+) [0-9a-f]{{16}}")


def root_name(product: Product, installation: str) -> str:
    """The common name of a simulator's root; ``installation`` is 16 hexadecimal digits that no other one has."""
    return f"{MARK} ARK-{product.value} {installation}"


def product_of_root(certificate: Certificate) -> Product | None:
    """The product that a simulator's root is for; None when this is no simulator's root."""
    found = _ROOT_NAME.fullmatch(common_name(certificate.subject))
    if found is None or certificate.issuer != certificate.subject:
        return None
    return next((product for product in Product if product.value == found.group(1)), None)


@lru_cache(maxsize=ROOTS_MAX)  # a policy is read for every bundle that is judged, and names the same simulator
def simulated_roots(data: bytes, *, verifier: Verifier = PYCA) -> tuple[Root, ...]:
    """The roots in ``data``: what ``enarx simulator root`` prints, PEM or DER, of one or more simulators.

    The intermediate (ASK) of each becomes part of it, so that a VCEK verifies with no chain at hand. Use them as
    ``Trust((*AMD_ROOTS, *simulated_roots(pem)))`` with a policy that says ``simulated``. ConfigError
    (``simulated-root``) when a certificate is neither a simulator's root nor issued by one of them, when one does not
    verify, when a root lacks its intermediate, and when a name appears twice.
    """
    try:
        given = [parse_certificate(encoded) for encoded in split_certificates(data)]
    except EvidenceError as error:
        raise _refused(f"it cannot be read: {error.message}") from error
    tops: dict[bytes, Certificate] = {}
    below: dict[bytes, list[bytes]] = {}
    for certificate in given:
        if certificate.issuer != certificate.subject:
            below.setdefault(certificate.issuer, []).append(certificate.encoded)
        elif product_of_root(certificate) is None:
            raise _refused(f"{common_name(certificate.subject)!r} is no root of a simulator")
        elif certificate.subject in tops:
            raise _refused(f"{common_name(certificate.subject)!r} is there twice")
        else:
            tops[certificate.subject] = certificate
    if not 1 <= len(tops) <= ROOTS_MAX:
        raise _refused(f"{len(tops)} roots of simulators, where 1 to {ROOTS_MAX} are expected")
    if below.keys() - tops.keys():
        raise _refused("a certificate that none of the roots beside it has issued")
    return tuple(_root(top, below.get(subject, []), verifier) for subject, top in tops.items())


def _root(top: Certificate, intermediates: list[bytes], verifier: Verifier) -> Root:
    product = product_of_root(top)
    assert product is not None  # noqa: S101 - checked by the caller
    try:
        return root_from_certificates(product, top.encoded, intermediates, simulated=True, verifier=verifier)
    except EvidenceError as error:
        raise _refused(error.message) from error


def _refused(what: str) -> ConfigError:
    return ConfigError(
        f"not the root of a simulator: {what}",
        code="simulated-root",
        hint="name what `enarx simulator root` prints on the machine that runs the simulated Keeps",
    )
