"""``enarx package``: what a Keep runs, as files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from enarx.cli import packagesign

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add ``package sign|verify``."""
    parser = subparsers.add_parser("package", help="sign and verify packages")
    packagesign.add_parsers(parser.add_subparsers(dest="mode", required=True, metavar="MODE"))
