"""AMD's side of a SEV chain: which root and which ASK a platform's CEK hangs on.

ARK and ASK may come with the evidence or not: the embedded keys of ``roots`` hold a given ARK to be one of AMD's, and
stand in for certificates that are absent (SEV API 55766, appendix B.3).
"""

from __future__ import annotations

from collections.abc import Sequence

from enarx.errors import MalformedError
from enarx.evidence.appraisal import Rule
from enarx.evidence.sev import signing
from enarx.evidence.sev.certs import CaCertificate, SevCertificate
from enarx.evidence.sev.kinds import Usage
from enarx.evidence.sev.refusals import forged, missing, passed, reserved, untrusted
from enarx.evidence.sev.roots import CaKey, Root
from enarx.evidence.signature import Verifier


def authority(
    ark: CaCertificate | None,
    ask: CaCertificate | None,
    cek: SevCertificate | None,
    roots: Sequence[Root],
    verifier: Verifier,
) -> tuple[Root, CaKey, list[Rule]]:
    """The root and the ASK key that everything below hangs on, with the checks that led there.

    A given ARK must sign itself and be the ARK of an accepted root; a given ASK must be signed by it, or by the
    accepted root that it names. Without an ASK, the CEK must be signed by the embedded ASK of an accepted root.
    """
    rules: list[Rule] = []
    candidates = list(roots)
    if ark is not None:
        _self_signed(ark, verifier)
        candidates = [_root_of(ark, roots)]
        rules += [passed("ark-signature", "ARK, itself"), passed("ark-pinned", f"root of {candidates[0].product}")]
    if ask is not None:
        root = _issued_by(ask, candidates, verifier, given=ark is not None)
        return root, CaKey.of(ask), [*rules, passed("ask-signature", f"ARK of {root.product}")]
    if cek is not None:
        for candidate in candidates:
            if candidate.ask is not None and _ask_fits(candidate.ask, cek, verifier):
                return candidate, candidate.ask, [*rules, passed("ask-pinned", f"ASK of {candidate.product}")]
        raise untrusted("no accepted ASK has signed this CEK", "give the ASK and ARK of the platform's product")
    if ark is not None and candidates[0].ask is not None:
        return candidates[0], candidates[0].ask, rules
    raise missing(Usage.CEK)


def _self_signed(ark: CaCertificate, verifier: Verifier) -> None:
    _require_ca_reserved(ark)
    if ark.certifying_id != ark.key_id:
        raise untrusted("the ARK names another key as its issuer", "an ARK certifies itself")
    if not ark.signature:
        return  # The form without signature: the pinned key is all there is to hold it to, and it is held to it.
    try:
        verify = signing.ca_verifying_key(CaKey.of(ark), verifier)
    except MalformedError as error:  # an altered key is often not even usable: then it did not sign itself
        raise forged(f"the ARK is not signed by itself: {error.message}") from error
    if not verify(ark.signature[::-1], ark.body):
        raise forged("the ARK's self-signature does not verify")


def _root_of(ark: CaCertificate, roots: Sequence[Root]) -> Root:
    for root in roots:
        if root.ark.is_key_of(ark):
            return root
    known = ", ".join(root.product for root in roots) or "none"
    raise untrusted(
        f"the ARK with key id {ark.key_id.hex()} is not an accepted root", f"accepted are the roots of: {known}"
    )


def _issued_by(ask: CaCertificate, roots: Sequence[Root], verifier: Verifier, *, given: bool) -> Root:
    _require_ca_reserved(ask)
    named = [root for root in roots if root.ark.key_id in (None, ask.certifying_id)]
    for root in named:
        if signing.ca_verifying_key(root.ark, verifier)(ask.signature[::-1], ask.body):
            return root
    if named:
        raise forged("the ASK is not signed by the ARK that it names")
    issuer = f"the ASK names {ask.certifying_id.hex()} as its issuer, which is not the key of "
    if given:
        raise forged(f"{issuer}the ARK that came with it")
    raise untrusted(f"{issuer}an accepted root", "give ASK and ARK of the platform's own product")


def _ask_fits(ask: CaKey, cek: SevCertificate, verifier: Verifier) -> bool:
    verify = signing.ca_verifying_key(ask, verifier)
    return any(
        slot.usage is Usage.ASK
        and slot.algorithm is signing.ca_algorithm(ask)
        and verify(signing.octets(slot, ask.modulus_bits), cek.body)
        for slot in cek.signatures
    )


def _require_ca_reserved(certificate: CaCertificate) -> None:
    if any(certificate.reserved):
        raise reserved(f"the {certificate.usage.name}")
