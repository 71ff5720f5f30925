"""The trust stack of a Keep that holds a certificate: judged anew, by the policy in force, while the page is made."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from enarx import __version__
from enarx.errors import EvidenceError
from enarx.tenant.client import Expectation, verify
from enarx.tenant.keepchain import read_chain
from enarx.tenant.keepevidence import authenticated
from enarx.tenant.policy import Policy
from enarx.tenant.steward.ca import CertificateAuthority
from enarx.tenant.steward.record import Kept
from enarx.trust.keep import Judged, from_evidence
from enarx.trust.model import Fact, Source, Stack


def stack_of(kept: Kept, subject: str, policy: Policy, authority: CertificateAuthority, now: datetime) -> Stack:
    """The stack of the Keep whose certificate and evidence were kept, as of ``now``.

    What the policy does not accept, any more or with what was kept, is a stack that says so.
    """
    shown = (kept.certificate, authority.der)
    expected = Expectation(policy, authority=authority.spki_digest, chain=kept.chain, crls=kept.crls)
    verdict = verify(shown, None, expected, now)
    case = Judged(subject, now, verdict.rules, error=verdict.error, appraised=True)
    verifier = [("fact.verifier", f"enarx {__version__}"), ("fact.policy", f"sha256:{policy.digest.hex()}")]
    try:
        case = replace(case, authentic=authenticated(read_chain(shown), expected, now, []))
    except EvidenceError as error:
        case = replace(case, error=verdict.error or error)
    if case.authentic is not None:
        proof = case.authentic.proof
        verifier.append(("fact.revocation", "yes" if proof.revocation_checked else "no"))
        verifier.append(("fact.not-after", proof.not_after.isoformat()))
    facts = tuple(Fact(name, value, Source.VERIFIER) for name, value in verifier)
    return from_evidence(replace(case, verifier=facts))
