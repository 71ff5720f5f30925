"""The launch that ``enarx run`` and ``enarx deploy`` share: a Keep started, given its package and served to its end."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from enarx.errors import EnarxError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from enarx.host.contract import Ending, Package
    from enarx.host.kinds import Approval, Plan, Started
    from enarx.host.supervisor import Supervisor
    from enarx.manifest import Manifest, StewardPin


class _Content:
    """What is launched, read when it is first asked for: some Keeps start meanwhile, others are launched with it."""

    def __init__(self, args: argparse.Namespace, load: Callable[[], Package]) -> None:
        """Raises UsageError."""
        self.steward = steward_pin(args)
        self.manifest: Manifest | None = None
        self._package: Package | None = None
        self._allow, self._load = args.allow, load
        self._require_sandbox = args.require_sandbox
        self._certificates = None if args.backend in ("sev", "sev-es") else args.certificates
        if self._certificates and self.steward is None:
            raise UsageError("--certificates goes with --steward", hint="without a Steward nobody reads them")

    def package(self) -> Package:
        """The package, with its manifest if there is a Steward. Raises EnarxError."""
        if self._package is None:
            package = self._load()
            self._package = package  # which `close` closes, whatever comes now
            package.require_sandbox = self._require_sandbox
            if self.steward is not None:
                from enarx.host.attested import manifest_of, parse_allow, with_manifest

                self.manifest = manifest_of(package, self.steward, parse_allow(self._allow))
                self._package = with_manifest(package, self.manifest)
                if self._certificates:
                    from enarx.host.kinds.snp import read_certificates
                    from enarx.host.load import path_of

                    table = read_certificates(path_of(self._certificates))
                    self._package.objects = [*self._package.objects, ("certificates", "", table)]
        return self._package

    def host_data(self) -> bytes:
        """The digest of the manifest. Raises EnarxError."""
        self.package()
        if self.manifest is None:
            raise UsageError("a launch without a Steward has no manifest")
        return self.manifest.digest()

    def config_id(self) -> bytes:
        """The longer digest of the manifest. Raises EnarxError."""
        self.package()
        if self.manifest is None:
            raise UsageError("a launch without a Steward has no manifest")
        return self.manifest.digest384()

    def launched(self) -> tuple[bytes, Sequence[bytes]]:
        """The manifest, and the signatures beside it, which prove themselves. Raises EnarxError."""
        package = self.package()
        if self.manifest is None:
            raise UsageError("a launch without a Steward has no manifest")
        signatures = [bytes(data) for kind, _, data in package.objects if kind == "signature" and type(data) is bytes]
        return self.manifest.encode(), signatures

    def close(self) -> None:
        """Close the files of the package."""
        if self._package is not None:
            self._package.close()


def launch(args: argparse.Namespace, load: Callable[[], Package], supervisor: Supervisor | None = None) -> Ending:
    """Start a Keep as ``args`` say, give it what ``load`` returns, serve it to its end, and say what was asked for.

    The Keep comes first, so that it starts up while ``load`` reads, unless it is launched with what that returns. A
    ``supervisor`` is told how it goes and has the standard streams.
    """
    began = time.monotonic()
    from enarx.host.kinds import start_of

    start = start_of(args.backend)
    content = _Content(args, load)
    started: Started | None = None
    try:
        started = start(_plan(args, content))
        spawned = time.monotonic()
        if supervisor is not None:
            supervisor.spawned(started.pid)
            supervisor.note(machine=started.machine, accelerator=started.accelerator)
        from enarx.host.cache import DiskCache, default_directory
        from enarx.host.launch import Host
        from enarx.host.load import path_of
        from enarx.host.streams import open_stdio

        package, processor = content.package(), started.processor
        if processor is not None:
            processor.wait()
            processor.finish(content.host_data())
        if supervisor is not None and content.manifest is not None:
            supervisor.launched(content.manifest)
        directory = path_of(args.cache_dir) if args.cache_dir else default_directory()
        cache = None if args.no_cache else DiskCache(directory)
        ready = time.monotonic()
        say = log if args.verbose else _quiet
        stdio = open_stdio if supervisor is None else supervisor.stdio
        try:
            ending = Host(started.keep, cache, say, watcher=supervisor, stdio=stdio).run(package)
        finally:
            if processor is not None and processor.failure is not None:
                raise processor.failure
    except BaseException:
        content.close()
        if started is not None:
            _abandon(started)
        raise
    if args.verbose:
        for layer, result in ending.sandbox.items():
            log(f"sandbox: {layer}: {result}")
        if cache is not None and cache.reason:
            log(f"compiled code is not cached: {cache.reason}")
    if args.timings:
        steps = [
            ("host: arguments, imports, Keep started", spawned),
            ("host: package read", ready),
            ("host: all", time.monotonic()),
        ]
        _show_timings(ending, [(name, (when - began) * 1000) for name, when in steps])
    return ending


def _plan(args: argparse.Namespace, content: _Content) -> Plan:
    from enarx.host.kinds import Hardware, Plan
    from enarx.host.load import path_of

    def file(name: str | None) -> Path | None:
        return path_of(name) if name else None

    proves = content.steward is not None
    return Plan(
        _now, log, log if args.verbose else _quiet,
        host_data=content.host_data if proves else None, config_id=content.config_id if proves else None,
        approval=_approval(args, content), lies=args.simulator_misbehave, image=file(args.image), memory=args.memory,
        cpus=args.cpus,
        hardware=Hardware(file(args.firmware), file(args.id_block), file(args.id_auth), file(args.certificates)),
    )  # fmt: skip


def _approval(args: argparse.Namespace, content: _Content) -> Approval | None:
    """The approver of the command line. Raises UsageError."""
    if args.approver is None:
        if args.approver_ca:
            raise UsageError("--approver-ca goes with --approver", hint="name the approver, or leave it out")
        return None
    if content.steward is None:
        raise UsageError("--approver needs --steward", hint="a credential is of use before a Steward alone")
    if args.simulator_misbehave:
        raise UsageError(
            "--simulator-misbehave is for the simulated processor of SEV-SNP", hint="leave it out, or --approver"
        )
    from enarx.host.kinds import Approval
    from enarx.host.sev.approver import HttpApprover
    from enarx.tenant.authority import authority_digest

    ca = authority_digest("--approver-ca", args.approver_ca) if args.approver_ca else content.steward.ca
    approver = HttpApprover.at(args.approver, bytes.fromhex(ca.removeprefix("sha256:")))
    return Approval(approver, content.launched)


def _now() -> datetime:
    from datetime import UTC, datetime

    return datetime.now(UTC)


def _abandon(started: Started) -> None:
    """End what was started and will not be served."""
    if started.processor is not None:
        started.processor.abandon()
    started.keep.link.close()
    started.keep.kill()
    started.keep.wait()


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
