"""``enarx run``: run a WebAssembly module in a Keep."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING, Final

from enarx.errors import EnarxError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from enarx.host.launch import Ending

_FLAGS: Final = ("--timings", "--verbose", "--require-sandbox", "--checked-calls", "--no-cache", "--help", "-h")
_OPTIONS: Final = ("--wasmcfgfile", "--dir", "--env", "--backend", "--cache-dir")


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
    parser.add_argument("module", metavar="MODULE", help="the WebAssembly module (.wasm)")
    parser.add_argument(
        "arguments", metavar="ARG", nargs="*", help="arguments for the workload, after those in Enarx.toml"
    )
    parser.add_argument(
        "--wasmcfgfile", metavar="FILE", default=os.environ.get("ENARX_WASMCFGFILE"),
        help="the workload's Enarx.toml (default: $ENARX_WASMCFGFILE; without one it gets stdin, stdout and stderr)",
    )  # fmt: skip
    parser.add_argument(
        "--dir", metavar="HOST::GUEST", action="append", default=[],
        help="give the workload a copy of the directory HOST at the path GUEST; what it writes stays in the Keep",
    )  # fmt: skip
    parser.add_argument("--env", metavar="NAME=VALUE", action="append", default=[], help="set an environment variable")
    parser.add_argument(
        "--backend", metavar="KIND", default=os.environ.get("ENARX_BACKEND", "process"),
        help="kind of Keep; this version has `process`, which isolates nothing from this machine",
    )  # fmt: skip
    parser.add_argument("--timings", action="store_true", help="print where start-up time went")
    parser.add_argument("--verbose", action="store_true", help="say what the sandbox applied, and more")
    parser.add_argument(
        "--require-sandbox", action="store_true", help="fail unless every layer of the Keep's sandbox can be applied"
    )
    parser.add_argument("--cache-dir", metavar="DIR", help="where compiled code is kept (default: the user's cache)")
    parser.add_argument("--no-cache", action="store_true", help="neither read nor write compiled code")
    parser.add_argument("--checked-calls", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def separate(arguments: list[str]) -> list[str]:
    """Put ``--`` before the workload's arguments: everything from the first argument after MODULE that is not ours.

    ``arguments`` begins with ``run``. A workload argument that looks like one of our options needs ``--`` before it.
    """
    index, seen_module = 1, False
    while index < len(arguments):
        argument = arguments[index]
        name = argument.partition("=")[0]
        if argument == "--":
            if not seen_module:
                return arguments
            return [*arguments[:index], "--", *arguments[index + 1 :]]
        if name in _OPTIONS:
            index += 1 if "=" in argument else 2
        elif argument in _FLAGS:
            index += 1
        elif not seen_module and not argument.startswith("-"):
            seen_module = True
            index += 1
        elif not seen_module:
            return arguments  # an option that we do not have: argparse says so
        else:
            return [*arguments[:index], "--", *arguments[index:]]
    return arguments


def run(args: argparse.Namespace) -> int:
    """Run the workload and return its exit status."""
    started = time.monotonic()
    from enarx.host.process import KeepProcess

    if args.backend != "process":
        raise UsageError(
            f'Keep backend identifier "{args.backend}" is unknown.',
            code="backend-unknown",
            hint="this version has `process`",
        )
    keep = KeepProcess()  # first, so that it starts up while we read
    spawned = time.monotonic()
    try:
        from enarx.host.cache import DiskCache, default_directory
        from enarx.host.launch import Host
        from enarx.host.load import load_package, path_of

        package = load_package(
            module=path_of(args.module), config=path_of(args.wasmcfgfile) if args.wasmcfgfile else None,
            directories=args.dir, env=args.env,
        )  # fmt: skip
        package.args = args.arguments
        package.require_sandbox = args.require_sandbox
        package.checked_calls = args.checked_calls
        directory: Path = path_of(args.cache_dir) if args.cache_dir else default_directory()
        cache = None if args.no_cache else DiskCache(directory)
    except BaseException:
        keep.kill()
        keep.wait()
        raise
    ready = time.monotonic()
    log = _log if args.verbose else _quiet
    ending = Host(keep, cache, log).run(package)
    if args.verbose:
        _show_sandbox(ending)
        if cache is not None and cache.reason:
            _log(f"compiled code is not cached: {cache.reason}")
    if args.timings:
        steps = [
            ("host: arguments and imports", spawned),
            ("host: package read", ready),
            ("host: all", time.monotonic()),
        ]
        _show_timings(ending, [(name, (when - started) * 1000) for name, when in steps])
    if ending.message:
        from enarx.cli.main import show_error

        show_error(EnarxError(ending.message, code=ending.code, hint=ending.hint))
    return ending.status


def _log(line: str) -> None:
    print(f"enarx: {line}", file=sys.stderr)


def _quiet(line: str) -> None:
    """Nobody asked."""


def _show_sandbox(ending: Ending) -> None:
    for layer, result in ending.sandbox.items():
        _log(f"sandbox: {layer}: {result}")


def _show_timings(ending: Ending, host: list[tuple[str, float]]) -> None:
    rows = [*host, *((f"keep: {name}", when) for name, when in ending.timings)]
    width = max(len(name) for name, _ in rows)
    _log("timings, in milliseconds since the start of each process's own code:")
    for name, when in rows:
        _log(f"  {name:<{width}}  {when:8.1f}")
