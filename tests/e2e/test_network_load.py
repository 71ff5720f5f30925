"""Many connections to one workload, one after another and all at once."""

from __future__ import annotations

import contextlib
import random
import threading
from pathlib import Path

import pytest

from tests import workloads
from tests.e2e import peers

pytestmark = pytest.mark.usefixtures("both_links")
SEQUENTIAL = 200
CONCURRENT = 64
protocols = pytest.mark.parametrize("listener", [0, 1], ids=["tls", "tcp"])  # in the order of the example's config


@protocols
def test_two_hundred_connections_one_after_another(listener: int, tmp_path: Path) -> None:
    """More than the Keep lets in at once, so that each slot must be given back."""
    with workloads.serving(workloads.example("echo"), workloads.example_config("echo"), cwd=tmp_path) as server:
        context = peers.client_context()
        for number in range(SEQUENTIAL):
            with peers.client(server.ports[listener], tls=listener == 0, context=context) as sock:
                data = b"connection %d" % number
                assert peers.echoed(sock, data) == data


@protocols
def test_sixty_four_connections_at_once(listener: int, tmp_path: Path) -> None:
    """All are open before the first one is used; then each gets its own bytes back while the others get theirs."""
    port_of = workloads.serving(workloads.example("echo"), workloads.example_config("echo"), cwd=tmp_path)
    with port_of as server, contextlib.ExitStack() as stack:
        context = peers.client_context()
        socks = [
            stack.enter_context(peers.client(server.ports[listener], tls=listener == 0, context=context))
            for _ in range(CONCURRENT)
        ]
        payloads = [random.Random(number).randbytes(20_000) for number in range(CONCURRENT)]
        wrong: list[int] = []

        def use(number: int) -> None:
            if peers.echoed(socks[number], payloads[number]) != payloads[number]:
                wrong.append(number)

        threads = [threading.Thread(target=use, args=(number,), daemon=True) for number in range(CONCURRENT)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(workloads.SECONDS)
            assert not thread.is_alive()
        assert not wrong


def test_clients_that_vanish_do_not_use_the_server_up(tmp_path: Path) -> None:
    """300 clients that reset their connection, during or after the handshake: more than there are slots for."""
    import socket
    import struct

    with workloads.serving(workloads.example("echo"), workloads.example_config("echo"), cwd=tmp_path) as server:
        for number in range(300):
            plain = socket.create_connection((workloads.ADDRESS, server.port), workloads.SECONDS)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
            if number % 3 == 0:
                plain.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
            plain.close()
        with peers.client(server.port, tls=True) as sock:
            assert peers.echoed(sock, b"still here") == b"still here"
        assert server.process.poll() is None, server.stderr
