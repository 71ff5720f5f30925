"""What the commands of ``enarx image`` have in common: where inputs are kept, and words about what goes on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from enarx.host.image.fetch import Inputs


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add ``--cache-dir``."""
    parser.add_argument("--cache-dir", metavar="DIR", help="where downloads are kept (default: the user's cache)")


def cache_directory(args: argparse.Namespace) -> Path:
    """The directory that the command names, or the user's. HostError (``no-home``)."""
    from enarx.host.image.fetch import default_cache

    return Path(args.cache_dir) if args.cache_dir else default_cache()


def open_inputs(args: argparse.Namespace) -> Inputs:
    """The inputs in that directory. HostError (``no-home``)."""
    from enarx.host.image.fetch import Inputs

    return Inputs(cache_directory(args), tell)


def tell(line: str) -> None:
    """A line about what goes on, beside the result."""
    print(f"enarx: {line}", file=sys.stderr)
