"""Roots of simulated SEV platforms, for policies that name one. Nothing here is found or assumed: bytes are given.

SEV certificates have no names. What sets a simulator's root apart is its key id, which begins with ``SIMULATED``, and
the product that it is given here: no key of AMD's can be named as simulated, nor the reverse.
"""

from __future__ import annotations

from typing import Final

from enarx.errors import ConfigError, EvidenceError
from enarx.evidence.sev.authority import authority
from enarx.evidence.sev.certs import CaCertificate, parse_chain
from enarx.evidence.sev.kinds import Usage
from enarx.evidence.sev.roots import CaKey, Root
from enarx.evidence.signature import PYCA, Verifier

MARK: Final = b"SIMULATED"
"""What the key id of a simulator's ARK begins with; seven bytes that no other has follow."""
PRODUCT: Final = "SIMULATED"
"""The product of every simulated platform."""


def simulated_root(data: bytes, *, verifier: Verifier = PYCA) -> Root:
    """The root in ``data``: ARK and ASK, as ``enarx simulator sev-root`` writes them.

    ConfigError (``simulated-root``) when it is anything else, or does not verify.
    """
    try:
        given = {one.usage: one for one in parse_chain(data)}
        ark, ask = given.get(Usage.ARK), given.get(Usage.ASK)
        if len(given) != 2 or not isinstance(ark, CaCertificate) or not isinstance(ask, CaCertificate):
            raise _refused("it does not hold one ARK and one ASK")
        if not ark.key_id.startswith(MARK) or not ark.signature:
            raise _refused("its ARK is no simulator's")
        root = Root(PRODUCT, CaKey.of(ark), CaKey.of(ask), simulated=True)
        authority(ark, ask, None, (root,), verifier)
    except EvidenceError as error:
        raise _refused(error.message) from error
    return root


def _refused(what: str) -> ConfigError:
    return ConfigError(
        f"not the root of a simulated SEV platform: {what}",
        code="simulated-root",
        hint="name what `enarx simulator sev-root` writes on the machine that runs the simulated Keeps",
    )
