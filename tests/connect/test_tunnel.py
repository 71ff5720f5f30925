"""The tunnel of ``enarx proxy``: what it carries, what it refuses to carry, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest

from enarx.connect import tunnel
from enarx.connect.attestor import make_attestor
from enarx.connect.tunnel import Tunnel
from enarx.errors import AuthenticityError, PolicyError, StreamError
from tests.connect.keeps import WAIT, Files, KeepServer, client_files
from tests.tenant.keeps import policy_text

pytestmark = pytest.mark.usefixtures("keep_tls_env")
GET = b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Running:
    """A tunnel whose loop has a thread of its own."""

    def __init__(self, files: Files, port: int, **settings: Any) -> None:
        self.said: list[str] = []
        self.port = 0
        self._attestor = make_attestor(files.policy, manifest=files.manifest)
        self._target, self._settings = port, settings
        self._ready, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        carried = Tunnel(self._attestor, "localhost", self._target, self.said.append, **self._settings)
        listening = await carried.listen("127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        await carried.stop(listening)
        self._done.set()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        assert self._done.wait(WAIT)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), WAIT)

    def ask(self, request: bytes = GET) -> bytes:
        """One request on a connection of its own, until the other end closes or a whole answer is there."""
        with self.connect() as sock:
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
            return all_of(sock)

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._ready.wait(WAIT)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._done.is_set():
            self.stop()
        self._thread.join(WAIT)


def all_of(sock: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := sock.recv(65536):
            found += part
    return found


def test_plain_bytes_go_in_and_attested_tls_goes_out(server: KeepServer, files: Files) -> None:
    with Running(files, server.port) as running:
        assert running.ask().endswith(b"GET /page HTTP/1.1")
        assert running.ask().endswith(b"GET /page HTTP/1.1")
        assert running.said == []
    assert (b"".join(server.received), len(server.processor.asked)) == (GET * 2, 2)


def test_many_connections_at_once(server: KeepServer, files: Files) -> None:
    with Running(files, server.port) as running:
        answers: list[bytes] = []
        threads = [threading.Thread(target=lambda: answers.append(running.ask())) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
    assert len([answer for answer in answers if answer.endswith(b"GET /page HTTP/1.1")]) == 12


def echo(tls: ssl.SSLSocket, remember: Callable[[bytes], None]) -> None:
    """Everything back, once the client has said all."""
    whole = b""
    while part := tls.recv(65536):
        whole += part
    remember(whole[:10])
    tls.sendall(whole)
    tls.unwrap()


def test_one_direction_may_end_before_the_other(files: Files) -> None:
    """Large enough to fill every buffer on the way."""
    data = bytes(range(256)) * 16384
    with KeepServer(workload=echo) as server, Running(files, server.port) as running:
        assert running.ask(data) == data


def test_a_server_that_speaks_first_is_heard(files: Files) -> None:
    def greet(tls: ssl.SSLSocket, remember: Callable[[bytes], None]) -> None:
        tls.sendall(b"220 ready\r\n")
        remember(tls.recv(100))

    with KeepServer(workload=greet) as server, Running(files, server.port) as running, running.connect() as sock:
        assert sock.recv(100) == b"220 ready\r\n"
        sock.sendall(b"QUIT\r\n")
        assert all_of(sock) == b""


def test_an_answer_that_is_cut_off_is_cut_off_for_the_client(files: Files) -> None:
    def cut(tls: ssl.SSLSocket, remember: Callable[[bytes], None]) -> None:
        remember(tls.recv(100))
        tls.sendall(b"pay 100")
        socket.socket.shutdown(tls, socket.SHUT_RDWR)

    with KeepServer(workload=cut) as server, Running(files, server.port) as running, running.connect() as sock:
        sock.sendall(b"how much?")
        with pytest.raises(ConnectionResetError):
            while sock.recv(100):
                pass


def refusing(files: Files) -> Files:
    files.policy.write_text(policy_text().replace("ab" * 48, "cd" * 48))
    return files


def test_a_refused_keep_gets_nothing_and_an_http_client_is_told_why(server: KeepServer, files: Files) -> None:
    with Running(refusing(files), server.port) as running:
        answer = running.ask()
        assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert answer.endswith(b"Code: measurement-mismatch\n")
        assert running.ask(b"EHLO localhost\r\n") == b""
        assert all("(measurement-mismatch)" in line for line in running.said)
        assert len(running.said) == 2
    assert (server.received, server.processor.asked) == ([], [])


def test_a_keep_that_is_not_there_is_said(files: Files) -> None:
    with Running(files, 1) as running:
        assert running.ask().endswith(b"Code: keep-unreachable\n")
    assert "(keep-unreachable)" in running.said[0]


def test_a_client_that_says_nothing_is_not_waited_for(
    server: KeepServer, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel, "GRACE_SECONDS", 0.05)
    with Running(refusing(files), server.port) as running, running.connect() as sock:
        assert all_of(sock) == b""


def test_connections_are_bounded(server: KeepServer, files: Files) -> None:
    with Running(files, server.port, connections=1) as running, running.connect() as first:
        first.sendall(GET)
        assert first.recv(65536).startswith(b"HTTP/1.1 200")
        with running.connect() as second:
            assert all_of(second) == b""
        assert running.said == ["refused: 1 connections are open already"]
        first.sendall(GET)
        assert first.recv(65536).startswith(b"HTTP/1.1 200")


def test_stopping_ends_connections_that_do_not_end_by_themselves(
    server: KeepServer, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel, "GRACE_SECONDS", 0.05)
    with Running(files, server.port) as running, running.connect() as sock:
        sock.sendall(GET)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        running.stop()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        with pytest.raises(ConnectionRefusedError):
            running.connect()


def test_a_tunnel_can_check_before_it_listens(server: KeepServer, files: Files) -> None:
    async def check() -> None:
        carried = Tunnel(make_attestor(files.policy, manifest=files.manifest), "localhost", server.port, print)
        assert (await carried.check()).accepted

    asyncio.run(check())
    asyncio.run(refused(refusing(files), server.port))
    with KeepServer(challenged=False) as old:
        asyncio.run(refused(client_files(files.policy.parent), old.port, AuthenticityError))


async def refused(files: Files, port: int, kind: type[Exception] = PolicyError) -> None:
    carried = Tunnel(make_attestor(files.policy, manifest=files.manifest), "localhost", port, print)
    with pytest.raises(kind):
        await carried.check()


def test_a_port_that_is_taken_is_named(server: KeepServer, files: Files) -> None:
    async def listen() -> None:
        carried = Tunnel(make_attestor(files.policy, manifest=files.manifest), "localhost", server.port, print)
        with pytest.raises(StreamError) as caught:
            await carried.listen("127.0.0.1", server.port)
        assert caught.value.code == "proxy-listen"

    asyncio.run(listen())
