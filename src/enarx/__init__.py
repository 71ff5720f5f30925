"""Enarx: run a WebAssembly workload in a Keep, and let the CPU prove what runs.

The attested client has its names here (docs/client.md). Each is imported when it is first asked for: whoever runs a
Keep, or the command line, pays for none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enarx.connect.attestor import make_attestor
    from enarx.connect.bundle import Bundle, read_bundle, verify_bundle
    from enarx.connect.client import AsyncClient, AsyncTransport, Client, Transport
    from enarx.connect.requests import Adapter, Session
    from enarx.connect.sockets import open_socket, wrap_socket
else:
    _PLACES = {
        "Adapter": "requests",
        "AsyncClient": "client",
        "AsyncTransport": "client",
        "Bundle": "bundle",
        "Client": "client",
        "Session": "requests",
        "Transport": "client",
        "make_attestor": "attestor",
        "open_socket": "sockets",
        "read_bundle": "bundle",
        "verify_bundle": "bundle",
        "wrap_socket": "sockets",
    }

    def __getattr__(name: str) -> object:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        try:
            found = getattr(import_module(f"{__name__}.connect.{_PLACES[name]}"), name)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith(__name__):
                raise
            raise ImportError(f"enarx.{name} needs {error.name}: pip install 'enarx[client]'") from error
        globals()[name] = found
        return found


__version__ = "0.1.0"
__all__ = [
    "Adapter",
    "AsyncClient",
    "AsyncTransport",
    "Bundle",
    "Client",
    "Session",
    "Transport",
    "__version__",
    "make_attestor",
    "open_socket",
    "read_bundle",
    "verify_bundle",
    "wrap_socket",
]
