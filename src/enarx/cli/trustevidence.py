"""Evidence for the trust stack: read, authenticated and judged, as `enarx verify` and `enarx evidence verify` do.

What is not accepted is no error here: the stack shows it, with nothing established, and the exit status is that of the
error.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from enarx.errors import AuthenticityError, EvidenceError, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from datetime import datetime

    from enarx.evidence.appraisal import Rule
    from enarx.manifest import Manifest
    from enarx.tenant.client import Expectation, Verdict
    from enarx.tenant.judgement import Launched
    from enarx.trust.keep import Judged
    from enarx.trust.model import Fact, Stack

NEEDS_POLICY: Final = ("ca", "signature")
OF_REPORTS: Final = ("vcek", "vlek", "certs")


@dataclass(frozen=True, slots=True)
class Seen:
    """A stack, and the error with which the command ends once it is shown."""

    stack: Stack
    error: EvidenceError | None


def served(args: argparse.Namespace) -> Seen:
    """The Keep that serves at ``args.subject``; StreamError when nobody is there."""
    from enarx.cli.policy import moment
    from enarx.tenant.client import verify
    from enarx.tenant.peer import place, shown_chain

    refuse(args, OF_REPORTS, "an --evidence report")
    host, port = place(args.subject)
    now, expected = moment(args.at), expected_by(args)
    if expected is None:
        refuse(args, ("fresh",), "a --policy")
        return unpoliced(shown_chain(host, port), args, now, args.subject)
    if args.fresh:
        shown, verdict = _challenged(host, port, expected, now)
    else:
        shown = shown_chain(host, port)
        verdict = verify(shown, host, expected, now)
    return of_verdict(shown, verdict, expected, now, args.subject)


def in_bundle(args: argparse.Namespace) -> Seen:
    """The Keep whose bundle is the file ``args.bundle``, judged as `enarx bundle verify` does."""
    from enarx.cli.keyfile import read_input
    from enarx.cli.policy import moment
    from enarx.connect.bundle import BUNDLE_MAX_BYTES, read_bundle, verify_bundle
    from enarx.manifest import MAX_BYTES
    from enarx.tenant.authority import authority_bytes
    from enarx.tenant.steward.files import read_policy
    from enarx.trust.model import Text

    refuse(args, (*OF_REPORTS, "chain", "crl", "signature", "fresh"), "a Keep that serves, or --evidence")
    bundle = read_bundle(read_input(args.bundle, BUNDLE_MAX_BYTES, "bundle"))
    policy = read_policy(args.policy) if args.policy else bundle.policy.parsed()
    at = moment(args.at) if args.at else bundle.saved
    manifest = read_input(args.manifest, MAX_BYTES, "manifest") if args.manifest else bundle.manifest
    authority = authority_bytes("--ca", args.ca) or bundle.authority
    verdict = verify_bundle(bundle, policy, at, manifest=manifest, ca=authority)
    expected = replace(bundle.expectation(policy), manifest=manifest, authority=authority)
    seen = of_verdict(bundle.certificates, verdict, expected, at, f"{args.bundle} ({bundle.url})")
    if args.policy:
        return seen
    return replace(seen, stack=replace(seen.stack, notes=(*seen.stack.notes, Text("note.bundle"))))


def _challenged(host: str, port: int, expected: Expectation, now: datetime) -> tuple[Sequence[bytes], Verdict]:
    """What a Keep shows that answers a challenge. Raises what stands for no verdict: nobody there, or no answer."""
    from enarx.connect.attestor import Attestor
    from enarx.connect.sockets import look

    seen = look(Attestor(expected, now=lambda: now), host, port)
    if seen.verdict is None or (seen.verdict.accepted and seen.error is not None):
        raise seen.error or AssertionError("neither a verdict nor an error")
    return seen.chain, seen.verdict


def unpoliced(shown: Sequence[bytes], args: argparse.Namespace, now: datetime, subject: str) -> Seen:
    refuse(args, NEEDS_POLICY, "a --policy")
    return shown_as(_unjudged(shown, args, now, subject))


def of_verdict(shown: Sequence[bytes], verdict: Verdict, expected: Expectation, now: datetime, subject: str) -> Seen:
    """The stack of a Keep on which there is a verdict."""
    from enarx.tenant.keepchain import read_chain
    from enarx.tenant.keepevidence import authenticated
    from enarx.trust.keep import Judged

    case = Judged(subject, now, verdict.rules, error=verdict.error, appraised=True)
    rules: list[Rule] = []
    try:
        case = replace(case, authentic=authenticated(read_chain(shown), expected, now, rules))
    except EvidenceError as error:
        case = replace(case, error=verdict.error or error, says_simulated=_says_simulated(shown))
    if verdict.error is None and expected.manifest is not None:
        case = replace(case, manifest=_manifest(expected.manifest))
    return shown_as(replace(case, verifier=verifier_facts(case, expected.policy.digest)))


# --- chains


def _unjudged(shown: Sequence[bytes], args: argparse.Namespace, now: datetime, subject: str) -> Judged:
    """Without a policy: genuine under a silicon vendor's root, over the key of the certificate, and which manifest."""
    from enarx.evidence.appraisal import refusal
    from enarx.evidence.certificate import parse_public_key
    from enarx.evidence.signature import EcKey
    from enarx.evidence.snp.enarx import parse_manifest_digest
    from enarx.tenant.judgement import judge_key, judge_launch
    from enarx.tenant.keepchain import read_chain
    from enarx.tenant.keepevidence import authenticated
    from enarx.trust.keep import Judged

    rules: list[Rule] = []
    case = Judged(subject, now, rules)
    try:
        chain = read_chain(shown)
        if chain.technology == "sev":
            raise AuthenticityError(
                "evidence of SEV is an approver's word, and nothing says whose is believed",
                code="untrusted-approver",
                hint="give --policy, with a [sev] table, and --ca",
            )
        authentic = authenticated(chain, _collateral_alone(args), now, rules)
        report = authentic.value
        key = parse_public_key(chain.spki)
        judge_key(chain.spki, key.curve if isinstance(key, EcKey) else None, report, rules, whose="certificate")
        judge_launch(parse_manifest_digest(chain.manifest), report, rules, source="the certificate")
        case = launched(replace(case, authentic=authentic), report, args, rules)
        failed = [rule for rule in rules if not rule.passed]
        case = replace(case, error=refusal(failed) if failed else None)
    except EvidenceError as error:
        case = replace(case, error=error, says_simulated=_says_simulated(shown))
    return replace(case, verifier=verifier_facts(case, b""))


