"""``enarx image kernel``: build the kernel of our own, or see whether it comes out as recorded."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from enarx.cli.imageinputs import add_cache, cache_directory, open_inputs, tell
from enarx.errors import HostError

if TYPE_CHECKING:
    from enarx.host.image.build import Kernel
    from enarx.host.image.fetch import Inputs
    from enarx.host.image.kernel import OwnKernel
    from enarx.host.image.lock import Lock

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

MAX_JOBS: Final = 1024
"""Compilers at once (count)."""


def add_kernel(modes: Subparsers) -> None:
    """Add ``image kernel``."""
    parser = modes.add_parser(
        "kernel",
        help="build a kernel of Debian's sources with a Keep's configuration",
        epilog="The same inputs are built once and then taken from the cache. A build takes minutes, 3 GB of disk, and "
        "a compiler; the error names the Debian packages that are missing.",
    )
    parser.add_argument("--lock", metavar="FILE", help="inputs, as `enarx image lock` writes them (default: ours)")
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="where vmlinuz, config, System.map and kernel.lock go (default: nowhere)"
    )
    add_jobs(parser)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="build twice, in different places, and compare the bytes")
    mode.add_argument(
        "--recorded",
        action="store_true",
        help="build nothing: exit status 0 if the kernel that this program has on record is of these inputs, else 1",
    )
    add_cache(parser)
    parser.set_defaults(run=_kernel)


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Add ``--jobs``."""
    parser.add_argument("--jobs", metavar="N", type=_count, help="compilers at once (default: one a core)")


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_JOBS:
        raise argparse.ArgumentTypeError(f"expected 1 to {MAX_JOBS}")
    return number


def find_kernel(lock: Lock, inputs: Inputs, args: argparse.Namespace) -> Kernel:
    """The kernel that ``--kernel`` asks for. HostError as ``stock_kernel`` and ``own_kernel`` raise."""
    from enarx.host.image.build import Kernel, stock_kernel

    if args.kernel == "stock":
        return stock_kernel(lock, inputs)
    own = _own_kernel(lock, inputs, args)
    return Kernel(own.product.vmlinuz, {}, own.record.made_with)


def _kernel(args: argparse.Namespace) -> int:
    from enarx.host.image.kernel import is_recorded
    from enarx.host.image.lock import read_lock

    lock = read_lock(Path(args.lock) if args.lock else None)
    if args.recorded:
        recorded = is_recorded(lock)
        print(f"the kernel on record is of {'these' if recorded else 'other'} inputs")
        return 0 if recorded else 1
    kernel = _own_kernel(lock, open_inputs(args), args, check=args.check)
    if args.output:
        _write(kernel, Path(args.output))
    record = kernel.record
    print(f"{record.vmlinuz}  {record.size} bytes, of inputs {record.inputs}")
    return 0


def _own_kernel(lock: Lock, inputs: Inputs, args: argparse.Namespace, *, check: bool = False) -> OwnKernel:
    from enarx.cli.ending import ending_signals
    from enarx.host.image.kernel import Builder

    builder, cache = Builder(lock, inputs, args.jobs, tell), cache_directory(args) / "kernels"
    with ending_signals():
        made = builder.check(cache) if check else builder.kernel(cache)
    if not made.recorded:
        tell("the kernel on record is of other inputs: other sources, another compiler, or another configuration")
    return made


def _write(kernel: OwnKernel, directory: Path) -> None:
    from enarx.host.image.kernel import write

    try:
        directory.mkdir(parents=True, exist_ok=True)
        write(kernel, directory)
    except OSError as error:
        raise HostError(
            f"{directory} cannot be written: {error.strerror}", code="output", hint="name another directory with -o"
        ) from error
