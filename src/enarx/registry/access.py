"""How a host may be spoken to: TLS with which roots, and where plain HTTP is allowed."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

from enarx.errors import RegistryError, UsageError
from enarx.registry.urls import Url, is_loopback, split_authority


class Access:
    """TLS everywhere, but for hosts in ``plain_http`` (HOST, or HOST:PORT) and this machine's loopback.

    ``ca_bundle`` (PEM) is trusted besides the system's roots. Who names one wants TLS on loopback too. UsageError,
    and RegistryError ``ca-bundle``.
    """

    def __init__(self, ca_bundle: str | Path | None = None, plain_http: Iterable[str] = ()) -> None:
        self.ca_bundle = ca_bundle
        self.plain_http = frozenset(one.lower() for one in plain_http)
        self._context: ssl.SSLContext | None = None
        for one in self.plain_http:
            if split_authority(one) is None:
                raise UsageError(f"{one!a} is not a host", code="plain-http", hint="write HOST or HOST:PORT")
        if ca_bundle is not None:
            self.tls()  # what is wrong with it is better known at once

    def scheme(self, host: str, port: int | None) -> str:
        """``http`` or ``https`` for a registry; ``host`` without brackets."""
        name = f"[{host}]" if ":" in host else host
        if name in self.plain_http or f"{name}:{port or 80}" in self.plain_http:
            return "http"
        return "http" if is_loopback(host) and self.ca_bundle is None else "https"

    def check(self, url: Url, origin: Url | None = None) -> None:
        """That ``url`` may be asked for, where ``origin`` has sent us there; RegistryError ``registry-insecure``.

        TLS is never given up on the way. And a registry elsewhere cannot point us at a plain service of this machine.
        """
        if url.scheme == "https":
            return
        allowed = self.scheme(url.host, url.port) == "http"
        if allowed and (origin is None or (origin.scheme == "http" and self._may_point(origin, url))):
            return
        sent = f"{origin.scheme}://{origin.authority} leads to " if origin else ""
        raise RegistryError(
            f"{sent}{url}, which is not encrypted",
            code="registry-insecure",
            hint="use TLS; plain HTTP is for loopback, and for hosts that you name with --plain-http",
        )

    def _may_point(self, origin: Url, url: Url) -> bool:
        return is_loopback(origin.host) or not is_loopback(url.host)

    def tls(self) -> ssl.SSLContext:
        """The client's TLS settings, made on first use."""
        if self._context is None:
            context = ssl.create_default_context()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.ca_bundle is not None:
                try:
                    context.load_verify_locations(self.ca_bundle)
                except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                    cause = error.strerror if isinstance(error, OSError) and error.strerror else "no certificate in it"
                    raise RegistryError(
                        f"cannot use the certificates in {self.ca_bundle}: {cause}",
                        code="ca-bundle",
                        hint="name a PEM file with the CA's certificate",
                    ) from None
            self._context = context
        return self._context
