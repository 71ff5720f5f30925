"""What a client demands of a Keep, on the command line: the same options wherever a Keep is verified."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enarx.tenant.client import Expectation, Verdict
    from enarx.tenant.policy import Policy

EXIT_STATUSES = "exit status: 0 accepted, 1 nobody there, 3 malformed, 4 not authentic, 5 refused, 6 collateral"


def add_expectation(parser: argparse.ArgumentParser, *, policy_required: bool = True) -> None:
    """Add the options that `expectation_of` reads."""
    parser.add_argument(
        "--policy", metavar="FILE", required=policy_required, help="policy file, as a Steward has it"
    )  # fmt: skip
    parser.add_argument(
        "--manifest", metavar="FILE", help="manifest of the launch that is expected: what `enarx manifest` prints"
    )
    parser.add_argument(
        "--ca", metavar="DIGEST|FILE",
        help="the Steward's CA that is trusted, or the digest of its key: for names, and for workloads where neither "
        "manifest nor policy says which launch is meant",
    )  # fmt: skip


def add_collateral(parser: argparse.ArgumentParser) -> None:
    """Add the options for what goes with the evidence."""
    parser.add_argument("--chain", metavar="FILE", help="ASK (or ASVK) and ARK, PEM or DER; default: the embedded ones")
    parser.add_argument(
        "--crl", metavar="FILE", action="append", default=[],
        help="revocation list, DER or PEM: of the processor's vendor, or of the Steward (/v1/crl)",
    )  # fmt: skip
    parser.add_argument(
        "--signature", metavar="FILE", action="append", default=[],
        help="signature of the package, for a policy that asks who signed it: DSSE, or a sigstore bundle",
    )  # fmt: skip


def add_freshness(parser: argparse.ArgumentParser) -> None:
    """Add the options for how a connection is attested."""
    parser.add_argument(
        "--no-fresh", dest="fresh", action="store_false",
        help="judge the evidence in the certificate alone, for Keeps that do not answer challenges; whoever has the "
        "Keep's TLS key can then relay it",
    )  # fmt: skip
    parser.add_argument(
        "--cert", metavar="FILE", help="the client's own certificate (PEM, with its key), where the Keep asks for one"
    )


def expectation_of(args: argparse.Namespace, policy: Policy | None = None) -> Expectation:
    """What the options demand, by ``policy`` where it has been read already. Raises UsageError or ConfigError."""
    from enarx.cli.keyfile import read_input
    from enarx.cli.policy import read_signatures
    from enarx.evidence.bundle import BUNDLE_MAX_BYTES, split_certificates, unwrap_pem
    from enarx.evidence.certificate import CRL_MAX_BYTES
    from enarx.manifest import MAX_BYTES
    from enarx.tenant.authority import authority_bytes
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


def as_text(verdict: Verdict) -> str:
    """The verdict for a person: every rule, and the outcome."""
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
