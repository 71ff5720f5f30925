"""Listening sockets and connections of Keeps, which ask for too many and for what there is not."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

import pytest

from enarx.host.connections import MAX_CONNECTING, MAX_LISTENERS
from enarx.host.contract import Package
from enarx.host.launch import Host
from enarx.wire import Type, encode_fields
from tests.descriptors import nothing_left_open
from tests.host.scripted import ENOUGH, OBJECTS, ScriptedKeep, drain, leave, run


def test_listeners_are_limited() -> None:
    listen = b"".join(encode_fields(Type.LISTEN, n, addr="127.0.0.1", port=0) for n in range(MAX_LISTENERS + 5))
    lines: list[str] = []

    def script(sock: socket.socket) -> None:
        sock.sendall(listen + encode_fields(Type.LISTEN, 1, addr="127.0.0.1", port=0))
        data = b""
        while data.count(b"too many listening sockets") < 6:
            data += sock.recv(1 << 20)
        sock.sendall(leave())
        drain(sock)

    with nothing_left_open(ENOUGH):
        Host(ScriptedKeep(script), None, lines.append).run(Package(OBJECTS))
    assert len(lines) == MAX_LISTENERS


@pytest.mark.parametrize("addr", ["", "a..b", "x" * 256, "\0", "\udcff", "300.1.1.1", "[::1]", "\N{SNOWMAN}" * 64])
def test_an_address_that_is_none_is_a_failure_of_that_request_alone(addr: str) -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(
            encode_fields(Type.LISTEN, 1, addr=addr, port=0) + encode_fields(Type.CONNECT, 2, host=addr, port=1)
        )
        data = b""
        while data.count(b'"code":"listen-failed"') < 1 or data.count(b'"code":"connect-') < 1:
            data += sock.recv(1 << 20)
        sock.sendall(leave())
        drain(sock)

    assert run(script).status == 0


def incoming(sock: socket.socket, wanted: int) -> int:
    """How many connections come: ``wanted`` are waited for, and a while for others."""
    sock.settimeout(0.05)
    end, count = time.monotonic() + ENOUGH, 0
    while time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            _, fds, _, _ = socket.recv_fds(sock, 1 << 20, 16)
            count += len(fds)
            for fd in fds:
                os.close(fd)
            continue
        if count >= wanted:
            break
    sock.settimeout(None)
    return count


def listening(sock: socket.socket) -> int:
    """Ask for a listener with id 1; its port."""
    sock.sendall(encode_fields(Type.LISTEN, 1, addr="127.0.0.1", port=0))
    data = b""
    while b'{"name":"' not in data or not data.endswith(b"}"):
        data += sock.recv(1 << 20)
    return int(data.rpartition(b'{"name":"')[2].rstrip(b'"}'))


def test_connections_come_as_far_as_credit_goes() -> None:
    counts: list[int] = []

    def script(sock: socket.socket) -> None:
        port = listening(sock)
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            counts.append(incoming(sock, 0))
            sock.sendall(encode_fields(Type.ACCEPT, 1, count=0) * 3)
            counts.append(incoming(sock, 0))
            sock.sendall(encode_fields(Type.ACCEPT, 1, count=1) + encode_fields(Type.ACCEPT, 1, count=2))
            counts.append(incoming(sock, 3))
            sock.sendall(encode_fields(Type.ACCEPT, 1, count=4096) * 100)
            counts.append(incoming(sock, 2))
        sock.sendall(encode_fields(Type.CLOSE, 1) * 2 + encode_fields(Type.ACCEPT, 1, count=1) + leave())
        drain(sock)

    run(script)
    assert counts == [0, 0, 3, 2]


def test_a_listener_with_credit_can_be_closed() -> None:
    def script(sock: socket.socket) -> None:
        port = listening(sock)
        sock.sendall(encode_fields(Type.ACCEPT, 1, count=1) + encode_fields(Type.CLOSE, 1))
        end = time.monotonic() + ENOUGH
        with contextlib.suppress(ConnectionRefusedError):
            while time.monotonic() < end:
                with contextlib.suppress(ConnectionResetError):  # it was still waiting when the listener was closed
                    socket.create_connection(("127.0.0.1", port)).close()
        sock.sendall(leave())
        drain(sock)

    assert run(script).status == 0


def test_connections_that_are_being_made_are_limited() -> None:
    """To an address that drops everything: nothing answers before the run is over."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        for _ in range(8):  # fill the backlog: from now on the kernel answers nobody
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)

        def script(sock: socket.socket) -> None:
            for number in range(MAX_CONNECTING + 1):
                sock.sendall(encode_fields(Type.CONNECT, number + 1, host="127.0.0.1", port=address[1]))
            data = b""
            while b"too many connections are being made" not in data:
                data += sock.recv(1 << 20)
            sock.sendall(leave())
            drain(sock)

        others = set(threading.enumerate())
        Host(ScriptedKeep(script), None, lambda line: None).run(Package(OBJECTS))
        threads = set(threading.enumerate()) - others
        server.close()  # refuses those that still try
        for thread in threads:
            thread.join(ENOUGH)
