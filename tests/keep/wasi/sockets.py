"""Connected sockets for tests, with and without TLS."""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
from collections import deque
from datetime import UTC, datetime
from functools import cache

from enarx.keep.identity import self_signed
from enarx.keep.tls import report_cut_off, start_server
from enarx.keep.wasi.tls_stream import TlsStream


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Server and client contexts under one self-signed certificate.

    The Keep's own contexts need a process whose OpenSSL was configured from its first instruction, which the
    process of the tests was not. What counts here is the same: TLS 1.3 and no session tickets.
    """
    identity = self_signed(datetime.now(UTC))
    server = report_cut_off(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    server.num_tickets = 0
    with tempfile.NamedTemporaryFile() as file:
        file.write(identity.private_key_pem + identity.certificate_pem)
        file.flush()
        server.load_cert_chain(file.name)
    client = report_cut_off(ssl.create_default_context(cadata=identity.certificate_pem.decode()))
    return server, client


def tls_pair() -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """The Keep's end after its handshake, as ``accept`` hands it over, and the client's (blocking)."""
    server_context, client_context = contexts()
    ours, theirs = socket.socketpair()
    server = start_server(server_context, ours)
    client = client_context.wrap_socket(
        theirs, server_hostname="localhost", do_handshake_on_connect=False, suppress_ragged_eofs=False
    )
    client.setblocking(False)
    waiting = [client, server]
    while waiting:
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
    client.settimeout(60)
    return server, client


def tls_stream(*, nonblocking: bool = False) -> tuple[TlsStream, ssl.SSLSocket]:
    server, client = tls_pair()
    return TlsStream(server, nonblocking=nonblocking), client


def raw(tls: ssl.SSLSocket) -> socket.socket:
    """The socket under TLS, as another object: to cut it off, or to put bytes on it that are no TLS."""
    return socket.socket(fileno=os.dup(tls.fileno()))


class Queue:
    """A backlog that a test fills."""

    def __init__(self) -> None:
        self.event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
        self.ready: deque[socket.socket] = deque()
        self.closed = False

    def push(self, sock: socket.socket) -> None:
        self.ready.append(sock)
        os.eventfd_write(self.event, 1)

    def pop(self) -> socket.socket | None:
        try:
            os.eventfd_read(self.event)
        except BlockingIOError:
            return None
        return self.ready.popleft()

    def fileno(self) -> int:
        return self.event

    def close(self) -> None:
        self.closed = True
        os.close(self.event)
        while self.ready:
            self.ready.pop().close()
