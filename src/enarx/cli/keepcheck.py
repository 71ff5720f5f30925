"""What the demo's client asks of the certificate that a Keep shows, in ``enarx.tenant.client``'s words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from enarx.evidence.appraisal import Rule
from enarx.evidence.snp import Policy as GuestPolicy
from enarx.evidence.snp.roots import Root
from enarx.tenant.client import Expectation, verify
from enarx.tenant.policy import Policy

if TYPE_CHECKING:
    from enarx.trust.model import Kind, Stack


@dataclass(frozen=True, slots=True)
class KeepFacts:
    """``simulated``: whether no hardware stands behind the evidence. ``rules`` are all checks of it."""

    simulated: bool
    rules: tuple[Rule, ...]

    def stack(self, subject: str, certificate: bytes, roots: tuple[Root, ...], now: datetime, kind: Kind) -> Stack:
        """Who has to be trusted for the Keep at ``subject``, which has shown this certificate (DER)."""
        from enarx.tenant.keepchain import read_chain
        from enarx.tenant.keepevidence import authenticated
        from enarx.trust.keep import Judged, from_evidence

        expected = Expectation(Policy(digest=b"", text="", simulated_roots=roots))
        authentic = authenticated(read_chain((certificate,)), expected, now, [])
        return from_evidence(Judged(subject, now, self.rules, authentic, appraised=True, kind=kind))


def check_keep(certificate: bytes, guest: GuestPolicy, roots: tuple[Root, ...], now: datetime) -> KeepFacts:
    """Check a Keep's certificate (DER), whose chain the caller has verified: evidence, key, manifest.

    ``guest`` states the manifest's digest as host_data; ``roots`` are a simulator's. Raises EvidenceError.
    """
    policy = Policy(digest=b"", text="", simulated=guest, simulated_roots=roots)
    verdict = verify((certificate,), None, Expectation(policy), now)
    if verdict.error is not None:
        raise verdict.error
    return KeepFacts(verdict.simulated, verdict.rules)
