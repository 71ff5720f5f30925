"""From a root to the key that signed a report: ARK, ASK or ASVK, VCEK or VLEK, and the revocation lists.

Nothing is fetched: certificates and lists come as bytes from a host that is not trusted, and the root does not come
with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from enarx.errors import AuthenticityError, CollateralError
from enarx.evidence.appraisal import Rule
from enarx.evidence.certificate import (
    Certificate,
    RevocationList,
    parse_certificate,
    parse_crl,
)
from enarx.evidence.chain import (
    Authority,
    authority,
    check_crl,
    check_crl_current,
    check_extensions,
    check_issued,
    check_validity,
    moment,
    revoked_error,
)
from enarx.evidence.name import common_name
from enarx.evidence.signature import Scheme, Verifier
from enarx.evidence.snp.endorsement import Endorsement, Kind, read_endorsement
from enarx.evidence.snp.roots import CHAIN_SCHEME, Root
from enarx.evidence.snp.trust import Collateral, PassedChecks, Trust, VerifiedChain

CHAIN_MAX_CERTIFICATES = 16
"""Certificates that a caller may give along with the endorsement (count)."""
AUTHORITIES_READ = 32
"""Parsed certificates of chains that are kept (count)."""
CRLS_MAX = 8
"""Revocation lists that a caller may give (count)."""


def verify_chain(
    collateral: Collateral, at: int, trust: Trust, *, require_crl: bool = False, trail: list[Rule] | None = None
) -> VerifiedChain:
    """Verify the endorsement of a platform at ``at`` (seconds since 1970).

    ``trail`` receives every check as it passes. Raises MalformedError, AuthenticityError or CollateralError; with
    ``require_crl`` also when no current revocation list of the root was given.
    """
    steps = trail if trail is not None else []
    if not trust.remembers:
        return _verify(collateral, at, trust, require_crl, steps)
    key = _digest(collateral, require_crl)
    known = trust.recall(key, at)
    if known is None:
        known = _verify(collateral, at, trust, require_crl, steps)
        trust.remember(key, known)
    else:
        steps.extend(known.checks)
    return known


def verify_intermediate(
    encoded: bytes, crls: Iterable[bytes], at: int, trust: Trust, *, chain: Iterable[bytes] = ()
) -> tuple[Authority, Root]:
    """Verify an ASK or ASVK by itself: issued by a root's ARK, valid at ``at``, not revoked. Raises as above.

    With a ``chain`` its issuer must be in it, or have issued what is in it.
    """
    known = _known(hashlib.sha256(encoded).digest(), trust)
    if known is not None and known[0] is not known[1].ark:
        made, root = known
    else:
        certificate = parse_certificate(encoded)
        root = _root_of(certificate.issuer, trust)
        made = _intermediate(certificate, root, trust)
    given = _prove(chain, trust)
    if given and all(other is not root for _, other in given):
        raise _untrusted(f"{made.name} was issued by {root.ark.name}, and the chain that was given is of another root")
    _check_times((root.ark, made), at)
    lists = _applicable(crls, (root.ark, made), trust.verifier)
    _check_revocation(made, None, root, lists, at)
    return made, root


def _digest(collateral: Collateral, require_crl: bool) -> bytes:
    parts = [b"1" if require_crl else b"0"]
    for group in ((collateral.endorsement,), collateral.chain, collateral.crls):
        parts.append(len(group).to_bytes(2, "big"))
        for one in group:
            parts.append(len(one).to_bytes(4, "big"))
            parts.append(one)
    return hashlib.sha256(b"".join(parts)).digest()


def _verify(collateral: Collateral, at: int, trust: Trust, require_crl: bool, trail: list[Rule]) -> VerifiedChain:
    if len(collateral.chain) > CHAIN_MAX_CERTIFICATES or len(collateral.crls) > CRLS_MAX:
        raise CollateralError(
            f"more than {CHAIN_MAX_CERTIFICATES} certificates or {CRLS_MAX} revocation lists",
            code="too-long",
            hint="give the chain and lists of one product",
        )
    first = len(trail)
    certificate = parse_certificate(collateral.endorsement)
    name = common_name(certificate.subject)
    issuer, root = _issuer(certificate, collateral.chain, trust)
    trail.append(Rule("root", True, f"an accepted {root.product.value} root", root.ark.name, "accepted roots"))
    trail.append(Rule("intermediate", True, f"issued by {root.ark.name}", issuer.name, "accepted roots"))
    check_issued(certificate, name, issuer, trust.verifier)
    check_extensions(certificate, name)
    trail.append(Rule("endorsement", True, f"issued by {issuer.name}", name, "certificate chain"))
    _check_times((root.ark, issuer), at)
    check_validity(name, certificate.not_before, certificate.not_after, at)
    endorsement = read_endorsement(certificate)
    _check_role(endorsement, issuer, root)
    used = _applicable(collateral.crls, (root.ark, issuer), trust.verifier)
    _check_revocation(issuer, certificate, root, used, at)
    covered = any(crl.issuer == root.ark.subject for crl in used)
    if require_crl and not covered:
        raise CollateralError(
            f"no revocation list of {root.ark.name}, and one is required",
            code="crl-missing",
            hint=f"fetch https://kdsintf.amd.com/vcek/v1/{root.product.value}/crl and give it along",
        )
    not_before = max(root.ark.not_before, issuer.not_before, certificate.not_before, *(c.this_update for c in used))
    not_after = min(root.ark.not_after, issuer.not_after, certificate.not_after, *(c.next_update - 1 for c in used))
    trail.append(
        Rule("validity", True, f"{moment(not_before)} to {moment(not_after)}", moment(at), "certificates and lists")
    )
    trail.append(
        Rule(
            "revocation",
            True,
            "not revoked",
            "not on the current list" if covered else "no list given: known revocations only",
            "revocation lists" if covered else "built-in",
        )
    )
    return VerifiedChain(
        endorsement=endorsement,
        root=root,
        not_before=not_before,
        not_after=not_after,
        revocation_checked=covered,
        verify_report=trust.verifier.load(endorsement.key, Scheme.ECDSA_SHA384),
        checks=tuple(trail[first:]),
        passed=_passed(endorsement),
    )


def _passed(endorsement: Endorsement) -> PassedChecks:
    kind, tcb = endorsement.kind.name, str(endorsement.tcb)
    hardware_id = endorsement.hardware_id
    return PassedChecks(
        kind=Rule("endorsement-kind", True, kind, kind, "report flags"),
        signature=Rule("signature", True, "valid", "valid", f"key of the {kind}"),
        tcb=Rule("tcb", True, tcb, tcb, f"{kind} extensions 1.3.6.1.4.1.3704.1.3"),
        chip_id=Rule("chip-id", True, "any chip", endorsement.csp_id, "VLEK extension 1.3.6.1.4.1.3704.1.5")
        if hardware_id is None
        else Rule("chip-id", True, hardware_id.hex(), hardware_id.hex(), "VCEK extension 1.3.6.1.4.1.3704.1.4"),
    )


def _issuer(certificate: Certificate, chain: tuple[bytes, ...], trust: Trust) -> tuple[Authority, Root]:
    """Who issued the endorsement: out of the given chain, checked against the roots, or out of the roots alone.

    Every certificate that is given must prove itself, also one that is not needed: a chain with a stranger in it was
    put together by somebody who either made a mistake or is trying something.
    """
    if not chain:
        for root in trust.roots:
            for own in root.intermediates:
                if own.subject == certificate.issuer:
                    return own, root
        raise _untrusted(f"{common_name(certificate.issuer)!r} belongs to no accepted root")
    given = _prove((one for one in chain if one != certificate.encoded), trust)
    issuers = [pair for pair in given if pair[0].subject == certificate.issuer and pair[0] is not pair[1].ark]
    if not issuers:
        raise _untrusted(
            f"{common_name(certificate.subject)} was issued by {common_name(certificate.issuer)!r}, "
            "which is not in the chain that was given"
        )
    return issuers[-1]


def _prove(chain: Iterable[bytes], trust: Trust) -> list[tuple[Authority, Root]]:
    """Every certificate of a chain as the authority that it is, roots included; raises when one proves to be none."""
    proved: list[tuple[Authority, Root]] = []
    strangers: list[Certificate] = []
    for encoded in chain:
        known = _known(hashlib.sha256(encoded).digest(), trust)
        if known is None:
            strangers.append(_read_authority(encoded))
        else:
            proved.append(known)
    # Roots first: of a chain that somebody made up, the root is what to complain about.
    for certificate in sorted(strangers, key=lambda one: one.issuer != one.subject):
        root = _root_of(certificate.issuer, trust)
        if certificate.issuer == certificate.subject:
            _check_given_root(certificate, root, trust)
            proved.append((root.ark, root))
        else:
            proved.append((_intermediate(certificate, root, trust), root))
    return proved


# The chips of a product share their chain, so its certificates are read once. They are verified every time.
@lru_cache(maxsize=AUTHORITIES_READ)
def _read_authority(encoded: bytes) -> Certificate:
    return parse_certificate(encoded)


@lru_cache(maxsize=AUTHORITIES_READ)
def _read_as_authority(encoded: bytes) -> Authority:
    return authority(_read_authority(encoded), CHAIN_SCHEME)


def _known(fingerprint: bytes, trust: Trust) -> tuple[Authority, Root] | None:
    """The authority whose very certificate this is: what the roots know of it need not be read again."""
    for root in trust.roots:
        for one in (*root.intermediates, root.ark):
            if one.sha256 == fingerprint:
                return one, root
    return None


def _root_of(name: bytes, trust: Trust) -> Root:
    for root in trust.roots:
        if root.ark.subject == name:
            return root
    raise _untrusted(f"{common_name(name)!r} is no accepted root")


def _check_given_root(certificate: Certificate, root: Root, trust: Trust) -> None:
    """A root that comes with the evidence proves nothing; it must be one that is accepted already."""
    if certificate.key != root.ark.key:
        raise _untrusted(f"the chain ends in a self-made {root.ark.name}, with another key than the accepted root")
    check_issued(certificate, root.ark.name, root.ark, trust.verifier)


def _intermediate(certificate: Certificate, root: Root, trust: Trust) -> Authority:
    made = _read_as_authority(certificate.encoded)
    check_issued(certificate, made.name, root.ark, trust.verifier, below=1)
    return made


def _check_times(authorities: Iterable[Authority], at: int) -> None:
    for one in authorities:
        check_validity(one.name, one.not_before, one.not_after, at)


def _check_role(endorsement: Endorsement, issuer: Authority, root: Root) -> None:
    """An ASK certifies chips and an ASVK what providers load, each for its own product."""
    if ("VLEK" in issuer.name) is not (endorsement.kind is Kind.VLEK):
        raise _untrusted(f"a {endorsement.kind.name} is not for {issuer.name} to issue")
    if endorsement.product is not root.product:
        raise AuthenticityError(
            f"a certificate for {endorsement.product_name} under the {root.product.value} root",
            code="product-mismatch",
            hint="fetch the certificate of the right product",
        )


def _applicable(crls: Iterable[bytes], signers: tuple[Authority, ...], verifier: Verifier) -> list[RevocationList]:
    """Of the given lists those that the chain's authorities issued, verified; others are passed over."""
    used: list[RevocationList] = []
    for encoded in crls:
        crl = parse_crl(encoded)
        for signer in signers:
            if crl.issuer == signer.subject:
                check_crl(crl, signer, verifier)
                used.append(crl)
                break
    return used


def _check_revocation(
    issuer: Authority, leaf: Certificate | None, root: Root, used: list[RevocationList], at: int
) -> None:
    """Refuse what is known to be revoked, and what a list of one of the chain's authorities names; then stale lists.

    A revocation is for good: that a list is stale does not take back what it names. An ARK's list is also searched for
    the endorsement's serial number, which the ARK did not issue: AMD publishes one list for a product, and a serial
    number that is on it is better refused than explained away.
    """
    since = root.revoked.get(issuer.serial)
    if since is not None and since <= at:
        raise revoked_error(issuer.name, issuer.serial, since, f"{root.ark.name} (built-in)")
    for crl in used:
        named = [(issuer.name, issuer.serial)] if crl.issuer == root.ark.subject else []
        if leaf is not None:
            named.append((common_name(leaf.subject), leaf.serial))
        for name, serial in named:
            since = crl.revoked.get(serial)
            if since is not None and (since <= at or crl.this_update <= at):
                raise revoked_error(name, serial, since, f"the list of {common_name(crl.issuer)}")
        check_crl_current(crl, at)


def _untrusted(what: str) -> AuthenticityError:
    return AuthenticityError(
        what, code="untrusted-chain", hint="give the chain of the endorsement's own product and kind, or none"
    )
