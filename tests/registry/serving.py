"""HTTP servers written for a test: a handler decides what is answered, honestly or not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.registry.certificates import server as server_identity


class Exchange(BaseHTTPRequestHandler):
    """One request, and what can be done about it."""

    protocol_version = "HTTP/1.1"
    server: Server

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
            super().handle_one_request()
            return
        self.close_connection = True

    def _respond(self) -> None:
        self.server.seen.append(f"{self.command} {self.path}")
        self.server.authorizations.append(self.headers.get("Authorization"))
        self.server.behaviour(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _respond  # noqa: N815

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """An answer with a right Content-Length, unless ``Content_Length`` or another header is given."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | named).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def raw(self, data: bytes) -> None:
        """Bytes of one's own instead of an answer; then the connection ends."""
        self.wfile.write(data)
        self.hang_up()

    def hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Server(ThreadingHTTPServer):
    """Serves while it is used as a context manager. ``seen`` has the requests, in order."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, behaviour: Callable[[Exchange], None], tls_directory: Path | None, address: str) -> None:
        self.behaviour = behaviour
        self.seen: list[str] = []
        self.authorizations: list[str | None] = []
        super().__init__((address, 0), Exchange)
        self._context: ssl.SSLContext | None = None
        if tls_directory is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*server_identity().write(tls_directory, "server"))
        self.scheme = "https" if tls_directory else "http"

    def finish_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        request.settimeout(60)
        if self._context is not None:
            try:
                request = self._context.wrap_socket(request, server_side=True)  # in the request's own thread
            except (OSError, ValueError):
                return
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            super().finish_request(request, client_address)
        if self._context is not None:
            with contextlib.suppress(OSError):
                request.close()

    def handle_error(self, request: object, client_address: object) -> None:
        pass

    @property
    def host(self) -> str:
        return f"{self.server_address[0]!s}:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"


@contextlib.contextmanager
def serving(
    behaviour: Callable[[Exchange], None], tls_directory: Path | None = None, address: str = "127.0.0.1"
) -> Iterator[Server]:
    """A server on an address of the loopback; with TLS where it may put its certificate into a directory."""
    server = Server(behaviour, tls_directory, address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
