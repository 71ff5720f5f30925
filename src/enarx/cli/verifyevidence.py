"""``enarx evidence verify``: every check with its result, as a table for a person or as JSON for a program.

The JSON object is stable: ``format`` names its version; keys may be added, none changes its meaning::

    format        "enarx-evidence-verify/1"
    technology    "snp", or "sev" for the certificates of a platform
    verdict       "accepted", "authentic" (no policy was given), "malformed", "not-authentic", "refused",
                  "collateral" (missing or stale) or "usage"
    exit_status   0, or 2 to 6
    simulated     true when the root is that of a simulator
    root, signer, product, verified_at, not_after, revocation_checked       once authentic
    report        snp: every field of the report, byte strings in hex      once parsed
    certificates  sev: what each certificate says                           once parsed
    checks        [{name, passed, expected, seen, source, reason?, hint?}]  authentication, in order
    rules         the same, of the policy
    error         {code, message, hint}, or null
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from enarx.cli.evidence import EVIDENCE_MAX_BYTES
from enarx.cli.keyfile import read_input
from enarx.cli.showevidence import SEV_REPORT_BYTES, is_sev
from enarx.errors import (
    AuthenticityError,
    CollateralError,
    ConfigError,
    EnarxError,
    MalformedError,
    PolicyError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from enarx.evidence.appraisal import Appraisal, Rule
    from enarx.evidence.authentic import Proof
    from enarx.evidence.snp import Collateral, Policy, Report, Trust

FORMAT = "enarx-evidence-verify/1"
_COLUMN_MAX = 44
"""Longest cell of the table (characters); JSON has everything."""


class _Outcome:
    """What became of one verification, as far as it came."""

    def __init__(self) -> None:
        self.technology = "snp"
        self.parsed: Mapping[str, object] = {}
        self.proof: Proof | None = None
        self.debug = False
        self.appraisal: Appraisal | None = None
        self.checks: list[Rule] = []
        self.error: EnarxError | None = None

    @property
    def verdict(self) -> str:
        error = self.error
        if error is None:
            return "accepted" if self.appraisal else "authentic"
        kinds: tuple[tuple[type[EnarxError], str], ...] = (
            (MalformedError, "malformed"),
            (AuthenticityError, "not-authentic"),
            (PolicyError, "refused"),
            (CollateralError, "collateral"),
        )
        return next((name for kind, name in kinds if isinstance(error, kind)), "usage")


def verify(args: argparse.Namespace) -> int:
    """Verify ``args.file``; prints the outcome. Returns 0, or raises the error that says why not.

    With ``--json`` the error is part of what is printed, and its exit status is returned.
    """
    outcome = _Outcome()
    try:
        _verify(args, outcome)
    except EnarxError as error:
        outcome.error = error
    if args.json:
        print(json.dumps(as_json(outcome)))
        return outcome.error.exit_status if outcome.error else 0
    if outcome.parsed:
        print(as_table(outcome))
    if outcome.error is not None:
        raise outcome.error
    return 0


def _verify(args: argparse.Namespace, outcome: _Outcome) -> None:
    data = read_input(args.file, EVIDENCE_MAX_BYTES, "report")
    if is_sev(data):
        _verify_sev(data, args, outcome)
    else:
        _verify_snp(data, args, outcome)


def _verify_snp(data: bytes, args: argparse.Namespace, outcome: _Outcome) -> None:
    from enarx.cli.snpview import report_fields
    from enarx.evidence.snp import Trust, appraise, authenticate, parse

    policy = _policy(args.policy) if args.policy else None
    now = _time(args.at)
    trust: Trust = _fast_trust() if args.fast else Trust()
    report = parse(data)
    outcome.parsed = {"report": report_fields(report)}
    outcome.debug = report.debug
    collateral = collateral_of(args, report)
    required = args.require_crl or (policy is not None and policy.require_crl)
    authentic = authenticate(report, collateral, now, trust=trust, require_crl=required, trail=outcome.checks)
    outcome.proof = authentic.proof
    if policy is not None:
        outcome.appraisal = appraise(authentic, policy)
        outcome.appraisal.require()


def _verify_sev(data: bytes, args: argparse.Namespace, outcome: _Outcome) -> None:
    """The certificates of a SEV platform: whose it is, before a launch there. Launches are not judged here."""
    from enarx.cli.sevview import certificate_fields
    from enarx.evidence.appraisal import Rule
    from enarx.evidence.sev import authenticate, parse

    outcome.technology = "sev"
    for option in ("policy", "vcek", "vlek", "certs", "crl", "require_crl", "fast"):
        if getattr(args, option):
            raise UsageError(
                f"--{option.replace('_', '-')} is for SEV-SNP reports, and this is of SEV",
                code="usage",
                hint="SEV certificates are verified by themselves, or with --chain for ASK and ARK",
            )
    if len(data) == SEV_REPORT_BYTES:
        raise UsageError(
            "an attestation report of SEV is not verified by this command",
            code="usage",
            hint="enarx evidence show prints it; authenticate_report verifies it, with the platform and the nonce",
        )
    certificates = parse(data)
    if args.chain:
        certificates += parse(read_input(args.chain, EVIDENCE_MAX_BYTES, "chain"))
    outcome.parsed = {"certificates": [certificate_fields(one) for one in certificates]}
    try:
        outcome.proof = authenticate(certificates, _time(args.at)).proof
    except EnarxError as error:
        outcome.checks.append(Rule(error.code, False, "genuine", error.message, "authentication", error.hint))
        raise
    outcome.checks.extend(outcome.proof.checks)


def _fast_trust() -> Trust:
    from enarx.evidence.awslc import AwsLcVerifier
    from enarx.evidence.snp import Trust

    try:
        return Trust(verifier=AwsLcVerifier())
    except ConfigError as error:
        raise UsageError(error.message, code=error.code, hint=error.hint) from error


def _policy(path: str) -> Policy:
    from pathlib import Path

    from enarx.evidence.snp import parse_policy
    from enarx.evidence.snp.policyfile import POLICY_MAX_BYTES

    def include(name: str, limit: int) -> bytes:
        return read_input(str(Path(path).parent / name), limit, "file of reference values")

    try:
        return parse_policy(read_input(path, POLICY_MAX_BYTES, "policy"), "policy snp", include)
    except ConfigError as error:
        raise UsageError(f"{path}: {error.message}", code=error.code, hint=error.hint) from error


def _time(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        stated = datetime.fromisoformat(text)
        return stated.astimezone(UTC) if stated.tzinfo else stated.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:  # UTC of the calendar's first and last hours may lie outside of it
        raise UsageError(
            f"--at {text!r} is not an ISO 8601 time", code="usage-time", hint="write 2025-01-09T22:14:21Z"
        ) from error


def collateral_of(args: argparse.Namespace, report: Report) -> Collateral:
    """The certificates and lists that were given with a report; CollateralError when its key's is not among them."""
    from enarx.evidence.bundle import split_certificates, unwrap_pem
    from enarx.evidence.snp import Collateral, certtable

    chain: tuple[bytes, ...] = ()
    crls: list[bytes] = [unwrap_pem(read_input(path, EVIDENCE_MAX_BYTES, "CRL"), "X509 CRL") for path in args.crl]
    given: bytes | None
    if args.certs:
        table = certtable.parse(read_input(args.certs, EVIDENCE_MAX_BYTES, "certificate table"))
        given = table.endorsement_for(report.signing_key)
        chain = tuple(one for blob in table.chain for one in split_certificates(blob))
        crls.extend(unwrap_pem(blob, "X509 CRL") for blob in table.crls)
    else:
        path = args.vcek or args.vlek
        given = read_input(path, EVIDENCE_MAX_BYTES, "certificate") if path else None
    if given is None:
        raise CollateralError(
            "no VCEK or VLEK certificate was given" if not args.certs else "the table has neither VCEK nor VLEK",
            code="endorsement-missing",
            hint="give --vcek, --vlek or --certs; AMD serves the VCEK of a chip at https://kdsintf.amd.com",
        )
    first, *more = split_certificates(given)
    if args.chain:
        chain = split_certificates(read_input(args.chain, EVIDENCE_MAX_BYTES, "chain"))
    return Collateral(first, (*chain, *more), tuple(crls))


