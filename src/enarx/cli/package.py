"""``enarx package``: packages pushed to and pulled from registries."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from enarx.cli.packageregistry import add_parsers

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add ``package push|pull``."""
    parser = subparsers.add_parser("package", help="push packages to registries, and pull them")
    modes = parser.add_subparsers(dest="mode", required=True, metavar="MODE")
    add_parsers(modes)


def run(args: argparse.Namespace) -> int:
    """Run the mode that was parsed; returns the exit status, raises EnarxError."""
    status: int = args.run(args)
    return status
