"""``enarx proxy``: any client, in any language, gets an attested tunnel to a Keep.

Exit statuses: 0 stopped by a signal; before it listens, those of ``enarx verify``.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enarx.connect.tunnel import Tunnel
    from enarx.tenant.client import Verdict


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    from enarx.cli.expectation import add_collateral, add_expectation, add_freshness

    parser = subparsers.add_parser(
        "proxy",
        help="an attested tunnel: plain connections in, verified TLS to a Keep out",
        description="Listen on this machine for plain connections and carry each to a Keep over TLS of its own, which "
        "is verified before a byte goes over it. The Keep is verified once before anything listens.",
        epilog="exit status: 0 stopped, otherwise as `enarx verify`",
    )
    parser.add_argument("url", metavar="URL", help="https://HOST:PORT of the Keep")
    parser.add_argument(
        "--listen", metavar="ADDRESS:PORT", required=True, help="where to listen: 127.0.0.1:8080; port 0 is any"
    )
    parser.add_argument(
        "--expose", action="store_true",
        help="listen at an address that is not this machine's own: what comes in is not encrypted",
    )  # fmt: skip
    parser.add_argument("--connections", metavar="N", type=_count, default=0, help="connections at a time (default 64)")
    parser.add_argument("--no-check", action="store_true", help="listen without having verified the Keep first")
    add_expectation(parser)
    add_collateral(parser)
    add_freshness(parser)
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number from 1 to 99999")
    return number


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Raises EnarxError when it cannot begin."""
    import asyncio

    from enarx.cli.bundle import certificate
    from enarx.cli.expectation import expectation_of
    from enarx.connect.attestor import Attestor
    from enarx.connect.tunnel import CONNECTIONS, Tunnel
    from enarx.tenant.peer import place

    host, port = place(args.url)
    address, number = listening_place(args.listen, expose=args.expose)
    attestor = Attestor(expectation_of(args), fresh=args.fresh, certificate=certificate(args))
    tunnel = Tunnel(attestor, host, port, _say, connections=args.connections or CONNECTIONS)
    asyncio.run(_serve(tunnel, args, address, number))
    return 0


async def _serve(tunnel: Tunnel, args: argparse.Namespace, address: str, port: int) -> None:
    import asyncio
    import signal

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    verdict = None if args.no_check else await tunnel.check()
    server = await tunnel.listen(address, port)
    bound = server.sockets[0].getsockname()[1]
    print(f"proxy: {f'[{address}]' if ':' in address else address}:{bound} -> {args.url}: {_seen(verdict)}", flush=True)
    await stop.wait()
    await tunnel.stop(server)


def _seen(verdict: Verdict | None) -> str:
    if verdict is None:
        return "not verified yet"
    manifest = f"manifest {verdict.facts['manifest']}"
    return f"SIMULATED, no hardware vouches for it; {manifest}" if verdict.simulated else f"verified, {manifest}"


def _say(line: str) -> None:
    print(f"proxy: {line}", file=sys.stderr, flush=True)


def listening_place(text: str, *, expose: bool) -> tuple[str, int]:
    """Address and port of ``ADDRESS:PORT``. UsageError for anything else, and for one that others reach."""
    from ipaddress import ip_address

    from enarx.errors import UsageError

    name, _, number = text.rpartition(":")
    try:
        address = ip_address(name.removeprefix("[").removesuffix("]"))
        port = int(number) if number.isascii() and number.isdecimal() and len(number) <= 5 else -1
        if not 0 <= port <= 65_535:
            raise ValueError(number)
    except ValueError as error:
        raise UsageError(
            f"--listen {text[:80]!r} is not ADDRESS:PORT", code="usage-listen", hint="--listen 127.0.0.1:8080"
        ) from error
    if not address.is_loopback and not expose:
        raise UsageError(
            f"{address} can be reached from other machines, and what comes in is neither encrypted nor attested",
            code="proxy-exposed",
            hint="listen at 127.0.0.1, or say --expose if something else protects that network",
        )
    return str(address), port
