"""``enarx.Client`` and ``enarx.AsyncClient``: httpx, over connections that are attested before anything is sent.

Every connection of the pool is attested by itself, for the host that it is for, so that a redirect to another host is
verified anew and a connection that is used again need not be. Nothing is read from the environment: no proxy, no
.netrc. ``http://`` is refused, also where a redirect leads there.
"""

from __future__ import annotations

import ssl
from typing import Any, Final, cast

import httpcore
import httpx

from enarx.connect.attestor import Attestor, Demands, make_attestor
from enarx.connect.expectation import PathLike
from enarx.connect.streams import AsyncBackend, Backend
from enarx.errors import UsageError
from enarx.tenant.policy import Policy

LIMITS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=5.0)
"""Connections of one client (count, count, seconds): httpx's own defaults."""
_NOT_OURS: Final = ("transport", "mounts", "proxy", "proxies", "verify", "cert", "trust_env", "http1", "http2")


class Client(httpx.Client):
    """An ``httpx.Client`` that talks to Keeps alone.

    ``settings`` are ``manifest``, ``ca``, ``chain``, ``crls`` and ``signatures`` (`expectation`), ``fresh``,
    ``certificate`` and ``now`` (`Attestor`), and those of ``httpx.Client`` that do not say how to connect. Raises
    ConfigError, UsageError or MalformedError for arguments that cannot be read. A request raises EvidenceError when the
    Keep is refused and StreamError when it cannot be reached or asked, before a byte of it is sent; once connected,
    what httpx raises.
    """

    def __init__(self, *, policy: Policy | PathLike, limits: httpx.Limits = LIMITS, **settings: Any) -> None:
        transport = Transport(make_attestor(policy, **_demands(settings)), limits)
        super().__init__(transport=transport, trust_env=False, **settings)


class AsyncClient(httpx.AsyncClient):
    """The same as `Client` for asyncio and trio."""

    def __init__(self, *, policy: Policy | PathLike, limits: httpx.Limits = LIMITS, **settings: Any) -> None:
        transport = AsyncTransport(make_attestor(policy, **_demands(settings)), limits)
        super().__init__(transport=transport, trust_env=False, **settings)


class Transport(httpx.HTTPTransport):
    """For ``httpx.Client(transport=...)``. The client must not be told of other transports: it would use them."""

    def __init__(self, attestor: Attestor, limits: httpx.Limits = LIMITS) -> None:
        super().__init__(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False)
        self._pool = httpcore.ConnectionPool(  # HTTPTransport has no way to say over what it connects
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # not used, but loaded with certificates otherwise
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=Backend(attestor),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        _check(request)
        return super().handle_request(request)


class AsyncTransport(httpx.AsyncHTTPTransport):
    """The same for ``httpx.AsyncClient``."""

    def __init__(self, attestor: Attestor, limits: httpx.Limits = LIMITS) -> None:
        super().__init__(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=AsyncBackend(attestor),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        _check(request)
        return await super().handle_async_request(request)


def _demands(settings: dict[str, Any]) -> Demands:
    """Those of ``settings`` that say what is demanded of a Keep, taken out of it. UsageError for ways to connect."""
    for name in settings:
        if name in _NOT_OURS:
            raise UsageError(
                f"an attested client has no {name}: every request goes over an attested connection",
                code="usage-client",
                hint="use httpx.Client for what is no Keep",
            )
    found = {name: settings.pop(name) for name in Demands.__optional_keys__ if name in settings}
    return cast("Demands", found)


def _check(request: httpx.Request) -> None:
    if request.url.scheme != "https":
        raise UsageError(
            f"{request.url} is not https://: it cannot be attested, and nothing was sent",
            code="usage-url",
            hint="ask the Keep by https://; a redirect may have led here",
        )
