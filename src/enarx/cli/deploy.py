"""``enarx deploy``: run what a reference names, in the foreground or detached."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from enarx.cli.launchkeep import add_launch, conclude, launch, log
from enarx.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from enarx.host.fetch import Fetched, Fetcher
    from enarx.host.launch import Ending, Package
    from enarx.host.supervisor import Supervisor


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
        help="file:///PATH to a module, a package, or a directory with main.wasm and Enarx.toml",
    )  # fmt: skip
    add_launch(parser)
    parser.add_argument(
        "--require-digest", action="store_true", help="refuse a reference that does not name what it is by its digest"
    )
    parser.add_argument(
        "-d", "--detach", action="store_true", help="leave the Keep running; see `enarx ps`, `logs`, `inspect`, `stop`"
    )
    parser.add_argument("--name", metavar="NAME", help="what to call it, with --detach (default: two words)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Deploy, and return the workload's exit status, or 0 when it was left running."""
    from enarx.host.fetch import check_reference
    from enarx.host.names import check_name

    fetchers = _fetchers()
    scheme = check_reference(args.reference, fetchers, require_digest=args.require_digest)
    if args.name is not None:
        check_name(args.name)
        if not args.detach:
            raise UsageError("--name goes with --detach", hint="a Keep in the foreground has no name")

    def fetch() -> Fetched:
        fetched = fetchers[scheme]().fetch(args.reference)
        log(f"{_shown(args.reference)} -> {fetched.resolved or fetched.digest} ({fetched.kind})")
        return fetched

    if args.detach:
        return _detach(args, fetch)

    def load() -> Package:
        from enarx.host.launch import Package

        return Package(fetch().objects)

    return conclude(launch(args, load))


def _detach(args: argparse.Namespace, fetch: Callable[[], Fetched]) -> int:
    from enarx.cli.main import show_error
    from enarx.host.deployments import Deployments, default_directory
    from enarx.host.fetch import absolute
    from enarx.host.supervisor import Order, detach

    def work(supervisor: Supervisor) -> Ending:
        def load() -> Package:
            from enarx.host.launch import Package

            fetched = fetch()
            supervisor.note(digest=fetched.digest, media_type=fetched.media_type)
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


def _fetchers() -> Mapping[str, Callable[[], Fetcher]]:
    """How to get what a reference of each scheme names."""
    from enarx.host.fetch import FileFetcher

    return {"file": FileFetcher}


def _shown(reference: str) -> str:
    from enarx.host.launch import printable

    return printable(reference)
