"""``enarx manifest``: what a launch would be bound to, before it is launched, for whoever has to recognise it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from enarx.errors import UsageError

if TYPE_CHECKING:
    from enarx.host.contract import Package


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    from enarx.cli.run import add_workload

    parser = subparsers.add_parser(
        "manifest",
        help="print the manifest of a launch, for policies and clients",
        description="Print the manifest that `enarx run` launches with when it is given the same command line, or "
        "`enarx deploy` when MODULE is a package: canonical JSON, whose SHA-256 is in the evidence of that Keep. "
        "Nothing is launched.",
    )
    add_workload(parser)
    parser.add_argument("--out", metavar="FILE", help="write it to FILE, and print its digest (default: stdout)")
    parser.add_argument("--digest", action="store_true", help="print its digest instead, as policies name it")
    parser.set_defaults(run=run)


@contextmanager
def _workload(args: argparse.Namespace) -> Iterator[Package]:
    """What would be launched: a package as `enarx deploy` takes it, or a module with what `enarx run` adds."""
    from enarx.cli.run import load
    from enarx.host.contract import Package
    from enarx.host.fetch import FileFetcher, begins_as
    from enarx.host.load import path_of
    from enarx.mediatype import ENCRYPTED, PACKAGE

    path = path_of(args.module)
    if begins_as(path) not in (PACKAGE, ENCRYPTED):
        yield load(args)
        return
    if args.wasmcfgfile or args.dir or args.env or args.arguments:
        raise UsageError(
            "a package has its own config, files and arguments",
            hint="leave --wasmcfgfile, --dir, --env and arguments out",
        )
    fetched = FileFetcher().fetch(path.absolute().as_uri())
    try:
        yield Package(fetched.objects)
    finally:
        fetched.close()


def run(args: argparse.Namespace) -> int:
    """Print the manifest. Raises EnarxError for what no launch can have."""
    from enarx.cli.keyfile import write_output
    from enarx.cli.launchkeep import steward_pin
    from enarx.host.attested import manifest_of, parse_allow
    from enarx.manifest import digest_of

    steward = steward_pin(args)
    if steward is None:
        raise UsageError("a launch has a manifest when it has a Steward", hint="give --steward and --steward-ca")
    with _workload(args) as package:
        encoded = manifest_of(package, steward, parse_allow(args.allow)).encode()
    if args.digest or args.out:
        if args.out:
            write_output(args.out, encoded)
        print(digest_of(encoded))
    else:
        write_output(None, encoded)  # not one byte more, for the digest is over these
    return 0
