"""The peer of the TLS bench: the echo server of ``guests/echo.c``, as one would write it in plain Python.

``python tls_server.py CERTIFICATE_AND_KEY SIZE one|many`` listens on 127.0.0.1 and prints its port.
"""

from __future__ import annotations

import select
import socket
import ssl
import sys
from dataclasses import dataclass, field


@dataclass(slots=True)
class Connection:
    """``filled`` and ``sent`` count bytes of the message that is being read or, once complete, written."""

    sock: ssl.SSLSocket
    message: memoryview
    filled: int = 0
    sent: int = 0
    whole: int = field(init=False)

    def __post_init__(self) -> None:
        self.whole = len(self.message)

    def advance(self) -> int:
        """Go on until it would block; the poll events to wait for, 0 when the connection has ended."""
        try:
            while self.filled < self.whole:
                count = self.sock.recv_into(self.message[self.filled :])
                if not count:
                    return 0
                self.filled += count
            while self.sent < self.whole:
                self.sent += self.sock.send(self.message[self.sent :])
        except ssl.SSLWantReadError:
            return select.POLLIN
        except ssl.SSLWantWriteError:
            return select.POLLOUT
        except OSError:
            return 0
        self.filled = self.sent = 0
        return select.POLLIN


def accept(listener: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """The next connection, after its handshake."""
    sock, _ = listener.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(sock, server_side=True)


def one(listener: socket.socket, context: ssl.SSLContext, size: int) -> None:
    """Serve one blocking connection after another."""
    message = memoryview(bytearray(size))
    while True:
        with accept(listener, context) as sock:
            while receive(sock, message):
                sock.sendall(message)


def receive(sock: ssl.SSLSocket, message: memoryview) -> bool:
    """Fill ``message``; False when the peer has ended the connection."""
    filled = 0
    while filled < len(message):
        count = sock.recv_into(message[filled:])
        if not count:
            return False
        filled += count
    return True


def many(listener: socket.socket, context: ssl.SSLContext, size: int) -> None:
    """Serve all connections at once."""
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    connections: dict[int, Connection] = {}
    while True:
        for fd, _ in poller.poll():
            connection = connections.get(fd)
            if connection is None:
                sock = accept(listener, context)
                sock.setblocking(False)
                connections[sock.fileno()] = Connection(sock, memoryview(bytearray(size)))
                poller.register(sock, select.POLLIN)
                continue
            events = connection.advance()
            if events:
                poller.modify(fd, events)
            else:
                poller.unregister(fd)
                connections.pop(fd).sock.close()


def main() -> None:
    """Serve until killed."""
    certificate, size, mode = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        print(listener.getsockname()[1], flush=True)
        {"one": one, "many": many}[mode](listener, context, int(size))


if __name__ == "__main__":
    main()