def as_json(outcome: _Outcome) -> Mapping[str, object]:
    """The outcome in the format that this module documents."""
    error, proof = outcome.error, outcome.proof
    plain: dict[str, object] = {
        "format": FORMAT,
        "technology": outcome.technology,
        "verdict": outcome.verdict,
        "exit_status": error.exit_status if error else 0,
        "simulated": bool(proof and proof.simulated),
    }
    if proof is not None:
        plain |= {
            "root": proof.root,
            "signer": proof.signer,
            "product": proof.product,
            "verified_at": proof.verified_at.isoformat(),
            "not_after": proof.not_after.isoformat(),
            "revocation_checked": proof.revocation_checked,
        }
    plain |= outcome.parsed
    plain["checks"] = [rule.as_json() for rule in outcome.checks]
    plain["rules"] = [rule.as_json() for rule in outcome.appraisal.rules] if outcome.appraisal else []
    plain["error"] = {"code": error.code, "message": error.message, "hint": error.hint} if error else None
    return plain


def as_table(outcome: _Outcome) -> str:
    """The outcome as a table of checks, and a sentence that sums it up."""
    rules = [("authenticity", rule) for rule in outcome.checks]
    if outcome.appraisal is not None:
        rules += [("policy", rule) for rule in outcome.appraisal.rules]
    rows = [
        ("PASS" if rule.passed else "FAIL", phase, rule.name, _cell(rule.expected), _cell(rule.seen), rule.source)
        for phase, rule in rules
    ]
    lines = _aligned([("", "phase", "check", "expected", "seen", "expectation from"), *rows]) if rows else []
    lines += [f"FAIL {rule.name}: {rule.reason}. {rule.hint}".rstrip() for _, rule in rules if not rule.passed]
    lines += [*([""] if lines else []), *_sentences(outcome)]
    return "\n".join(lines)


def _sentences(outcome: _Outcome) -> list[str]:
    proof = outcome.proof
    if proof is None:
        return [f"NOT VERIFIED ({outcome.verdict})."]
    if outcome.technology == "sev":
        return [f"Authentic: a SEV platform of product {proof.product}, root {proof.root}. No launch was judged."]
    said = [f"Authentic: signed by the {proof.signer} of {proof.product} hardware, root {proof.root}."]
    if proof.simulated:
        said = [f"SIMULATED: signed under {proof.root}, the root of a simulator. No hardware vouches for this."]
    if outcome.appraisal is not None:
        said.append("ACCEPTED by the policy." if outcome.appraisal.accepted else "REFUSED by the policy.")
        return said
    said.append("NOT APPRAISED: no policy was given, so nothing is said about which guest this is.")
    if outcome.debug:
        said.append("WARNING: debug is allowed: the host can read and change this guest's memory.")
    return said


def _cell(text: str) -> str:
    return text if len(text) <= _COLUMN_MAX else text[: _COLUMN_MAX - 3] + "..."


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
