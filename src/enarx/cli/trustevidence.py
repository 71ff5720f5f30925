"""Evidence for the trust stack: read, authenticated and judged, as `enarx verify` and `enarx evidence verify` do.

What is not accepted is no error here: the stack shows it, with nothing established, and the exit status is that of the
error.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from enarx.errors import AuthenticityError, EvidenceError, MalformedError, UsageError

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

_NEEDS_POLICY: Final = ("ca", "signature")
_OF_REPORTS: Final = ("vcek", "vlek", "certs")


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

    _refuse(args, _OF_REPORTS, "an --evidence report")
    host, port = place(args.subject)
    now, expected = moment(args.at), _expectation(args)
    if expected is None:
        return _unpoliced(shown_chain(host, port), args, now, args.subject)
    if args.fresh:
        shown, verdict = _challenged(host, port, expected, now)
    else:
        shown = shown_chain(host, port)
        verdict = verify(shown, host, expected, now)
    return _verdict(shown, verdict, expected, now, args.subject)


def in_bundle(args: argparse.Namespace) -> Seen:
    """The Keep whose bundle is the file ``args.bundle``, judged as `enarx bundle verify` does."""
    from enarx.cli.keyfile import read_input
    from enarx.cli.policy import moment
    from enarx.connect.bundle import BUNDLE_MAX_BYTES, read_bundle, verify_bundle
    from enarx.manifest import MAX_BYTES
    from enarx.tenant.authority import authority_bytes
    from enarx.tenant.steward.files import read_policy
    from enarx.trust.model import Text

    _refuse(args, (*_OF_REPORTS, "chain", "crl", "signature"), "a Keep that serves, or --evidence")
    bundle = read_bundle(read_input(args.bundle, BUNDLE_MAX_BYTES, "bundle"))
    policy = read_policy(args.policy) if args.policy else bundle.policy.parsed()
    at = moment(args.at) if args.at else bundle.saved
    manifest = read_input(args.manifest, MAX_BYTES, "manifest") if args.manifest else bundle.manifest
    authority = authority_bytes("--ca", args.ca) or bundle.authority
    verdict = verify_bundle(bundle, policy, at, manifest=manifest, ca=authority)
    expected = replace(bundle.expectation(policy), manifest=manifest, authority=authority)
    seen = _verdict(bundle.certificates, verdict, expected, at, f"{args.bundle} ({bundle.url})")
    if args.policy:
        return seen
    return replace(seen, stack=replace(seen.stack, notes=(*seen.stack.notes, Text("note.bundle"))))


def in_file(args: argparse.Namespace) -> Seen:
    """The Keep, or the platform, whose evidence is in the file ``args.evidence``, told by its bytes."""
    from enarx.cli.evidence import EVIDENCE_MAX_BYTES
    from enarx.cli.keyfile import read_input
    from enarx.cli.showevidence import SEV_REPORT_BYTES, is_sev
    from enarx.evidence.bundle import split_certificates
    from enarx.evidence.snp.report import REPORT_BYTES

    data = read_input(args.evidence, EVIDENCE_MAX_BYTES, "evidence")
    if len(data) == REPORT_BYTES:
        return _of_report(data, args)
    _refuse(args, _OF_REPORTS, "a report of SEV-SNP")
    if is_sev(data) and len(data) != SEV_REPORT_BYTES:
        return _of_sev_platform(data, args)
    if data[:1] == b"\x30" or b"-----BEGIN CERTIFICATE-----" in data:
        return _of_chain(split_certificates(data), args)
    raise MalformedError(
        f"{args.evidence} is neither an SEV-SNP report ({REPORT_BYTES} bytes), nor a Keep's chain of certificates, "
        "nor the certificates of a SEV platform",
        code="evidence-unknown",
        hint="give the bare report with --vcek, or the chain that a Keep shows, PEM or DER, leaf first",
    )


def _of_chain(shown: Sequence[bytes], args: argparse.Namespace) -> Seen:
    """A chain that a Keep has shown (DER, leaf first), whatever its name."""
    from enarx.cli.policy import moment
    from enarx.tenant.client import verify

    now, expected = moment(args.at), _expectation(args)
    if expected is None:
        return _unpoliced(shown, args, now, args.evidence)
    return _verdict(shown, verify(shown, None, expected, now), expected, now, args.evidence)


def _challenged(host: str, port: int, expected: Expectation, now: datetime) -> tuple[Sequence[bytes], Verdict]:
    """What a Keep shows that answers a challenge. Raises what stands for no verdict: nobody there, or no answer."""
    from enarx.connect.attestor import Attestor
    from enarx.connect.sockets import look

    seen = look(Attestor(expected, now=lambda: now), host, port)
    if seen.verdict is None or (seen.verdict.accepted and seen.error is not None):
        raise seen.error or AssertionError("neither a verdict nor an error")
    return seen.chain, seen.verdict


def _unpoliced(shown: Sequence[bytes], args: argparse.Namespace, now: datetime, subject: str) -> Seen:
    _refuse(args, _NEEDS_POLICY, "a --policy")
    return _seen(_unjudged(shown, args, now, subject))


def _verdict(shown: Sequence[bytes], verdict: Verdict, expected: Expectation, now: datetime, subject: str) -> Seen:
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
    return _seen(replace(case, verifier=_verifier(case, expected.policy.digest)))


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
        case = _launched(replace(case, authentic=authentic), report, args, rules)
        failed = [rule for rule in rules if not rule.passed]
        case = replace(case, error=refusal(failed) if failed else None)
    except EvidenceError as error:
        case = replace(case, error=error, says_simulated=_says_simulated(shown))
    return replace(case, verifier=_verifier(case, b""))


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


# --- bare reports, and platforms


def _of_report(data: bytes, args: argparse.Namespace) -> Seen:
    from enarx.cli.policy import moment
    from enarx.cli.verifyevidence import collateral_of
    from enarx.evidence import snp
    from enarx.evidence.appraisal import refusal
    from enarx.evidence.snp.roots import AMD_ROOTS
    from enarx.tenant.judgement import appraise_guest
    from enarx.trust.keep import Judged

    _refuse(args, _NEEDS_POLICY, "a Keep's chain of certificates")
    now, expected = moment(args.at), _expectation(args)
    report = snp.parse(data)
    collateral = collateral_of(args, report)
    rules: list[Rule] = []
    case = Judged(args.evidence, now, rules, appraised=expected is not None)
    try:
        trust = snp.Trust((*AMD_ROOTS, *(expected.policy.simulated_roots if expected else ())))
        authentic = snp.authenticate(report, collateral, now, trust=trust, trail=rules)
        case = replace(case, authentic=authentic)
        if expected is not None:
            appraise_guest(authentic, expected.policy, rules)
        case = _launched(case, report, args, rules)
        failed = [rule for rule in rules if not rule.passed]
        case = replace(case, error=refusal(failed) if failed else None)
    except EvidenceError as error:
        case = replace(case, error=error)
    return _seen(replace(case, verifier=_verifier(case, expected.policy.digest if expected else b"")))


def _of_sev_platform(data: bytes, args: argparse.Namespace) -> Seen:
    from enarx.cli.evidence import EVIDENCE_MAX_BYTES
    from enarx.cli.keyfile import read_input
    from enarx.cli.policy import moment
    from enarx.evidence.sev import authenticate, parse
    from enarx.trust.keep import sev_platform
    from enarx.trust.model import Fact, Source

    _refuse(args, ("policy", "manifest", "crl", *_NEEDS_POLICY), "evidence of a Keep")
    now, certificates = moment(args.at), parse(data)
    if args.chain:
        certificates += parse(read_input(args.chain, EVIDENCE_MAX_BYTES, "chain"))
    found = authenticate(certificates, now)
    named = (
        ("fact.root", found.proof.root),
        ("fact.product", found.proof.product),
        ("fact.api", ".".join(map(str, found.value.api))),
        ("fact.pek", f"sha256:{hashlib.sha256(found.value.pek.to_bytes()).hexdigest()}"),
    )
    facts = tuple(Fact(name, value, Source.EVIDENCE) for name, value in named)
    return Seen(sev_platform(args.evidence, now, found.proof.checks, facts), None)


# --- what is expected, and who judges


def _launched(case: Judged, report: Launched, args: argparse.Namespace, rules: list[Rule]) -> Judged:
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


def _expectation(args: argparse.Namespace) -> Expectation | None:
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


def _verifier(case: Judged, policy: bytes) -> tuple[Fact, ...]:
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


def _seen(case: Judged) -> Seen:
    from enarx.trust.keep import from_evidence

    error = case.error
    assert error is None or isinstance(error, EvidenceError)  # noqa: S101 - only those are judged
    return Seen(from_evidence(case), error)


def _refuse(args: argparse.Namespace, options: Sequence[str], only: str) -> None:
    for option in options:
        if getattr(args, option):
            raise UsageError(f"--{option} goes with {only}", code="usage", hint="see `enarx trust --help`")
