"""Workers that share a socket accept in turns, and none waits for one that does not come."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn
from cryptography.hazmat.primitives.serialization import Encoding
from uvicorn.server import ServerState

from enarx.tenant.steward import accepting
from enarx.tenant.steward.accepting import Acceptor, Turns
from enarx.tenant.steward.protocol import BoundedProtocol
from tests.tenant.keeps import authority
from tests.tenant.steward.running import SECONDS, prepare, running

FOR_EVER = 3600.0


class Poor(socket.socket):
    """A listener of a process that has no descriptor left, once."""

    refused = 0

    def accept(self) -> tuple[socket.socket, object]:
        if not self.refused:
            self.refused = 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


class Workers:
    """Two workers on one socket, in one event loop."""

    def __init__(self, directory: Path, listener: socket.socket | None = None) -> None:
        key, chain = authority().issue_service(("127.0.0.1",), datetime.now(UTC))
        (directory / "tls.pem").write_bytes(key + chain)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(directory / "tls.pem")
        self.listener = listener or socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.turns = Turns(2)
        self.running: list[Acceptor] = []
        self.clients: list[socket.socket] = []
        self._config = uvicorn.Config(lambda: None, log_config=None, ws="none", lifespan="off")
        self._config.load()
        self.state = ServerState()

    def start(self, worker: int) -> Acceptor:
        listener = self.listener if worker == 0 else self.listener.dup()
        found = Acceptor(listener, self._context, self.turns, worker, self._protocol)
        self.running.append(found)
        found.start()
        return found

    def _protocol(self) -> BoundedProtocol:
        return BoundedProtocol(self._config, self.state, {})

    def connect(self, count: int) -> None:
        """Clients that say nothing; they wait for the kernel alone."""
        self.clients += [socket.create_connection(self.listener.getsockname()) for _ in range(count)]

    @property
    def counts(self) -> list[int]:
        return self.turns._counts.tolist()

    async def come_to(self, expected: list[int]) -> None:
        async with asyncio.timeout(SECONDS):
            while self.counts != expected:
                await asyncio.sleep(0.005)


@contextlib.contextmanager
def workers(directory: Path, listener: socket.socket | None = None) -> Iterator[Workers]:
    found = Workers(directory, listener)
    try:
        yield found
    finally:
        for one in found.running:
            one.close()
            one._listener.close()
        for client in found.clients:
            client.close()
        found.listener.close()


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await work()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*rest, return_exceptions=True)

    asyncio.run(whole())


def test_connections_that_come_together_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "PATIENCE_SECONDS", FOR_EVER)

    async def work() -> None:
        with workers(tmp_path) as ours:
            ours.start(0)
            ours.connect(4)
            await ours.come_to([4, accepting._AWAY])  # the other has not come yet, and is not waited for
            ours.start(1)
            ours.connect(4)
            await ours.come_to([4, 4])
            ours.connect(16)
            await ours.come_to([12, 12])
            for client in ours.clients:
                client.close()
            await ours.come_to([0, 0])

    run(work)


def test_a_worker_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    async def work() -> None:
        with workers(tmp_path) as ours:
            ours.start(0)
            ours.turns.tell(1, 0)  # it is stopped, with fewer connections than anybody
            ours.connect(5)
            await ours.come_to([5, 0])

    run(work)


def test_a_connection_counts_until_it_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "HANDSHAKE_SECONDS", 0.2)
    (tmp_path / "ca.pem").write_bytes(authority().certificate.public_bytes(Encoding.PEM))

    async def work() -> None:
        with workers(tmp_path) as ours:
            acceptor = ours.start(0)
            context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
            host, port = ours.listener.getsockname()
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            await ours.come_to([1, accepting._AWAY])
            ours.connect(3)
            ours.clients[0].sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
            ours.clients[1].close()
            await asyncio.to_thread(read_to_the_end, ours.clients[2])  # it was silent for too long
            await ours.come_to([1, accepting._AWAY])
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            await ours.come_to([0, accepting._AWAY])
            ours.connect(1)
            await ours.come_to([1, accepting._AWAY])
            acceptor.close()  # gives the handshake up
            assert ours.counts == [accepting._AWAY] * 2

    run(work)


def test_a_shortage_of_descriptors_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "SHORTAGE_SECONDS", 0.01)

    async def work() -> None:
        with workers(tmp_path, Poor()) as ours:
            ours.start(0)
            ours.connect(2)
            await ours.come_to([2, accepting._AWAY])

    run(work)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_requests_are_answered_while_a_worker_hangs_or_is_replaced(tmp_path: Path, number: signal.Signals) -> None:
    with running(prepare(tmp_path), "--workers", "2") as steward:
        parent = steward.process.pid
        first, *_ = map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
        os.kill(first, number)
        try:
            for _ in range(8):
                assert steward.ask("GET", "/healthz").status == 200
        finally:
            if number == signal.SIGSTOP:
                os.kill(first, signal.SIGCONT)
        assert steward.stop() == 0


def read_to_the_end(client: socket.socket) -> None:
    client.settimeout(SECONDS)
    with contextlib.suppress(ConnectionError):
        while client.recv(1024):
            pass
