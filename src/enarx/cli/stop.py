"""``enarx stop``: end detached Keeps."""

from __future__ import annotations

import argparse
import math

from enarx.errors import EnarxError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "stop",
        help="stop a detached Keep",
        description="Stop detached Keeps, as SIGTERM stops `enarx run`, and wait until they are gone. One that has "
        "ended already is no error.",
    )
    parser.add_argument("names", metavar="NAME", nargs="+", help="names, as `enarx ps` has them")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, default=10.0,
        help="after which it is killed, with its supervisor (default: 10)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 to 86400")
    return seconds


def run(args: argparse.Namespace) -> int:
    """Stop them, one after the other. Returns the exit status of the last error, if there is one."""
    from enarx.cli.main import show_error
    from enarx.host.deployments import Deployments, default_directory
    from enarx.host.stopping import stop

    deployments = Deployments(default_directory())
    status = 0
    for name in args.names:
        try:
            print(f"{name}: {stop(deployments, name, args.timeout).value}", flush=True)
        except EnarxError as error:  # the others are to be stopped all the same
            show_error(error)
            status = error.exit_status
    return status
