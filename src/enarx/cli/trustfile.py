"""Evidence in a file for the trust stack: a bare report, a chain that a Keep has shown, or a SEV platform's keys."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from enarx.cli.trustevidence import (
    NEEDS_POLICY,
    OF_REPORTS,
    Seen,
    expected_by,
    launched,
    of_verdict,
    refuse,
    shown_as,
    unpoliced,
    verifier_facts,
)
from enarx.errors import EvidenceError, MalformedError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from enarx.evidence.appraisal import Rule


def in_file(args: argparse.Namespace) -> Seen:
    """The Keep, or the platform, whose evidence is in the file ``args.evidence``, told by its bytes."""
    from enarx.cli.evidence import EVIDENCE_MAX_BYTES
    from enarx.cli.keyfile import read_input
    from enarx.cli.showevidence import SEV_REPORT_BYTES, is_sev
    from enarx.evidence.bundle import split_certificates
    from enarx.evidence.snp.report import REPORT_BYTES

    refuse(args, ("fresh",), "a Keep that serves")
    data = read_input(args.evidence, EVIDENCE_MAX_BYTES, "evidence")
    if len(data) == REPORT_BYTES:
        return _of_report(data, args)
    refuse(args, OF_REPORTS, "a report of SEV-SNP")
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

    now, expected = moment(args.at), expected_by(args)
    if expected is None:
        return unpoliced(shown, args, now, args.evidence)
    return of_verdict(shown, verify(shown, None, expected, now), expected, now, args.evidence)


def _of_report(data: bytes, args: argparse.Namespace) -> Seen:
    from enarx.cli.policy import moment
    from enarx.cli.verifyevidence import collateral_of
    from enarx.evidence import snp
    from enarx.evidence.appraisal import refusal
    from enarx.evidence.snp.roots import AMD_ROOTS
    from enarx.tenant.judgement import appraise_guest
    from enarx.trust.keep import Judged

    refuse(args, NEEDS_POLICY, "a Keep's chain of certificates")
    now, expected = moment(args.at), expected_by(args)
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
        case = launched(case, report, args, rules)
        failed = [rule for rule in rules if not rule.passed]
        case = replace(case, error=refusal(failed) if failed else None)
    except EvidenceError as error:
        case = replace(case, error=error)
    return shown_as(replace(case, verifier=verifier_facts(case, expected.policy.digest if expected else b"")))


def _of_sev_platform(data: bytes, args: argparse.Namespace) -> Seen:
    from enarx.cli.evidence import EVIDENCE_MAX_BYTES
    from enarx.cli.keyfile import read_input
    from enarx.cli.policy import moment
    from enarx.evidence.sev import authenticate, parse
    from enarx.trust.keep import sev_platform
    from enarx.trust.model import Fact, Source

    refuse(args, ("policy", "manifest", "crl", *NEEDS_POLICY), "evidence of a Keep")
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
