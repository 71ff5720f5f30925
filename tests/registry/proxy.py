"""A TCP proxy between client and registry, which breaks connections where a test says so."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Judge = Callable[[bytes], bool]
"""Sees what passes; True breaks the connection before it is passed on."""


def never(_: bytes) -> bool:
    return False


@dataclass
class Proxy:
    """Counts what passes. ``up`` judges what goes to the registry, ``down`` what comes from it."""

    target: str
    up: Judge = never
    down: Judge = never
    host: str = ""
    sent: int = 0
    received: int = 0
    broken: int = 0
    requests: list[str] = field(default_factory=list)

    def carry(self, client: socket.socket) -> None:
        address, port = self.target.split(":")
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection((address, int(port)), 30) as registry,
        ):
            self._copy(client, registry)

    def _copy(self, client: socket.socket, registry: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ)
            selector.register(registry, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    data = source.recv(1 << 16)
                    upwards = source is client
                    if upwards:
                        self._note(data)
                    if data and (self.up if upwards else self.down)(data):
                        self.broken += 1
                        return
                    if not data:
                        return
                    if upwards:
                        self.sent += len(data)
                    else:
                        self.received += len(data)
                    (registry if upwards else client).sendall(data)

    def _note(self, data: bytes) -> None:
        line = data.partition(b"\r\n")[0]
        if line.endswith(b" HTTP/1.1"):
            self.requests.append(line.split()[0].decode())


@contextlib.contextmanager
def proxying(target: str, *, up: Judge = never, down: Judge = never) -> Iterator[Proxy]:
    proxy = Proxy(target, up, down)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy.host = f"127.0.0.1:{listener.getsockname()[1]}"
        carriers: list[threading.Thread] = []
        ended = False

        def accept() -> None:
            while True:
                client, _ = listener.accept()
                if ended:
                    client.close()
                    return
                carrier = threading.Thread(target=proxy.carry, args=(client,), daemon=True)
                carrier.start()
                carriers.append(carrier)

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield proxy
        finally:
            ended = True
            socket.create_connection(listener.getsockname(), 30).close()
            acceptor.join()
            for carrier in carriers:
                carrier.join(30)
