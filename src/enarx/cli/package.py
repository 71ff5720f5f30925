"""``enarx package``: build, encrypt, sign, publish and look at packages. Each module of `MODES` adds its own modes."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Final

MODES: Final = ("packagebuild", "packageinspect", "packagesign", "packageregistry", "packagesbom")
"""Modules of ``enarx.cli`` with ``add_parsers(modes)``, which sets ``run`` for each mode that it adds."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``package`` with all its modes."""
    parser = subparsers.add_parser("package", help="build, encrypt, sign, publish and look at packages")
    modes = parser.add_subparsers(dest="mode", required=True, metavar="MODE", prog=parser.prog)
    for name in MODES:
        import_module(f"enarx.cli.{name}").add_parsers(modes)
