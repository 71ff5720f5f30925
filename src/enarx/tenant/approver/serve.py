"""Run an approver: check everything, bind, serve until told to stop, or until one launch was decided on.

SIGHUP reloads the policy, if it parses; SIGTERM and SIGINT stop it once what is on its way has been answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from enarx.errors import ConfigError, EnarxError
from enarx.tenant.approver.service import Service, Tell
from enarx.tenant.policy import Policy
from enarx.tenant.steward.accepting import Turns
from enarx.tenant.steward.ca import CertificateAuthority
from enarx.tenant.steward.files import read_authority, read_policy
from enarx.tenant.steward.serve import bind
from enarx.tenant.steward.webserver import Place, Server, configure, give_identity

RENEWAL: Final = timedelta(hours=12)
"""How often the approver renews its own TLS certificate."""
REFUSED: Final = 5
"""Exit status of an approver for one launch that refused it."""

_LOG: Final = logging.getLogger("enarx.approver")


@dataclass(frozen=True, slots=True)
class Settings:
    """Files of an approver; ``names`` go into its TLS certificate beside the policy's. ``once``: for one launch."""

    config: str
    certificate: str
    key: str
    names: tuple[str, ...] = ()
    once: bool = False

    def policy(self) -> Policy:
        """Read the policy file; ConfigError, also when no launch could be approved by it."""
        policy = read_policy(self.config)
        if policy.sev is None and policy.simulated_sev is None:
            raise ConfigError(
                f"{self.config} has no [sev] table, so no launch could be approved",
                code="policy-no-table",
                hint="add [sev] with launch_digests, or include an image's reference values",
            )
        return policy


def serve(
    settings: Settings, host: str, port: int, tell: Tell, ready: Callable[[str, int, CertificateAuthority], None]
) -> int:
    """Serve; returns the exit status. ``ready`` is told where, once requests are answered. Raises EnarxError."""
    authority = read_authority(settings.certificate, settings.key)
    policy = settings.policy()
    listener = bind(host, port)
    shown_host, shown_port = listener.getsockname()[:2]
    place = Place(listener, Turns(1), 0)
    # A reload that is asked for before its handler is there waits, where it would end the process otherwise.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    return asyncio.run(
        _serve(settings, authority, policy, place, tell=tell, ready=lambda: ready(shown_host, shown_port, authority))
    )


async def _serve(
    settings: Settings,
    authority: CertificateAuthority,
    policy: Policy,
    place: Place,
    *,
    tell: Tell,
    ready: Callable[[], None],
) -> int:
    decided: list[bool] = []

    def finished(approved: bool) -> None:
        decided.append(approved)
        if settings.once:
            server.stop()

    service = Service(authority, policy, tell, clock=lambda: datetime.now(UTC), finished=finished, single=settings.once)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _renew(context, authority, settings, policy)
    server = Server(configure(service.app), context, place)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    loop.add_signal_handler(signal.SIGHUP, _reload, settings, service)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    tasks = [
        loop.create_task(_renew_always(context, authority, settings, service)),
        loop.create_task(server.announce(ready)),
    ]
    await server.serve(sockets=[place.listener])
    for task in tasks:
        task.cancel()
    return REFUSED if settings.once and decided and not decided[0] else 0


def _reload(settings: Settings, service: Service) -> None:
    """Adopt the policy file as it is now; when it is wrong, the old one stays in force."""
    try:
        policy = settings.policy()
    except EnarxError as error:
        _LOG.error("the policy was not reloaded, the old one stays: %s; see `enarx policy check`", error.code)
        return
    service.adopt(policy)
    _LOG.info("policy sha256:%s is in force", policy.digest.hex())


def _renew(context: ssl.SSLContext, authority: CertificateAuthority, settings: Settings, policy: Policy) -> None:
    names = tuple(dict.fromkeys((*settings.names, *policy.service.names))) or ("localhost", "127.0.0.1", "::1")
    give_identity(context, authority, names, datetime.now(UTC))


async def _renew_always(
    context: ssl.SSLContext, authority: CertificateAuthority, settings: Settings, service: Service
) -> None:
    while True:
        await asyncio.sleep(RENEWAL.total_seconds())
        with contextlib.suppress(OSError):
            _renew(context, authority, settings, service.policy)
