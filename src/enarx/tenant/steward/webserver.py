"""An HTTPS server for the tenant's services: uvicorn with our bounds, TLS 1.3, connections accepted in turns."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import uvicorn
from starlette.applications import Starlette

from enarx.tenant.steward.accepting import Acceptor, Turns
from enarx.tenant.steward.ca import CertificateAuthority
from enarx.tenant.steward.limits import CONNECTIONS_MAX, GRACE_SECONDS, KEEP_ALIVE_SECONDS
from enarx.tenant.steward.protocol import BoundedProtocol


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker serves: the socket that it shares with others, whose ``turns`` it takes as number ``worker``."""

    listener: socket.socket
    turns: Turns
    worker: int


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process before the log is closed, accepting in turns."""

    def __init__(self, config: uvicorn.Config, context: ssl.SSLContext, place: Place) -> None:
        super().__init__(config)
        self._acceptor = Acceptor(place.listener, context, place.turns, place.worker, self._protocol)

    def _protocol(self) -> BoundedProtocol:
        return BoundedProtocol(self.config, self.server_state, self.lifespan.state)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])  # it would accept on them by itself
        self._acceptor.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._acceptor.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        self.should_exit = True

    async def announce(self, ready: Callable[[], None]) -> None:
        while not self.started:
            await asyncio.sleep(0.005)
        ready()


def configure(app: Starlette) -> uvicorn.Config:
    """uvicorn with our bounds, and without what tells a client about us."""
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def give_identity(
    context: ssl.SSLContext, authority: CertificateAuthority, names: Iterable[str], now: datetime
) -> None:
    """Give the TLS context a fresh key and certificate; connections that exist keep theirs. Nothing touches a disk."""
    key, chain = authority.issue_service(names, now)
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key + chain)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
