"""``enarx policy``: validate a Steward's policy file, and see the decision that it leads to.

Exit statuses of ``explain``: 0 accepted, 5 refused (with the appraisal), 1 when the policy or a file is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from enarx.tenant.policy import Policy
    from enarx.tenant.steward.decide import Judge
    from enarx.tenant.steward.decision import Request

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

REFUSED = 5
_COLUMN_MAX = 48
"""Longest cell of a table (characters); JSON has everything."""


def add_parser(subparsers: Subparsers) -> None:
    """Add ``policy check|explain``."""
    parser = subparsers.add_parser("policy", help="validate a Steward's policy, and explain its decisions")
    modes = parser.add_subparsers(dest="mode", required=True, metavar="MODE")
    check = modes.add_parser("check", help="validate a policy file; exit status 0 when a Steward would load it")
    check.add_argument("file", metavar="FILE")
    check.set_defaults(run=_check)
    explain = modes.add_parser(
        "explain",
        help="print the decision on evidence as the service would make it",
        epilog="exit status: 0 accepted, 5 refused",
    )
    explain.add_argument("file", metavar="FILE", help="policy file")
    explain.add_argument(
        "--evidence", metavar="FILE", required=True, help="certification request of a Keep, DER or PEM"
    )
    explain.add_argument("--manifest", metavar="FILE", help="manifest of its launch")
    add_collateral(explain)
    explain.set_defaults(run=_explain)


def run(args: argparse.Namespace) -> int:
    """Run the mode that was parsed; returns the exit status, raises EnarxError."""
    status: int = args.run(args)
    return status


def add_collateral(parser: argparse.ArgumentParser) -> None:
    """The options that say what a request is judged with, here and in ``steward check``."""
    parser.add_argument("--chain", metavar="FILE", help="ASK (or ASVK) and ARK, PEM or DER; default: the embedded ones")
    parser.add_argument("--crl", metavar="FILE", action="append", default=[], help="revocation list, DER or PEM")
    parser.add_argument(
        "--signature", metavar="FILE", action="append", default=[], help="signature of the package: DSSE, sigstore"
    )
    parser.add_argument("--ca", metavar="FILE", help="the Steward's CA certificate, PEM: the manifest must pin its key")
    parser.add_argument("--at", metavar="TIME", help="judge as of this time (2025-01-09T22:14:21Z); default: now")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def _check(args: argparse.Namespace) -> int:
    from enarx.tenant.steward.files import read_policy

    policy = read_policy(args.file)
    print(f"{args.file}: valid, sha256:{policy.digest.hex()}")
    for line in summary(policy):
        print(f"  {line}")
    return 0


def _explain(args: argparse.Namespace) -> int:
    from enarx.tenant.steward.decide import make_judge
    from enarx.tenant.steward.files import read_policy

    request = read_request(args, args.evidence, args.manifest)
    return report(args, request, make_judge(read_policy(args.file), authority=pinned(args.ca), cache_entries=0))


def pinned(path: str | None) -> bytes | None:
    """SHA-256 of the key of the CA certificate in a PEM file, as manifests pin it; UsageError."""
    if path is None:
        return None
    import hashlib

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_pem_x509_certificate

    from enarx.cli.keyfile import MAX_KEY_FILE_BYTES, read_input
    from enarx.errors import UsageError

    try:
        key = load_pem_x509_certificate(read_input(path, MAX_KEY_FILE_BYTES, "CA certificate")).public_key()
    except ValueError as error:
        raise UsageError(f"{path} is no certificate", code="ca-certificate", hint="give the CA's PEM file") from error
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def read_request(args: argparse.Namespace, csr: str, manifest: str | None) -> Request:
    """The request in files: DER or PEM, the manifest and the collateral beside it."""
    from enarx.cli.keyfile import read_input
    from enarx.evidence.bundle import split_certificates, unwrap_pem
    from enarx.evidence.certificate import CRL_MAX_BYTES
    from enarx.manifest import MAX_BYTES
    from enarx.tenant.steward.csr import REQUEST_MAX_BYTES
    from enarx.tenant.steward.decision import Request

    return Request(
        csr=unwrap_pem(read_input(csr, 2 * REQUEST_MAX_BYTES, "request"), "CERTIFICATE REQUEST"),
        manifest=read_input(manifest, MAX_BYTES, "manifest") if manifest else None,
        chain=split_certificates(read_input(args.chain, CRL_MAX_BYTES, "chain")) if args.chain else (),
        crls=tuple(unwrap_pem(read_input(path, CRL_MAX_BYTES, "CRL"), "X509 CRL") for path in args.crl),
        compatible=manifest is None,
        signatures=read_signatures(args.signature),
    )


def read_signatures(paths: list[str]) -> tuple[bytes, ...]:
    """Signature objects in files, as many and as large as a request may have; UsageError."""
    from enarx.cli.keyfile import read_input
    from enarx.errors import UsageError
    from enarx.tenant.signature.signers import OBJECT_MAX_BYTES, OBJECTS_MAX

    if len(paths) > OBJECTS_MAX:
        raise UsageError(f"{len(paths)} signatures are given", code="signatures", hint=f"give at most {OBJECTS_MAX}")
    return tuple(read_input(path, OBJECT_MAX_BYTES, "signature") for path in paths)


def report(args: argparse.Namespace, request: Request, judge: Judge) -> int:
    """Print the decision on ``request``; returns 0 when accepted, else ``REFUSED``."""
    from enarx.tenant.steward.offline import check

    decision, plain = check(request, judge, moment(args.at))
    if args.json:
        print(json.dumps(plain))
        return 0 if decision.accepted else REFUSED
    rows = [("", "check", "expected", "seen", "expectation from")]
    for rule in decision.rules:
        verdict = "PASS" if rule.passed else "FAIL"
        rows.append((verdict, rule.name, _cell(rule.expected), _cell(rule.seen), rule.source))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()
    if decision.simulated:
        print("SIMULATED: the evidence is a simulator's. No hardware vouches for this.")
    if decision.error is None:
        grant = decision.grant
        name = f" of workload {grant.workload}" if grant and grant.workload else ""
        print(f"ACCEPTED: a certificate{name}, {plain['secrets']} secrets.")
        return 0
    print(f"REFUSED: {decision.error.message}", f"Hint: {decision.error.hint}", f"Code: {decision.code}", sep="\n")
    return REFUSED


def moment(text: str | None) -> datetime:
    """The time in ``--at``, now by default; UsageError."""
    from datetime import UTC, datetime

    from enarx.errors import UsageError

    if text is None:
        return datetime.now(UTC)
    try:
        stated = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"--at {text!r} is not an ISO 8601 time", code="usage-time", hint="write 2025-01-09T22:14:21Z"
        ) from error
    return stated if stated.tzinfo else stated.replace(tzinfo=UTC)


def summary(policy: Policy) -> list[str]:
    """What a policy comes to, a line for each thing, without names of secrets."""
    lines: list[str] = []
    for name, found in (("SEV-SNP guests", policy.snp), ("SIMULATED guests", policy.simulated)):
        if found is None:
            lines.append(f"{name}: refused")
        elif found.any_measurement:
            lines.append(f"{name}: any measurement")
        else:
            lines.append(f"{name}: {len(found.measurement)} measurements")
    names = ", ".join(one.name for one in policy.workloads)
    lines.append(f"workloads: {names or 'none: requests with a manifest are refused'}")
    for one in policy.workloads:
        if one.signers is not None:
            which = "any package" if one.is_by_signers_alone else "its digests"
            lines.append(f"workload {one.name}: {which} signed by {one.signers}")
    rules = policy.certificate
    lines.append(
        f"certificates: {int(rules.lifetime.total_seconds()) // 60} minutes, DNS {', '.join(rules.dns) or '-'}"
    )
    lines.append(f"secrets: {len(policy.secrets)}")
    if policy.accepts_kvm:
        print("WARNING: [debug] kvm = true: certificates go to guests that prove nothing", file=sys.stderr)
    return lines


def _cell(text: str) -> str:
    return text if len(text) <= _COLUMN_MAX else text[: _COLUMN_MAX - 3] + "..."
