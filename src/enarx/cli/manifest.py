"""``enarx manifest``: what a launch would be bound to, before it is launched, for whoever has to recognise it."""

from __future__ import annotations

import argparse

from enarx.errors import UsageError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    from enarx.cli.run import add_launch

    parser = subparsers.add_parser(
        "manifest",
        help="print the manifest of a launch, for policies and clients",
        description="Print the manifest that `enarx run` launches with when it is given the same command line: "
        "canonical JSON, whose SHA-256 is in the evidence of that Keep. Nothing is launched.",
    )
    add_launch(parser)
    parser.add_argument("--out", metavar="FILE", help="write it to FILE, and print its digest (default: stdout)")
    parser.add_argument("--digest", action="store_true", help="print its digest instead, as policies name it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the manifest. Raises EnarxError for what no launch can have."""
    from enarx.cli.keyfile import write_output
    from enarx.cli.run import steward_pin
    from enarx.host.attested import manifest_of, parse_allow
    from enarx.host.load import load_package, path_of
    from enarx.manifest import digest_of

    steward = steward_pin(args)
    if steward is None:
        raise UsageError("a launch has a manifest when it has a Steward", hint="give --steward and --steward-ca")
    package = load_package(
        module=path_of(args.module), config=path_of(args.wasmcfgfile) if args.wasmcfgfile else None,
        directories=args.dir, env=args.env,
    )  # fmt: skip
    package.args = args.arguments
    encoded = manifest_of(package, steward, parse_allow(args.allow)).encode()
    if args.digest or args.out:
        if args.out:
            write_output(args.out, encoded)
        print(digest_of(encoded))
    else:
        write_output(None, encoded)  # not one byte more, for the digest is over these
    return 0
