"""``enarx run``: run a WebAssembly module in a Keep."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING, Final

from enarx.errors import EnarxError, UsageError

if TYPE_CHECKING:
    from enarx.host.launch import Ending
    from enarx.manifest import StewardPin

_FLAGS: Final = ("--timings", "--verbose", "--require-sandbox", "--checked-calls", "--no-cache", "--help", "-h")
_OPTIONS: Final = (
    "--wasmcfgfile", "--dir", "--env", "--backend", "--cache-dir", "--steward", "--steward-ca", "--allow",
    "--simulator-misbehave",
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
    add_launch(parser)
    parser.set_defaults(run=run)


def add_launch(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument(
        "--backend", metavar="KIND", default=os.environ.get("ENARX_BACKEND", "process"),
        help="kind of Keep; this version has `process`, which isolates nothing from this machine",
    )  # fmt: skip
    _add_attestation(parser)
    parser.add_argument("--timings", action="store_true", help="print where start-up time went")
    parser.add_argument("--verbose", action="store_true", help="say what the sandbox applied, and more")
    parser.add_argument(
        "--require-sandbox", action="store_true", help="fail unless every layer of the Keep's sandbox can be applied"
    )
    parser.add_argument("--cache-dir", metavar="DIR", help="where compiled code is kept (default: the user's cache)")
    parser.add_argument("--no-cache", action="store_true", help="neither read nor write compiled code")
    parser.add_argument("--checked-calls", action="store_true", help=argparse.SUPPRESS)


def _file(text: str) -> str:
    """Not nothing: where a script's variable is empty, the workload would get more than its config says."""
    if not text:
        raise argparse.ArgumentTypeError("it names no file")
    return text


def _add_attestation(parser: argparse.ArgumentParser) -> None:
    """Add what a launch before a Steward takes."""
    parser.add_argument(
        "--steward", metavar="URL",
        help="launch on a secure processor (SIMULATED, for a process Keep), prove the Keep to this Steward, and run "
        "with the certificate and the secrets that it gives, which the workload finds below /keep",
    )  # fmt: skip
    parser.add_argument(
        "--steward-ca", metavar="DIGEST|FILE",
        help="the Steward's CA: `sha256:` and the digest of its key, as `enarx steward` prints it, or its certificate",
    )  # fmt: skip
    parser.add_argument(
        "--allow", metavar="STREAM", action="append", default=[],
        help="listen:PORT or connect:HOST:PORT that the workload may have, of those in its Enarx.toml (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--simulator-misbehave", metavar="HOW", default="",
        help="let the SIMULATED processor lie, to see that it is found out: `debug`, `replayed`, ...",
    )  # fmt: skip


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
    started = time.monotonic()
    from enarx.host.process import KeepProcess

    if args.backend != "process":
        raise UsageError(
            f'Keep backend identifier "{args.backend}" is unknown.',
            code="backend-unknown",
            hint="this version has `process`",
        )
    steward = steward_pin(args)
    keep = KeepProcess(measured=steward is not None)  # first, so that it starts up while we read
    spawned = time.monotonic()
    launch = None
    try:
        if keep.channel is not None:
            from datetime import UTC, datetime

            from enarx.host.attested import SimulatedLaunch

            launch = SimulatedLaunch(keep.channel, datetime.now(UTC), args.simulator_misbehave, _log)
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
        if launch is not None:
            from enarx.host.attested import manifest_of, parse_allow, with_manifest

            manifest = manifest_of(package, steward, parse_allow(args.allow))
            package = with_manifest(package, manifest)
            launch.wait()
            launch.finish(manifest.digest())
        directory = path_of(args.cache_dir) if args.cache_dir else default_directory()
        cache = None if args.no_cache else DiskCache(directory)
    except BaseException:
        if launch is not None:
            launch.abandon()
        keep.link.close()
        keep.kill()
        keep.wait()
        raise
    ready = time.monotonic()
    log = _log if args.verbose else _quiet
    try:
        ending = Host(keep, cache, log).run(package)
    finally:
        if launch is not None and launch.failure is not None:
            raise launch.failure
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


def steward_pin(args: argparse.Namespace) -> StewardPin | None:
    """The Steward of the command line. Raises UsageError."""
    if args.steward is None:
        given = {
            "--steward-ca": args.steward_ca,
            "--allow": args.allow,
            "--simulator-misbehave": args.simulator_misbehave,
        }
        for option, value in given.items():
            if value:
                raise UsageError(f"{option} goes with --steward", hint="name the Steward, or leave it out")
        return None
    from enarx.cli.authority import authority_digest
    from enarx.manifest import StewardPin

    if not args.steward_ca:
        raise UsageError(
            "--steward needs --steward-ca", hint="`enarx steward init` and `enarx steward serve` print the digest"
        )
    return StewardPin(args.steward, authority_digest("--steward-ca", args.steward_ca))


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
