"""``enarx image``: build what a VM Keep is launched from, and lock what it is built from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from enarx.cli.imageinputs import add_cache, open_inputs, tell
from enarx.cli.imagekernel import add_jobs, add_kernel, find_kernel

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add ``image build|kernel|lock``."""
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
    add_jobs(build)
    add_cache(build)
    build.set_defaults(run=_build)

    add_kernel(modes)

    lock = modes.add_parser(
        "lock",
        help="write a lock file of the inputs that are offered now",
        epilog="Other inputs are another image with other launch digests: policies must be told.",
    )
    lock.add_argument("--lock", metavar="FILE", help="a lock file whose sources are looked at (default: ours)")
    lock.add_argument("-o", "--output", metavar="FILE", required=True, help="where the lock file goes")
    add_cache(lock)
    lock.set_defaults(run=_lock)


def _build(args: argparse.Namespace) -> int:
    from enarx.host.image.build import build
    from enarx.host.image.layout import default_directory
    from enarx.host.image.lock import read_lock

    lock = read_lock(Path(args.lock) if args.lock else None).for_kernel(args.kernel)
    directory = Path(args.output) if args.output else default_directory()
    inputs = open_inputs(args)
    kernel = find_kernel(lock, inputs, args)  # first, for it may need what is not installed here
    inputs.all(lock)
    image = build(lock, inputs, directory, kernel, args.kernel)
    for name, digest in image.digests.items():
        print(f"{digest}  {image.directory / name}")
    return 0


def _lock(args: argparse.Namespace) -> int:
    from enarx.cli.keyfile import write_output
    from enarx.host.image.lock import format_lock, read_lock
    from enarx.host.image.relock import relock

    lock = read_lock(Path(args.lock) if args.lock else None, complete=False)
    renewed = relock(lock.archives, open_inputs(args), tell)
    write_output(args.output, format_lock(renewed))
    before = {one.name: one.version for one in lock.inputs}
    for one in renewed.inputs:
        if before.get(one.name) != one.version:
            print(f"{one.name}: {before.get(one.name, 'new')} -> {one.version}")
    return 0
