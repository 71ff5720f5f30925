"""The second of the three types of verification: evidence whose signatures end in an accepted root.

``Authentic[T]`` cannot be built by calling it. Only the ``authenticate.py`` of a technology (and the module that
verifies a SEV launch) calls ``vouch``; a test holds the tree to that. A function that asks for ``Authentic[Report]``
therefore cannot be given a report that nobody verified, neither by mistake nor by a caller in a hurry.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NoReturn, TypeVar, final

from enarx.evidence.appraisal import Rule

T_co = TypeVar("T_co", covariant=True)


_SEAL = object()


@dataclass(frozen=True, slots=True)
class Proof:
    """What the authentication established besides the signature itself.

    ``root`` names the root of trust, ``signer`` the kind of key that signed (``VCEK``), ``product`` the product whose
    chain it was (``Milan``). ``verified_at`` is the time the verifier was given, ``not_after`` the earliest end of
    validity along the chain and the CRLs used. ``revocation_checked`` is true when a fresh CRL covered every
    intermediate certificate. ``simulated`` marks a root that belongs to a simulator.
    """

    technology: str
    root: str
    signer: str
    product: str
    verified_at: datetime
    not_after: datetime
    revocation_checked: bool
    checks: tuple[Rule, ...]
    simulated: bool = False


@final
class Authentic(Generic[T_co]):
    """Evidence that was verified up to a root, with the proof of it. Made by ``authenticate`` only."""

    __slots__ = ("_proof", "_value")

    _value: T_co
    _proof: Proof

    def __init__(self, value: T_co, proof: Proof, *, seal: object = None) -> None:
        if seal is not _SEAL:
            raise TypeError("Authentic is made by authenticate(), not by calling it")
        object.__setattr__(self, "_value", value)
        object.__setattr__(self, "_proof", proof)

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("Authentic cannot be derived from")

    @property
    def value(self) -> T_co:
        """The verified evidence."""
        return self._value

    @property
    def proof(self) -> Proof:
        """Which root, which signer, when, until when, and every check made on the way."""
        return self._proof

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("Authentic is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("Authentic is immutable")

    def __reduce__(self) -> NoReturn:
        raise TypeError("Authentic is not serialised: send the evidence and verify it again")

    def __repr__(self) -> str:
        return f"Authentic({type(self._value).__name__}, root={self._proof.root!r}, signer={self._proof.signer!r})"


V = TypeVar("V")


def vouch(value: V, proof: Proof) -> Authentic[V]:
    """Declare ``value`` verified. For the authenticate modules alone: calling this *is* the verdict."""
    return Authentic(value, proof, seal=_SEAL)
