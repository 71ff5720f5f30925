"""``enarx.Session`` and ``enarx.Adapter``: requests, over connections that are attested before anything is sent."""

from __future__ import annotations

from typing import Any, Unpack

import requests
import requests.adapters
import urllib3
import urllib3.connection
import urllib3.connectionpool

from enarx.connect import sockets
from enarx.connect.attestor import CONNECT_SECONDS, Attestor, Demands, make_attestor
from enarx.connect.expectation import PathLike
from enarx.errors import UsageError
from enarx.tenant.peer import unreachable
from enarx.tenant.policy import Policy


class Session(requests.Session):
    """A ``requests.Session`` that talks to Keeps alone. The arguments are `enarx.Client`'s, without httpx's.

    Nothing is read from the environment, ``http://`` is refused, and ``verify``, ``cert`` and ``proxies`` of a request
    mean nothing: what it goes over is attested.
    """

    def __init__(self, *, policy: Policy | PathLike, **demands: Unpack[Demands]) -> None:
        super().__init__()
        self.trust_env = False
        adapter = Adapter(make_attestor(policy, **demands))
        self.mount("https://", adapter)
        self.mount("http://", adapter)  # which refuses it


class Adapter(requests.adapters.HTTPAdapter):
    """For ``requests.Session.mount``; mount it for ``http://`` as well, or a redirect may lead out of it."""

    def __init__(self, attestor: Attestor, **settings: Any) -> None:
        self._attestor = attestor
        super().__init__(**settings)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        attestor = self._attestor

        class Connection(_Connection):
            attested_by = attestor

        class Pool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Connection

        self.poolmanager.pool_classes_by_scheme = {"https": Pool}

    def send(  # noqa: PLR0917 - its parameters are what they are
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: dict[str, str] | None = None,
    ) -> requests.Response:
        if not (request.url or "").lower().startswith("https://"):
            raise UsageError(
                f"{request.url} is not https://: it cannot be attested, and nothing was sent",
                code="usage-url",
                hint="ask the Keep by https://; a redirect may have led here",
            )
        if proxies:
            raise UsageError(
                "an attested session has no proxies",
                code="usage-client",
                hint="use requests.Session for what is no Keep",
            )
        return super().send(request, stream, timeout)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing: certificates are judged where connections are made, whatever a request asks for."""


class _Connection(urllib3.connection.HTTPSConnection):
    attested_by: Attestor

    def connect(self) -> None:
        try:
            plain = self._new_conn()
        except urllib3.exceptions.HTTPError as error:
            raise unreachable(self.host, self.port, error) from error
        seconds = self.timeout if isinstance(self.timeout, int | float) else CONNECT_SECONDS
        found = sockets.wrap(self.attested_by, plain, self.host, seconds=seconds)
        found.tls.settimeout(self.timeout if isinstance(self.timeout, int | float) else None)
        self.sock = found.tls
        self.is_verified = True
        self.proxy_is_verified = None
