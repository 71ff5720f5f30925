"""Accepting: handshakes off the workload's path; clients that are slow, silent, broken or gone harm nobody."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from enarx.keep import accept
from enarx.keep.accept import ConnectionQueue
from enarx.keep.identity import self_signed
from enarx.keep.loop import Loop
from enarx.keep.tls import server_context
from tests.descriptors import becomes_ready

IDENTITY = self_signed(datetime.now(UTC))
WAIT = 60.0


class Listening:
    """A queue whose loop runs in a thread, and clients that reach it over real TCP."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.credits: list[int] = []
        self.closed = threading.Event()
        self.loop = Loop()
        self.queue = ConnectionQueue(self.loop, tls, self.credits.append, self.closed.set)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._stop, self._wake = socket.socketpair()
        self.loop.watch(self._server, select.EPOLLIN, self._accept)
        self.loop.watch(self._stop, select.EPOLLIN, self.loop.stop)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure: BaseException | None = None
        self._clients = contextlib.ExitStack()

    def _accept(self) -> None:
        self.queue.incoming(self._server.accept()[0])

    def _run(self) -> None:
        try:
            self.loop.run()
        except Exception as error:  # noqa: BLE001 - to be looked at by the test
            self.failure = error

    def __enter__(self) -> Listening:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wake.send(b"x")
        self._thread.join(WAIT)
        self._clients.close()
        self.queue.close()
        for tls in list(self.queue._handshakes):
            tls.close()
        for sock in (self._server, self._stop, self._wake):
            sock.close()
        assert self.failure is None, self.failure

    def client(self) -> socket.socket:
        return self._clients.enter_context(socket.create_connection(self._server.getsockname(), WAIT))

    def tls_client(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cadata=IDENTITY.certificate_pem.decode())
        return self._clients.enter_context(context.wrap_socket(self.client(), server_hostname="localhost"))

    def accepted(self) -> socket.socket:
        """The next connection, waiting for it as a workload does."""
        ready = becomes_ready(self.queue.fileno())
        assert ready, "no connection came"
        sock = self.queue.pop()
        assert sock is not None
        return self._clients.enter_context(sock)

    def wait_for_credit(self, count: int) -> None:
        for _ in range(int(WAIT / 0.01)):
            if sum(self.credits) >= count:
                return
            threading.Event().wait(0.01)
        raise AssertionError(f"credit is {self.credits}, not {count}")


@pytest.fixture
def plain() -> Iterator[Listening]:
    with Listening(None) as listening:
        yield listening


@pytest.fixture
def secure(keep_tls_env: None) -> Iterator[Listening]:
    with Listening(server_context(IDENTITY)) as listening:
        yield listening


# Where a client goes away just as TLS is put on it, CPython's wrap_socket loses the object and says so.
lost_by_cpython = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


def reset(sock: socket.socket) -> None:
    """Close with RST, as a client that is killed or hostile does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_plain_connections_are_ready_at_once_and_in_order(plain: Listening) -> None:
    assert plain.queue.pop() is None
    for number in range(3):
        plain.client().sendall(bytes([number]))
        sock = plain.accepted()
        sock.settimeout(WAIT)
        assert sock.recv(1) == bytes([number])
    assert plain.credits == [1, 1, 1]
    assert plain.queue.pop() is None


def test_a_tls_connection_comes_when_its_handshake_is_done(secure: Listening) -> None:
    client = secure.tls_client()
    sock = secure.accepted()
    assert isinstance(sock, ssl.SSLSocket)
    sock.settimeout(WAIT)
    client.sendall(b"hello")
    assert (sock.version(), sock.recv(5)) == ("TLSv1.3", b"hello")


def test_silent_and_slow_clients_do_not_keep_others_out(secure: Listening) -> None:
    silent = [secure.client() for _ in range(10)]
    slow = secure.client()
    slow.sendall(b"\x16\x03\x01\x02\x00")  # the header of a ClientHello that never comes
    secure.tls_client()
    assert isinstance(secure.accepted(), ssl.SSLSocket)
    assert secure.credits == [1]
    assert len(silent) == 10


def test_the_oldest_handshake_makes_room_for_the_newest(secure: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept, "HANDSHAKES", 3)
    silent = [secure.client() for _ in range(6)]
    secure.wait_for_credit(3)
    secure.tls_client()
    secure.accepted()
    silent[0].settimeout(WAIT)
    assert silent[0].recv(1) == b""


def test_a_handshake_has_a_deadline(secure: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept, "HANDSHAKE_SECONDS", 0.1)
    silent = secure.client()
    silent.settimeout(WAIT)
    assert silent.recv(1) == b""
    secure.wait_for_credit(1)
    monkeypatch.setattr(accept, "HANDSHAKE_SECONDS", WAIT)
    secure.tls_client()
    secure.accepted()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"\x16\x03\x01\x00\x05hello", b"\xff" * 5000])
def test_what_is_not_tls_costs_its_own_connection_alone(data: bytes, secure: Listening) -> None:
    broken = secure.client()
    with contextlib.suppress(OSError):
        broken.sendall(data)
        broken.shutdown(socket.SHUT_WR)
    secure.wait_for_credit(1)
    secure.tls_client()
    secure.accepted()


@lost_by_cpython
@pytest.mark.parametrize("first", [b"", b"\x16\x03", b"GET / HTTP/1.1\r\n\r\n"])
def test_clients_that_are_gone_when_they_are_accepted_harm_nobody(first: bytes, secure: Listening) -> None:
    """A connection reset before TLS begins: Python's wrap_socket raises, with or without data that had come."""
    for _ in range(20):
        client = secure.client()
        client.sendall(first)
        reset(client)
    secure.wait_for_credit(20)
    secure.tls_client()
    secure.accepted()


@lost_by_cpython
def test_clients_that_go_away_in_their_handshake_harm_nobody(secure: Listening) -> None:
    for _ in range(10):
        client = secure.client()
        client.sendall(b"\x16\x03\x01\x02\x00\x01")
        threading.Event().wait(0.005)
        reset(client)
    secure.wait_for_credit(10)
    secure.tls_client()
    secure.accepted()


@lost_by_cpython
def test_a_crowd_of_broken_clients_at_once(secure: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handshakes are given up by others, in the same turn of the loop in which they have news themselves."""
    monkeypatch.setattr(accept, "HANDSHAKES", 2)
    clients = [secure.client() for _ in range(60)]
    for client in clients:
        with contextlib.suppress(OSError):
            client.sendall(b"\x16\x03\x01")
    for client in clients[::2]:
        reset(client)
    secure.wait_for_credit(58)
    secure.tls_client()
    secure.accepted()


def test_closing_drops_what_nobody_took(plain: Listening) -> None:
    waiting = plain.client()
    assert becomes_ready(plain.queue.fileno())
    plain.queue.close()
    assert plain.closed.is_set()
    waiting.settimeout(WAIT)
    assert waiting.recv(1) == b""
    late = plain.client()
    late.settimeout(WAIT)
    assert late.recv(1) == b""


def test_a_handshake_that_ends_after_closing_is_dropped(secure: Listening) -> None:
    client = secure.client()
    for _ in range(int(WAIT / 0.01)):
        if secure.queue._handshakes:
            break
        threading.Event().wait(0.01)
    secure.queue.close()
    context = ssl.create_default_context(cadata=IDENTITY.certificate_pem.decode())
    with contextlib.suppress(OSError), context.wrap_socket(client, server_hostname="localhost") as tls:
        tls.settimeout(WAIT)
        assert tls.recv(1) == b""
    assert secure.queue.pop() is None
