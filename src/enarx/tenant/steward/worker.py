"""One worker of the Steward: event loop, TLS, signals. Several may share a socket and a database.

SIGHUP reloads the policy, if it parses, and the TLS certificate; SIGTERM and SIGINT stop it once what is on its way has
been answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

from enarx.errors import EnarxError
from enarx.tenant.steward.ca import CertificateAuthority
from enarx.tenant.steward.engine import Engine
from enarx.tenant.steward.journal import Journal
from enarx.tenant.steward.metrics import Metrics
from enarx.tenant.steward.reader import Reader
from enarx.tenant.steward.service import Service
from enarx.tenant.steward.settings import Settings
from enarx.tenant.steward.webserver import Place, Server, configure, give_identity

RENEWAL: Final = timedelta(hours=12)
"""How often the Steward renews its own TLS certificate."""
DECISION_THREADS: Final = 2
"""Threads that judge large requests (count)."""

_PLACE: Final = re.compile(r"[^\s:]+:[0-9]+:[0-9]+")
_LOG: Final = logging.getLogger("enarx.steward")


def run_worker(settings: Settings, authority: CertificateAuthority, place: Place, ready: Callable[[], None]) -> None:
    """Serve on a bound socket until told to stop; calls ``ready`` once requests are answered. Raises EnarxError."""
    # A reload that is asked for before its handler is there waits, where it would end the process otherwise.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    asyncio.run(_serve(settings, authority, place, ready))


async def _serve(settings: Settings, authority: CertificateAuthority, place: Place, ready: Callable[[], None]) -> None:
    policy = settings.policy()
    journal, reader, console_reader = Journal(settings.open), Reader(settings.open), Reader(settings.open)
    threads = ThreadPoolExecutor(DECISION_THREADS, "decide")
    engine = Engine(
        authority, policy, journal, clock=lambda: datetime.now(UTC), threads=threads, verifier=settings.verifier()
    )
    metrics = Metrics()
    service = Service(engine, reader, metrics, console_reader=console_reader)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _renew(context, engine, settings)
    server = Server(configure(service.app), context, place)
    journal.start()
    try:
        await engine.adopt(policy)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        tasks: set[asyncio.Task[None]] = set()

        def hang_up() -> None:
            task = loop.create_task(_reload(settings, engine, service, metrics, context))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        loop.add_signal_handler(signal.SIGHUP, hang_up)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        renewal = loop.create_task(_renew_always(context, engine, settings))
        announcing = loop.create_task(server.announce(ready))
        await server.serve(sockets=[place.listener])
        for task in (renewal, announcing):
            task.cancel()
    finally:
        await journal.stop()
        reader.close()
        console_reader.close()
        threads.shutdown()


def _renew(context: ssl.SSLContext, engine: Engine, settings: Settings) -> None:
    """Give the TLS context a fresh key and certificate; connections that exist keep theirs. Nothing touches a disk."""
    names = tuple(dict.fromkeys((*settings.names, *engine.policy.service.names))) or ("localhost", "127.0.0.1", "::1")
    give_identity(context, engine.authority, names, engine.clock())


async def _renew_always(context: ssl.SSLContext, engine: Engine, settings: Settings) -> None:
    while True:
        await asyncio.sleep(RENEWAL.total_seconds())
        _renew(context, engine, settings)


async def _reload(
    settings: Settings, engine: Engine, service: Service, metrics: Metrics, context: ssl.SSLContext
) -> None:
    """Adopt the policy file as it is now; when it is wrong, or the log cannot say so, the old one stays in force."""
    try:
        policy = await asyncio.to_thread(settings.policy)
        await engine.adopt(policy)
    except EnarxError as error:
        metrics.reloads.labels("refused").inc()
        where = _PLACE.match(error.message)  # the rest of the message may have names in it, which no log shall have
        _LOG.error(
            "the policy was not reloaded, the old one stays: %s%s; see `enarx policy check`",
            error.code,
            f" at {where[0]}" if where else "",
        )
        return
    with contextlib.suppress(OSError):
        _renew(context, engine, settings)
    service.limit_rate()
    metrics.reloads.labels("adopted").inc()
    _LOG.info("policy sha256:%s is in force", policy.digest.hex())
