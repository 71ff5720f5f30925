"""``enarx run``: run a WebAssembly module in a Keep."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Final

from enarx.cli.launchkeep import conclude, launch
from enarx.cli.launchoptions import add_launch

if TYPE_CHECKING:
    from enarx.host.contract import Package

_FLAGS: Final = ("--timings", "--verbose", "--require-sandbox", "--checked-calls", "--no-cache", "--help", "-h")
_OPTIONS: Final = (
    "--wasmcfgfile", "--dir", "--env", "--backend", "--cache-dir", "--steward", "--steward-ca", "--allow",
    "--simulator-misbehave", "--approver", "--approver-ca", "--image", "--memory", "--cpus", "--id-block", "--id-auth",
    "--certificates", "--firmware",
)  # fmt: skip
_OF_MANIFEST: Final = ((*_FLAGS, "--digest"), (*_OPTIONS, "--out"))
"""The same for ``manifest``, which has a flag and an option of its own beside those of ``run``."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "run",
        help="run a WebAssembly module in a Keep",
        description="Run a WebAssembly module in a Keep. It sees what its Enarx.toml names, and nothing else.",
        epilog="Options may follow MODULE. The first argument after it that is not one of them, or `--`, begins the "
        "workload's own. Exit status: the workload's (0-125; 125 also stands for anything above), 1 when it could "
        "not be started, 2 for wrong usage, 124 when a limit ended it, 134 when it trapped, 128+N after signal N.",
    )
    add_workload(parser)
    parser.set_defaults(run=run)


def add_workload(parser: argparse.ArgumentParser) -> None:
    """Add the command line of a launch: the workload, what it is given, and how its Keep runs."""
    parser.add_argument("module", metavar="MODULE", help="the WebAssembly module (.wasm)")
    parser.add_argument(
        "arguments", metavar="ARG", nargs="*", default=[], help="arguments for the workload, after those in Enarx.toml"
    )
    parser.add_argument(
        "--wasmcfgfile", metavar="FILE", type=_file, default=os.environ.get("ENARX_WASMCFGFILE") or None,
        help="the workload's Enarx.toml (default: $ENARX_WASMCFGFILE; without one it gets stdin, stdout and stderr)",
    )  # fmt: skip
    parser.add_argument(
        "--dir", metavar="HOST::GUEST", action="append", default=[],
        help="give the workload a copy of the directory HOST at the path GUEST; what it writes stays in the Keep",
    )  # fmt: skip
    parser.add_argument("--env", metavar="NAME=VALUE", action="append", default=[], help="set an environment variable")
    add_launch(parser)
    parser.add_argument("--checked-calls", action="store_true", help=argparse.SUPPRESS)


def _file(text: str) -> str:
    """Not nothing: where a script's variable is empty, the workload would get more than its config says."""
    if not text:
        raise argparse.ArgumentTypeError("it names no file")
    return text


def separate(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our own arguments, and the workload's: from the first one after MODULE that is not ours, or after ``--``.

    ``arguments`` begins with ``run`` or ``manifest``. argparse never sees the workload's, of which it would take some
    for its own.
    """
    flags, options = _OF_MANIFEST if arguments[0] == "manifest" else (_FLAGS, _OPTIONS)
    index, seen_module = 1, False
    while index < len(arguments):
        argument = arguments[index]
        if argument == "--":
            end = index if seen_module else index + 2  # before MODULE, it says that MODULE begins with a dash
            return arguments[:end], arguments[index + 1 if seen_module else end :]
        if argument.partition("=")[0] in options:
            index += 1 if "=" in argument else 2
        elif argument in flags:
            index += 1
        elif seen_module:
            return arguments[:index], arguments[index:]
        elif argument.startswith("-"):
            break  # an option that we do not have: argparse says so
        else:
            seen_module = True
            index += 1
    return arguments, []


def run(args: argparse.Namespace) -> int:
    """Run the workload and return its exit status."""
    return conclude(launch(args, lambda: _with_signatures(load(args), args)))


def _with_signatures(package: Package, args: argparse.Namespace) -> Package:
    """``package`` with the signatures beside its module, which a Steward may ask for."""
    if args.steward is not None:
        from enarx.host.fetch import signatures_beside
        from enarx.host.load import path_of

        package.objects = [*package.objects, *signatures_beside(path_of(args.module))]
    return package


def load(args: argparse.Namespace) -> Package:
    """What `add_workload` names, read. Raises ConfigError, HostError or UsageError."""
    from enarx.host.load import load_package, path_of

    package = load_package(
        module=path_of(args.module), config=path_of(args.wasmcfgfile) if args.wasmcfgfile else None,
        directories=args.dir, env=args.env,
    )  # fmt: skip
    package.args = args.arguments
    package.checked_calls = args.checked_calls
    return package
