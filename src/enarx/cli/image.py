"""``enarx image``: build what a VM Keep is launched from, and lock what it is built from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enarx.host.image.fetch import Inputs

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add ``image build|lock``."""
    parser = subparsers.add_parser("image", help="build the image of a VM Keep")
    modes = parser.add_subparsers(dest="mode", required=True, metavar="MODE")

    build = modes.add_parser(
        "build",
        help="build kernel, initial RAM disk, command line and firmware, with the launch digests to expect",
        epilog="The same lock file and version of Enarx give the same bytes. Needs no root and changes nothing on this "
        "machine; runs on x86-64 Debian.",
    )
    build.add_argument("--lock", metavar="FILE", help="inputs, as `enarx image lock` writes them (default: ours)")
    build.add_argument(
        "-o", "--output", metavar="DIR", help="where the image goes (default: where `--backend vm` looks for one)"
    )
    build.add_argument(
        "--kernel",
        choices=["stock", "own"],
        default="stock",
        help="Debian's cloud kernel, or one of its sources",
    )
    _add_cache(build)
    build.set_defaults(run=_build)

    lock = modes.add_parser(
        "lock",
        help="write a lock file of the inputs that are offered now",
        epilog="Other inputs are another image with other launch digests: policies must be told.",
    )
    lock.add_argument("--lock", metavar="FILE", help="a lock file whose sources are looked at (default: ours)")
    lock.add_argument("-o", "--output", metavar="FILE", required=True, help="where the lock file goes")
    _add_cache(lock)
    lock.set_defaults(run=_lock)


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache-dir", metavar="DIR", help="where downloads are kept (default: the user's cache)")


def _build(args: argparse.Namespace) -> int:
    from enarx.host.image.build import build, stock_kernel
    from enarx.host.image.layout import default_directory
    from enarx.host.image.lock import read_lock

    lock = read_lock(Path(args.lock) if args.lock else None)
    directory = Path(args.output) if args.output else default_directory()
    inputs = _inputs(args)
    inputs.all(lock)
    image = build(lock, inputs, directory, stock_kernel(lock, inputs), args.kernel)
    for name, digest in image.digests.items():
        print(f"{digest}  {image.directory / name}")
    return 0


def _lock(args: argparse.Namespace) -> int:
    from enarx.cli.keyfile import write_output
    from enarx.host.image.lock import format_lock, read_lock
    from enarx.host.image.relock import relock

    lock = read_lock(Path(args.lock) if args.lock else None, complete=False)
    renewed = relock(lock.archives, _inputs(args), _tell)
    write_output(args.output, format_lock(renewed))
    before = {one.name: one.version for one in lock.inputs}
    for one in renewed.inputs:
        if before.get(one.name) != one.version:
            print(f"{one.name}: {before.get(one.name, 'new')} -> {one.version}")
    return 0


def _inputs(args: argparse.Namespace) -> Inputs:
    from enarx.host.image.fetch import Inputs, default_cache

    return Inputs(Path(args.cache_dir) if args.cache_dir else default_cache(), _tell)


def _tell(line: str) -> None:
    import sys

    print(f"enarx: {line}", file=sys.stderr)
