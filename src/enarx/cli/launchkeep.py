"""The launch that ``enarx run`` and ``enarx deploy`` share: a Keep started, given its package and served to its end."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from enarx.errors import EnarxError, UsageError

if TYPE_CHECKING:
    from enarx.host.launch import Ending, Package
    from enarx.host.supervisor import Supervisor
    from enarx.manifest import StewardPin


def add_launch(parser: argparse.ArgumentParser) -> None:
    """Add the options of a launch: kind of Keep, attestation, what is said of it, sandbox, cache of compiled code."""
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


def _add_attestation(parser: argparse.ArgumentParser) -> None:
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


def launch(args: argparse.Namespace, load: Callable[[], Package], supervisor: Supervisor | None = None) -> Ending:
    """Start a Keep as ``args`` say, give it what ``load`` returns, serve it to its end, and say what was asked for.

    The Keep's process comes first, so that it starts up while ``load`` reads. A ``supervisor`` is told how it goes and
    has the standard streams.
    """
    started = time.monotonic()
    from enarx.host.process import KeepProcess

    if args.backend != "process":
        raise UsageError(
            f'Keep backend identifier "{args.backend}" is unknown.',
            code="backend-unknown",
            hint="this version has `process`",
        )
    steward = steward_pin(args)
    keep = KeepProcess(measured=steward is not None)
    spawned = time.monotonic()
    processor = package = None
    try:
        if supervisor is not None:
            supervisor.spawned(keep.pid)
        if keep.channel is not None:
            from datetime import UTC, datetime

            from enarx.host.attested import SimulatedLaunch

            processor = SimulatedLaunch(keep.channel, datetime.now(UTC), args.simulator_misbehave, log)
        from enarx.host.cache import DiskCache, default_directory
        from enarx.host.launch import Host
        from enarx.host.load import path_of
        from enarx.host.streams import open_stdio

        package = load()
        package.require_sandbox = args.require_sandbox
        if processor is not None:
            from enarx.host.attested import manifest_of, parse_allow, with_manifest

            manifest = manifest_of(package, steward, parse_allow(args.allow))
            package = with_manifest(package, manifest)
            processor.wait()
            processor.finish(manifest.digest())
            if supervisor is not None:
                supervisor.launched(manifest)
        directory = path_of(args.cache_dir) if args.cache_dir else default_directory()
        cache = None if args.no_cache else DiskCache(directory)
        ready = time.monotonic()
        say = log if args.verbose else _quiet
        stdio = open_stdio if supervisor is None else supervisor.stdio
        try:
            ending = Host(keep, cache, say, watcher=supervisor, stdio=stdio).run(package)
        finally:
            if processor is not None and processor.failure is not None:
                raise processor.failure
    except BaseException:
        if processor is not None:
            processor.abandon()
        if package is not None:
            package.close()
        keep.link.close()
        keep.kill()
        keep.wait()
        raise
    if args.verbose:
        for layer, result in ending.sandbox.items():
            log(f"sandbox: {layer}: {result}")
        if cache is not None and cache.reason:
            log(f"compiled code is not cached: {cache.reason}")
    if args.timings:
        steps = [
            ("host: arguments and imports", spawned),
            ("host: package read", ready),
            ("host: all", time.monotonic()),
        ]
        _show_timings(ending, [(name, (when - started) * 1000) for name, when in steps])
    return ending


def conclude(ending: Ending) -> int:
    """Say why the workload ended, if there is anything to say. Returns the exit status."""
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
    from enarx.manifest import StewardPin
    from enarx.tenant.authority import authority_digest

    if not args.steward_ca:
        raise UsageError(
            "--steward needs --steward-ca", hint="`enarx steward init` and `enarx steward serve` print the digest"
        )
    return StewardPin(args.steward, authority_digest("--steward-ca", args.steward_ca))


def log(line: str) -> None:
    """Tell the person at the terminal."""
    print(f"enarx: {line}", file=sys.stderr)


def _quiet(line: str) -> None:
    """Nobody asked."""


def _show_timings(ending: Ending, host: list[tuple[str, float]]) -> None:
    rows = [*host, *((f"keep: {name}", when) for name, when in ending.timings)]
    width = max(len(name) for name, _ in rows)
    log("timings, in milliseconds since the start of each process's own code:")
    for name, when in rows:
        log(f"  {name:<{width}}  {when:8.1f}")
