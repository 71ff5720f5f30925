"""``enarx rm``: remove what is left of deployments that have ended."""

from __future__ import annotations

import argparse

from enarx.errors import UsageError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "rm",
        help="remove what is left of a detached Keep that has ended",
        description="Remove the logs and the facts of deployments that have ended. The last 16 are kept otherwise.",
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="names, as `enarx ps --all` has them")
    parser.add_argument("--ended", action="store_true", help="all that have ended")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Remove them."""
    from enarx.errors import HostError
    from enarx.host.deployments import Deployments, default_directory

    if bool(args.names) == args.ended:
        raise UsageError("give the names of deployments, or --ended", hint="`enarx ps --all` lists them")
    deployments = Deployments(default_directory())
    for name in args.names or [seen.name for seen in deployments.all() if not seen.living]:
        try:
            deployments.remove(name)
        except HostError as error:
            if not args.ended or error.code not in ("deployment-unknown", "deployment-living"):
                raise
            continue  # somebody else was there first
        print(name)
    return 0
