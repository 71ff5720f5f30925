"""``enarx policy``: validate a Steward's policy file, and see the decision that it leads to.

Exit statuses of ``explain``: 0 accepted, 5 refused (with the appraisal), 1 when the policy or a file is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from enarx.tenant.policy import Policy
    from enarx.tenant.steward.decide import Judge
    from enarx.tenant.steward.decision import Decision, Request

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

REFUSED = 5


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
    parser.add_argument(
        "--ca", metavar="DIGEST|FILE", help="the Steward's CA, or the digest of its key: the manifest must pin it"
    )
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
    from enarx.tenant.authority import authority_bytes
    from enarx.tenant.steward.decide import make_judge
    from enarx.tenant.steward.files import read_policy

    requests = read_requests(args, args.evidence, args.manifest)
    authority = authority_bytes("--ca", args.ca)
    return report(args, requests, make_judge(read_policy(args.file), authority=authority, cache_entries=0))


def read_requests(args: argparse.Namespace, csr: str, manifest: str | None) -> tuple[Request, ...]:
    """The request in files (DER or PEM), or those of a published bundle; the manifest and the collateral beside it.

    What is too long, or no request, is for the decision to refuse, as the service would.
    """
    from enarx.cli.keyfile import read_beginning, read_input
    from enarx.errors import MalformedError, UsageError
    from enarx.evidence.bundle import split_certificates, unwrap_pem
    from enarx.evidence.certificate import CRL_MAX_BYTES
    from enarx.manifest import MAX_BYTES
    from enarx.tenant.steward.csr import REQUEST_MAX_BYTES, is_bundle, split_bundle
    from enarx.tenant.steward.decision import Request

    data = read_beginning(csr, 2 * REQUEST_MAX_BYTES, "request")
    with contextlib.suppress(MalformedError):
        data = unwrap_pem(data, "CERTIFICATE REQUEST")
    requests: tuple[bytes, ...] = (data,)
    if is_bundle(data):
        if manifest:
            raise UsageError(f"{csr} is a bundle, which has no manifest", hint="leave --manifest out")
        with contextlib.suppress(MalformedError):
            requests = split_bundle(data)
    chain = split_certificates(read_input(args.chain, CRL_MAX_BYTES, "chain")) if args.chain else ()
    crls = tuple(unwrap_pem(read_input(path, CRL_MAX_BYTES, "CRL"), "X509 CRL") for path in args.crl)
    beside = read_beginning(manifest, MAX_BYTES, "manifest") if manifest else None
    signatures = read_signatures(args.signature)
    return tuple(Request(one, beside, chain, crls, manifest is None, signatures) for one in requests)


def read_signatures(paths: list[str]) -> tuple[bytes, ...]:
    """Signature objects in files, as many and as large as a request may have; UsageError."""
    from enarx.cli.keyfile import read_input
    from enarx.errors import UsageError
    from enarx.tenant.signature.signers import OBJECT_MAX_BYTES, OBJECTS_MAX

    if len(paths) > OBJECTS_MAX:
        raise UsageError(f"{len(paths)} signatures are given", code="signatures", hint=f"give at most {OBJECTS_MAX}")
    return tuple(read_input(path, OBJECT_MAX_BYTES, "signature") for path in paths)


def report(args: argparse.Namespace, requests: Sequence[Request], judge: Judge) -> int:
    """Print the decision on ``requests``, of which several are a bundle; returns 0 when accepted, else ``REFUSED``."""
    from enarx.tenant.steward.offline import check_bundle

    decisions, plain = check_bundle(requests, judge, moment(args.at))
    accepted: bool = plain["accepted"]
    if args.json:
        print(json.dumps(plain if len(requests) > 1 else plain["decisions"][0]))
    else:
        for number, decision in enumerate(decisions, 1):
            _show(decision, f"request {number} of {len(requests)}: " if len(requests) > 1 else "")
    return 0 if accepted else REFUSED


def _show(decision: Decision, which: str) -> None:
    from enarx.cli.ruletable import rule_table

    print(*rule_table(decision.rules), "", sep="\n")
    if decision.simulated:
        print("SIMULATED: the evidence is a simulator's. No hardware vouches for this.")
    if decision.error is None:
        grant = decision.grant
        name = f" of workload {grant.workload}" if grant and grant.workload else ""
        print(f"{which}ACCEPTED: a certificate{name}, {len(grant.secrets) if grant else 0} secrets.")
        return
    error = decision.error
    print(f"{which}REFUSED: {error.message}", f"Hint: {error.hint}", f"Code: {decision.code}", sep="\n")


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
