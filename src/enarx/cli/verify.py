"""``enarx verify``: the client's part for any Keep: what shows this certificate, and is it what a policy accepts?

Exit statuses: 0 accepted, 1 nobody there or a wrong policy, 2 usage, 3 malformed, 4 not authentic, 5 refused by the
policy, 6 collateral missing or stale. ``--json`` prints the object that ``enarx.tenant.client.Verdict`` documents.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from enarx.tenant.client import Expectation, Verdict


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    from enarx.cli.expectation import EXIT_STATUSES, add_collateral, add_expectation

    parser = subparsers.add_parser(
        "verify",
        help="verify a Keep that serves: its certificate, the evidence in it, and what it runs",
        description="Connect to a Keep over TLS 1.3 and verify what it shows, before anything is sent to it: the "
        "evidence in its certificate by the policy, that the evidence is over the key of this connection, and that "
        "the Keep was launched with the manifest that is expected.",
        epilog=EXIT_STATUSES,
    )
    parser.add_argument("url", metavar="URL", help="https://HOST:PORT")
    add_expectation(parser)
    add_collateral(parser)
    parser.add_argument(
        "--fresh", action="store_true", help="also demand fresh evidence, over this TLS session and a nonce"
    )
    parser.add_argument("--at", metavar="TIME", help="judge as of this time (2025-01-09T22:14:21Z); default: now")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify; returns the exit status. Raises EnarxError when there is nothing to judge, or nothing to judge it by."""
    from enarx.cli.expectation import as_text, expectation_of
    from enarx.cli.policy import moment
    from enarx.tenant.client import verify
    from enarx.tenant.peer import place, shown_chain

    host, port = place(args.url)
    now, expected = moment(args.at), expectation_of(args)
    verdict = _fresh(host, port, expected, now) if args.fresh else verify(shown_chain(host, port), host, expected, now)
    print(json.dumps(verdict.as_json()) if args.json else as_text(verdict))
    return verdict.error.exit_status if verdict.error else 0


def _fresh(host: str, port: int, expected: Expectation, now: datetime) -> Verdict:
    """The same with a challenge. Raises what stands for no verdict: nobody there, or no answer."""
    from enarx.connect.attestor import Attestor
    from enarx.connect.sockets import look

    seen = look(Attestor(expected, now=lambda: now), host, port)
    if seen.verdict is None or (seen.verdict.accepted and seen.error is not None):
        raise seen.error or AssertionError("neither a verdict nor an error")
    return seen.verdict
