"""``enarx bundle``: keep what a Keep showed in one file, and judge it again, years later and without a network.

Exit statuses are those of ``enarx verify``; ``save`` writes what was shown also when it is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from enarx.connect.bundle import Bundle
    from enarx.tenant.client import Verdict

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add ``bundle save|verify``."""
    from enarx.cli.expectation import EXIT_STATUSES, add_collateral, add_expectation, add_freshness

    parser = subparsers.add_parser("bundle", help="save what a Keep shows in one file, and judge it again later")
    modes = parser.add_subparsers(dest="mode", required=True, metavar="MODE")
    save = modes.add_parser(
        "save",
        help="verify a Keep, and write all that was judged into one file",
        description="Verify a Keep as `enarx verify --fresh` does, and write evidence, certificates, lists, manifest, "
        "policy and time into one file, from which the judgement can be repeated without a network.",
        epilog=f"{EXIT_STATUSES}; the file is written unless nothing was shown",
    )
    save.add_argument("url", metavar="URL", help="https://HOST:PORT")
    save.add_argument("-o", "--out", metavar="FILE", required=True, help="the bundle; an older one is replaced")
    add_expectation(save)
    add_collateral(save)
    add_freshness(save)
    save.set_defaults(run=_save)
    verify = modes.add_parser(
        "verify",
        help="judge what is in a bundle, offline",
        description="Judge what is in a bundle: by its own policy, manifest and CA and as of the time at which it was "
        "saved, all of which its maker chose, or by those that are given here.",
        epilog=EXIT_STATUSES,
    )
    verify.add_argument("file", metavar="FILE", help="bundle")
    add_expectation(verify, policy_required=False)
    verify.add_argument("--at", metavar="TIME", help="judge as of this time; default: when the bundle was saved")
    verify.set_defaults(run=_verify)
    for mode in (save, verify):
        mode.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Run the mode that was parsed; returns the exit status, raises EnarxError."""
    status: int = args.run(args)
    return status


def _save(args: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from enarx.cli.expectation import expectation_of
    from enarx.cli.keyfile import write_output
    from enarx.connect.attestor import Attestor
    from enarx.connect.bundle import Bundle, record_policy
    from enarx.connect.sockets import look
    from enarx.tenant.peer import place

    host, port = place(args.url)
    policy, stated = record_policy(args.policy)
    expected = expectation_of(args, policy)
    now = datetime.now(UTC).replace(microsecond=0)  # as the bundle will say
    seen = look(Attestor(expected, fresh=args.fresh, certificate=certificate(args), now=lambda: now), host, port)
    bundle = Bundle(
        saved=now,
        url=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        certificates=seen.chain,
        policy=stated,
        session=seen.session,
        chain=expected.chain,
        crls=expected.crls,
        manifest=expected.manifest,
        authority=expected.authority,
        signatures=expected.signatures,
    )
    write_output(args.out, bundle.encode())
    print(f"{args.out}: what {bundle.url} showed", file=sys.stderr)
    if seen.error is not None and (seen.verdict is None or seen.verdict.accepted):
        raise seen.error  # the certificate is fine, and there was no fresh evidence
    return _show(args, bundle, seen.verdict, now) if seen.verdict else 1


def _verify(args: argparse.Namespace) -> int:
    from enarx.cli.keyfile import read_input
    from enarx.cli.policy import moment
    from enarx.connect.bundle import BUNDLE_MAX_BYTES, read_bundle, verify_bundle
    from enarx.manifest import MAX_BYTES
    from enarx.tenant.authority import authority_bytes

    bundle = read_bundle(read_input(args.file, BUNDLE_MAX_BYTES, "bundle"))
    at = moment(args.at) if args.at else bundle.saved
    verdict = verify_bundle(
        bundle,
        args.policy,
        at,
        manifest=read_input(args.manifest, MAX_BYTES, "manifest") if args.manifest else None,
        ca=authority_bytes("--ca", args.ca),
    )
    return _show(args, bundle, verdict, at)


def _show(args: argparse.Namespace, bundle: Bundle, verdict: Verdict, at: datetime) -> int:
    from enarx.cli.expectation import as_text
    from enarx.evidence.chain import moment, seconds

    saved, judged = moment(seconds(bundle.saved)), moment(seconds(at))
    given = [name for name in ("policy", "manifest", "ca") if getattr(args, name)]
    if args.json:
        about = {"url": bundle.url, "saved": saved, "judged_at": judged, "given": given}
        print(json.dumps({**verdict.as_json(), "bundle": about}))
    else:
        inside = {"policy": bundle.policy, "manifest": bundle.manifest, "ca": bundle.authority}
        own = [name for name, value in inside.items() if value is not None and name not in given]
        print(as_text(verdict))
        if args.mode == "verify":
            fresh = "with" if bundle.session else "without"
            print(f"Saved {saved} from {bundle.url}, {fresh} fresh evidence, by its maker's word.")
            print(f"Judged as of {judged}.")
            print(f"The bundle's own: {', '.join(own) or 'nothing'}. Given here: {', '.join(given) or 'nothing'}.")
    return verdict.error.exit_status if verdict.error else 0


def certificate(args: argparse.Namespace) -> tuple[str, str | None] | None:
    """``--cert`` as `Attestor` takes it."""
    return (args.cert, None) if args.cert else None
