"""``enarx deploy``: run what a reference names, in the foreground or detached."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from enarx.cli.launchkeep import conclude, launch, log
from enarx.cli.launchoptions import add_launch
from enarx.cli.packageregistry import access, add_registry_options, add_require_digest
from enarx.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from enarx.host.contract import Ending, Package
    from enarx.host.fetch import Fetched
    from enarx.host.supervisor import Supervisor

SCHEMES: Final = ("file", "oci", "https", "http", "")
"""Of references; that of a slug is empty. Plain http is for loopback, and for the hosts of --plain-http."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "deploy",
        help="run a package, or a module, from a registry or a file",
        description="Run the workload that REF names in a Keep. This machine fetches bytes; the Keep checks them.",
        epilog="Exit status: as of `enarx run`. With --detach: 0 once the workload runs, and the name of the "
        "deployment is printed; if it never does, what the launch failed with.",
    )
    parser.add_argument(
        "reference", metavar="REF",
        help="oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]; file:///PATH to a module, a package, or a directory "
        "with main.wasm and Enarx.toml; https://...; or the slug [HOST/]USER/REPO:TAG of a Drawbridge. "
        "#sha256=HEX pins a file or a URL",
    )  # fmt: skip
    add_launch(parser)
    add_require_digest(parser)
    add_registry_options(parser)
    parser.add_argument(
        "-d", "--detach", action="store_true", help="leave the Keep running; see `enarx ps`, `logs`, `inspect`, `stop`"
    )
    parser.add_argument("--name", metavar="NAME", help="what to call it, with --detach (default: two words)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Deploy, and return the workload's exit status, or 0 when it was left running."""
    from enarx.host.fetch import check_reference
    from enarx.host.names import check_name

    scheme = check_reference(args.reference, SCHEMES)
    if args.name is not None:
        check_name(args.name)
        if not args.detach:
            raise UsageError("--name goes with --detach", hint="a Keep in the foreground has no name")

    def fetch() -> Fetched:
        fetched = _fetch(scheme, args)
        found = f"{fetched.digest} ({fetched.kind})"
        if fetched.resolved and fetched.resolved != args.reference:
            found = f"{fetched.resolved} ({fetched.kind} {fetched.digest})"
        log(f"{_shown(args.reference)} -> {found}")
        return fetched

    if args.detach:
        return _detach(args, fetch)

    def load() -> Package:
        from enarx.host.contract import Package

        return Package(fetch().objects)

    return conclude(launch(args, load))


def _detach(args: argparse.Namespace, fetch: Callable[[], Fetched]) -> int:
    from enarx.cli.main import show_error
    from enarx.host.deployments import Deployments, default_directory
    from enarx.host.detach import detach
    from enarx.host.fetch import absolute
    from enarx.host.supervisor import Order

    def work(supervisor: Supervisor) -> Ending:
        def load() -> Package:
            from enarx.host.contract import Package

            fetched = fetch()
            supervisor.note(digest=fetched.digest, media_type=fetched.media_type, resolved=fetched.resolved)
            return Package(fetched.objects)

        ending = launch(args, load, supervisor)
        conclude(ending)
        return ending

    deployments, reference = Deployments(default_directory()), absolute(args.reference)
    detached = detach(Order(deployments, args.name, reference, args.backend, work, show_error))
    if not detached.name:
        return detached.status
    for endpoint in detached.listening:
        log(f"listening on {endpoint}")
    print(detached.name)
    return 0


def _fetch(scheme: str, args: argparse.Namespace) -> Fetched:
    """What the reference names, by the fetcher for its scheme."""
    if scheme == "file":
        from enarx.host.fetch import FileFetcher

        return FileFetcher(require_digest=args.require_digest).fetch(args.reference)
    import sys

    from enarx.cli.progress import ProgressBar
    from enarx.host.fetchremote import OciFetcher, Remote, WebFetcher
    from enarx.registry import DockerCredentials

    with ProgressBar(sys.stderr) as progress:
        remote = Remote(access(args), DockerCredentials(), progress, log, args.require_digest, args.steward is not None)
        return (OciFetcher if scheme == "oci" else WebFetcher)(remote).fetch(args.reference)


def _shown(reference: str) -> str:
    from enarx.host.contract import printable

    return printable(reference)
