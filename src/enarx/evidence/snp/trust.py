"""Who is believed, what came along with a report, and chains that were verified before.

A chain that was verified once may be kept by ``Trust`` and is then used again, without its RSA verifications, for
exactly the same bytes and only inside the time in which every part of it is valid.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple, final

from enarx.evidence.appraisal import Rule
from enarx.evidence.signature import PYCA, Verifier, VerifyingKey
from enarx.evidence.snp.endorsement import Endorsement
from enarx.evidence.snp.roots import AMD_ROOTS, Root


@dataclass(frozen=True, slots=True)
class Collateral:
    """What came along with a report: the VCEK or VLEK, perhaps its chain, perhaps revocation lists; all DER.

    With an empty ``chain`` the root's own knowledge of its intermediates is used.
    """

    endorsement: bytes
    chain: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()


class PassedChecks(NamedTuple):
    """What the checks of a report against this chain say when they pass: the same for every report."""

    kind: Rule
    signature: Rule
    tcb: Rule
    chip_id: Rule


@dataclass(frozen=True, slots=True)
class VerifiedChain:
    """A platform's endorsement, verified up to a root. Valid from ``not_before`` to ``not_after``, both included."""

    endorsement: Endorsement
    root: Root
    not_before: int
    not_after: int
    revocation_checked: bool
    verify_report: VerifyingKey
    checks: tuple[Rule, ...]
    passed: PassedChecks


@final
class Trust:
    """Who is believed, with what signatures are verified, and how many verified chains are remembered.

    ``cache_entries`` bounds the memory (chains; the one unused for longest is forgotten first); 0 remembers nothing.
    A chain is found again by the digest of every byte that was given for it, revocation lists included, and used only
    while the earliest of its ends of validity has not passed. Safe to share between threads.
    """

    __slots__ = ("_chains", "_entries", "_lock", "roots", "verifier")

    def __init__(self, roots: Iterable[Root] = AMD_ROOTS, verifier: Verifier = PYCA, *, cache_entries: int = 0) -> None:
        self.roots = tuple(roots)
        self.verifier = verifier
        self._entries = cache_entries
        self._chains: OrderedDict[bytes, VerifiedChain] = OrderedDict()
        self._lock = Lock()

    def recall(self, key: bytes, at: int) -> VerifiedChain | None:
        """The chain remembered under ``key`` if all of it is valid at ``at``."""
        with self._lock:
            chain = self._chains.get(key)
            if chain is None or not chain.not_before <= at <= chain.not_after:
                return None
            self._chains.move_to_end(key)
            return chain

    def remember(self, key: bytes, chain: VerifiedChain) -> None:
        """Keep ``chain``, forgetting the one that was used least recently when there are too many."""
        with self._lock:
            self._chains[key] = chain
            self._chains.move_to_end(key)
            while len(self._chains) > self._entries:
                self._chains.popitem(last=False)

    @property
    def remembers(self) -> bool:
        """Whether this trust keeps verified chains at all."""
        return self._entries > 0


AMD = Trust()
"""AMD's roots, verified with ``cryptography``, nothing remembered."""
