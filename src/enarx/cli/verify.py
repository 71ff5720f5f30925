"""``enarx verify``: the client's part for any Keep: what shows this certificate, and is it what a policy accepts?

Exit statuses: 0 accepted, 1 nobody there or a wrong policy, 2 usage, 3 malformed, 4 not authentic, 5 refused by the
policy, 6 collateral missing or stale. ``--json`` prints the object that ``enarx.tenant.client.Verdict`` documents.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enarx.tenant.client import Expectation, Verdict
    from enarx.tenant.policy import Policy


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "verify",
        help="verify a Keep that serves: its certificate, the evidence in it, and what it runs",
        description="Connect to a Keep over TLS 1.3 and verify what it shows, before anything is sent to it: the "
        "evidence in its certificate by the policy, that the evidence is over the key of this connection, and that "
        "the Keep was launched with the manifest that is expected.",
        epilog="exit status: 0 accepted, 1 nobody there, 3 malformed, 4 not authentic, 5 refused, 6 collateral",
    )
    parser.add_argument("url", metavar="URL", help="https://HOST:PORT")
    parser.add_argument("--policy", metavar="FILE", required=True, help="policy file, as a Steward has it")
    parser.add_argument(
        "--manifest", metavar="FILE", help="manifest of the launch that is expected: what `enarx manifest` prints"
    )
    parser.add_argument(
        "--ca", metavar="DIGEST|FILE",
        help="the Steward's CA that is trusted, or the digest of its key: for names, and for workloads where neither "
        "manifest nor policy says which launch is meant",
    )  # fmt: skip
    parser.add_argument("--chain", metavar="FILE", help="ASK (or ASVK) and ARK, PEM or DER; default: the embedded ones")
    parser.add_argument(
        "--crl", metavar="FILE", action="append", default=[],
        help="revocation list, DER or PEM: of the processor's vendor, or of the Steward (/v1/crl)",
    )  # fmt: skip
    parser.add_argument(
        "--signature", metavar="FILE", action="append", default=[],
        help="signature of the package, for a policy that asks who signed it: DSSE, or a sigstore bundle",
    )  # fmt: skip
    parser.add_argument("--at", metavar="TIME", help="judge as of this time (2025-01-09T22:14:21Z); default: now")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify; returns the exit status. Raises EnarxError when there is nothing to judge, or nothing to judge it by."""
    from enarx.cli.policy import moment
    from enarx.tenant.client import verify
    from enarx.tenant.peer import place, shown_chain

    host, port = place(args.url)
    now, expected = moment(args.at), expectation_of(args)
    verdict = verify(shown_chain(host, port), host, expected, now)
    if args.json:
        print(json.dumps(verdict.as_json()))
    else:
        print(_as_text(verdict))
    return verdict.error.exit_status if verdict.error else 0


def expectation_of(args: argparse.Namespace, policy: Policy | None = None) -> Expectation:
    """What the options say that is expected, by ``policy`` or that of ``--policy``; UsageError, ConfigError."""
    from enarx.cli.authority import authority_bytes
    from enarx.cli.keyfile import read_input
    from enarx.cli.policy import read_signatures
    from enarx.evidence.bundle import BUNDLE_MAX_BYTES, split_certificates, unwrap_pem
    from enarx.evidence.certificate import CRL_MAX_BYTES
    from enarx.manifest import MAX_BYTES
    from enarx.tenant.client import Expectation
    from enarx.tenant.steward.files import read_policy

    return Expectation(
        policy=policy or read_policy(args.policy),
        manifest=read_input(args.manifest, MAX_BYTES, "manifest") if args.manifest else None,
        authority=authority_bytes("--ca", args.ca),
        chain=split_certificates(read_input(args.chain, BUNDLE_MAX_BYTES, "chain")) if args.chain else (),
        crls=tuple(unwrap_pem(read_input(path, CRL_MAX_BYTES, "CRL"), "X509 CRL") for path in args.crl),
        signatures=read_signatures(args.signature),
    )


def _as_text(verdict: Verdict) -> str:
    from enarx.cli.ruletable import rule_table

    lines = [*rule_table(verdict.rules), ""]
    if verdict.simulated:
        lines.append("SIMULATED: the evidence is a simulator's. No hardware vouches for this.")
    if verdict.error is not None:
        error = verdict.error
        return "\n".join([*lines, f"REFUSED: {error.message}", f"Hint: {error.hint}", f"Code: {error.code}"])
    if not verdict.authority:
        lines.append("NOT CHECKED: who issued the certificate, and its names. --ca or --manifest says whom to trust.")
    name = f"workload {verdict.workload}, " if verdict.workload else ""
    facts = verdict.facts
    lines.append(f"ACCEPTED: a Keep with {name}manifest {facts['manifest']}, key {facts['key']}.")
    return "\n".join(lines)
