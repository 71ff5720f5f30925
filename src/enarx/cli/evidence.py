"""``enarx evidence``: look at evidence, verify it, and run a vector index.

Exit statuses of ``verify``: 0 accepted, 2 usage (also a policy file that is wrong), 3 malformed, 4 not authentic, 5
refused by policy, 6 a certificate or revocation list is missing or has expired.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

EVIDENCE_MAX_BYTES = 1024 * 1024
"""Largest file with evidence or collateral that is read (bytes)."""


def add_parser(subparsers: Subparsers) -> None:
    """Add ``evidence show|verify|run-cases``."""
    parser = subparsers.add_parser("evidence", help="look at evidence of a TEE, and verify it")
    modes = parser.add_subparsers(dest="mode", required=True, metavar="MODE")

    show = modes.add_parser("show", help="print a report, a certificate or a certificate table; verifies nothing")
    show.add_argument("file", metavar="FILE", help="report, certificate (X.509 or SEV's own) or certificate table")
    show.add_argument("--json", action="store_true", help="print one JSON object")
    show.set_defaults(run=_show)

    verify = modes.add_parser(
        "verify",
        help="verify a report up to the vendor's root, and judge it by a policy",
        epilog="exit status: 0 accepted, 2 usage, 3 malformed, 4 not authentic, 5 refused by policy, "
        "6 collateral missing or stale",
    )
    verify.add_argument("file", metavar="FILE", help="SEV-SNP report, or the certificates of a SEV platform")
    endorsement = verify.add_mutually_exclusive_group()
    endorsement.add_argument("--vcek", metavar="FILE", help="VCEK certificate of the chip, DER or PEM")
    endorsement.add_argument("--vlek", metavar="FILE", help="VLEK certificate of the provider, DER or PEM")
    endorsement.add_argument("--certs", metavar="FILE", help="certificate table from an extended report")
    verify.add_argument(
        "--chain",
        metavar="FILE",
        help="ASK (or ASVK) and ARK, PEM, DER or SEV's own format; default: the embedded ones",
    )
    verify.add_argument("--crl", metavar="FILE", action="append", default=[], help="revocation list, DER or PEM")
    verify.add_argument("--require-crl", action="store_true", help="refuse without a current revocation list")
    verify.add_argument("--at", metavar="TIME", help="judge as of this time (2025-01-09T22:14:21Z); default: now")
    verify.add_argument("--policy", metavar="FILE", help="TOML file with an [snp] table")
    verify.add_argument("--fast", action="store_true", help="verify P-384 with AWS-LC (pip install 'enarx[fast]')")
    verify.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    verify.set_defaults(run=_verify)

    cases = modes.add_parser("run-cases", help="judge every case of a vector index, one JSON line each")
    cases.add_argument("index", metavar="INDEX.toml")
    cases.add_argument("--tee", metavar="T", help="only cases of this technology")
    cases.add_argument("--json", action="store_true", help="nothing but the JSON lines, also with --compare")
    cases.add_argument(
        "--compare", action="store_true", help="compare with what the index expects; exit 1 if different"
    )
    cases.set_defaults(run=_run_cases)


def run(args: argparse.Namespace) -> int:
    """Run the mode that was parsed; returns the exit status, raises EnarxError."""
    status: int = args.run(args)
    return status


def _show(args: argparse.Namespace) -> int:
    from enarx.cli.showevidence import show

    return show(args)


def _verify(args: argparse.Namespace) -> int:
    from enarx.cli.verifyevidence import verify

    return verify(args)


def _run_cases(args: argparse.Namespace) -> int:
    from enarx.cli.runcases import run as run_cases

    return run_cases(args)