def _says_simulated(shown: Sequence[bytes]) -> bool:
    """Whether evidence calls itself a simulator's. Nobody vouches for that."""
    from enarx.evidence.certificate import parse_certificate
    from enarx.evidence.name import common_name
    from enarx.evidence.sev.approval import parse_approval
    from enarx.evidence.sev.enrolled import parse_sev_evidence
    from enarx.evidence.snp.enarx import parse_evidence
    from enarx.evidence.snp.simulated import MARK
    from enarx.tenant.keepchain import read_chain

    try:
        chain = read_chain(shown)
        if chain.technology == "sev":
            return parse_approval(parse_sev_evidence(chain.evidence).approval).approval.simulated
        issuer = parse_certificate(parse_evidence(chain.evidence).vcek).issuer
        return common_name(issuer).startswith(MARK)
    except EvidenceError:
        return False


# --- what is expected, and who judges


def launched(case: Judged, report: Launched, args: argparse.Namespace, rules: list[Rule]) -> Judged:
    """Judge the manifest that is expected, where one was given."""
    from enarx.cli.keyfile import read_input
    from enarx.evidence.appraisal import judge
    from enarx.manifest import MAX_BYTES, digest_of

    if not args.manifest:
        return case
    given = read_input(args.manifest, MAX_BYTES, "manifest")
    manifest, digest = _manifest(given), hashlib.sha256(given).digest()
    judge(
        rules, "manifest", report.host_data == digest, digest_of(given), f"sha256:{report.host_data.hex()}",
        source="the manifest that was given", hint="this Keep was launched with something else than the manifest says",
        code="manifest-mismatch",
    )  # fmt: skip
    return replace(case, manifest=manifest)


def expected_by(args: argparse.Namespace) -> Expectation | None:
    from enarx.cli.expectation import expectation_of

    return expectation_of(args) if args.policy else None


def _collateral_alone(args: argparse.Namespace) -> Expectation:
    """What was given along, with no policy that could accept anything."""
    from enarx.cli.expectation import expectation_of
    from enarx.tenant.policy import Policy

    return expectation_of(args, Policy(b"", ""))


def _manifest(given: bytes) -> Manifest:
    from enarx.manifest import parse

    return parse(given)


def verifier_facts(case: Judged, policy: bytes) -> tuple[Fact, ...]:
    from enarx import __version__
    from enarx.trust.model import Fact, Source

    named = [("fact.verifier", f"enarx {__version__}")]
    if policy:
        named.append(("fact.policy", f"sha256:{policy.hex()}"))
    if case.authentic is not None:
        proof = case.authentic.proof
        named.append(("fact.revocation", "yes" if proof.revocation_checked else "no"))
        named.append(("fact.not-after", proof.not_after.isoformat()))
    return tuple(Fact(name, value, Source.VERIFIER) for name, value in named)


def shown_as(case: Judged) -> Seen:
    from enarx.trust.keep import from_evidence

    error = case.error
    assert error is None or isinstance(error, EvidenceError)  # noqa: S101 - only those are judged
    return Seen(from_evidence(case), error)


def refuse(args: argparse.Namespace, options: Sequence[str], only: str) -> None:
    for option in options:
        if getattr(args, option):
            raise UsageError(f"--{option} goes with {only}", code="usage", hint="see `enarx trust --help`")
