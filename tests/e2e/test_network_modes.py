"""Listening and connecting over TCP and TLS, with blocking and non-blocking descriptors, in small and in large."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

from tests import workloads
from tests.e2e import peers

pytestmark = pytest.mark.usefixtures("both_links")
SOCKET = Path(__file__).parent / "guests" / "socket.c"
MODES = ("default", "blocking", "nonblocking")
LARGE = 8 << 20
STDIO = '[[files]]\nkind = "null"\n[[files]]\nkind = "stdout"\n[[files]]\nkind = "stderr"\n'

protocols = pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
modes = pytest.mark.parametrize("mode", MODES)


def listening(*, tls: bool) -> str:
    prot = "tls" if tls else "tcp"
    return f'{STDIO}[[files]]\nkind = "listen"\nname = "in"\nprot = "{prot}"\naddr = "127.0.0.1"\nport = 0\n'


def connecting(port: int, ca: Path | None = None) -> str:
    prot = f'prot = "tls"\nca = ["{ca.name}"]' if ca else 'prot = "tcp"'
    return f'{STDIO}[[files]]\nkind = "connect"\nhost = "127.0.0.1"\nport = {port}\n{prot}\n'


@protocols
@modes
def test_three_connections_are_accepted_and_echoed(mode: str, tls: bool, tmp_path: Path) -> None:
    guest = workloads.guest(SOCKET)
    with workloads.serving(guest, listening(tls=tls), mode, "echo", "3", cwd=tmp_path) as server:
        for number in range(3):
            with peers.client(server.port, tls=tls) as sock:
                for data in (b"x", b"connection %d" % number, bytes(range(256)) * 100):
                    assert peers.echoed(sock, data) == data
        assert server.finish() == 0, server.stderr
    # As in Enarx: a TLS listener starts non-blocking, a plain one does not.
    assert f"descriptor 3 nonblocking {int(tls)}\n" in server.stderr
    if mode == "blocking":
        assert "waits 0\n" in server.stderr


@protocols
@modes
def test_three_connections_are_made(mode: str, tls: bool, tmp_path: Path, authority: peers.Certificate) -> None:
    """The workload asks on each and reads the answer to its end; over TLS that end is a close_notify."""
    ca, _ = authority.files(tmp_path, "ca")
    certificate = peers.make_certificate("peer", ["127.0.0.1"], authority)
    asked: list[bytes] = []

    def answer(sock: socket.socket) -> None:
        question = peers.receive(sock, len(b"question 3\n"))
        asked.append(question)
        sock.sendall(b"answer to " + question)
        if tls:
            sock.unwrap()  # type: ignore[attr-defined]

    context = peers.server_context(tmp_path, certificate) if tls else None
    with peers.server(answer, context, connections=3) as port:
        entry = connecting(port, ca if tls else None).removeprefix(STDIO)
        done = workloads.run(workloads.guest(SOCKET), mode, "ask", "3", cwd=tmp_path, config=STDIO + entry * 3)
    assert done.returncode == 0, done.stderr.decode()
    assert sorted(asked) == [b"question 3\n", b"question 4\n", b"question 5\n"]
    assert done.stdout == b"answer to question 3\nanswer to question 4\nanswer to question 5\n"
    assert done.stderr.count(b" nonblocking 0\n") == 3


@protocols
@modes
def test_eight_mebibytes_come_back_byte_for_byte(mode: str, tls: bool, tmp_path: Path) -> None:
    data = random.Random(2).randbytes(LARGE)
    guest = workloads.guest(SOCKET)
    with workloads.serving(guest, listening(tls=tls), mode, "echo", "1", cwd=tmp_path) as server:
        with peers.client(server.port, tls=tls) as sock:
            assert peers.echoed(sock, data) == data
        assert server.finish() == 0, server.stderr


@protocols
@pytest.mark.parametrize("mode", MODES[1:])
def test_eight_mebibytes_to_a_reader_that_is_slow_at_first(mode: str, tls: bool, tmp_path: Path) -> None:
    """The workload has sent all and closed long before the last byte is read: closing must not cut anything off."""
    import time

    guest = workloads.guest(SOCKET)
    with workloads.serving(guest, listening(tls=tls), mode, "produce", str(LARGE), cwd=tmp_path) as server:
        with peers.client(server.port, tls=tls) as sock:
            time.sleep(0.3)
            received = peers.receive_to_the_end(sock)
        assert server.finish() == 0, server.stderr
    assert len(received) == LARGE
    sample = 1 << 16
    # The pattern repeats after 2**32 / gcd steps only; its start, and each place against the start, tell all.
    assert received[:sample] == peers.pattern(sample)
    assert received[-4:] == bytes((i * 2654435761 & 0xFFFFFFFF) >> 24 for i in range(LARGE - 4, LARGE))


@protocols
@pytest.mark.parametrize("mode", MODES)
def test_workload_answers_a_client_that_has_finished_sending(mode: str, tls: bool, tmp_path: Path) -> None:
    """Half-close: TCP's FIN or TLS's close_notify ends one direction, and the other one goes on."""
    data = random.Random(3).randbytes(100_000)
    guest = workloads.guest(SOCKET)
    with workloads.serving(guest, listening(tls=tls), mode, "collect", "2", cwd=tmp_path) as server:
        for sent in (data, b""):
            with socket.create_connection((workloads.ADDRESS, server.port), workloads.SECONDS) as plain:
                if tls:
                    half = peers.HalfClosing(plain)
                    half.send(sent)
                    half.finish()
                    answer = half.receive_to_the_end()
                else:
                    plain.sendall(sent)
                    plain.shutdown(socket.SHUT_WR)
                    answer = peers.receive_to_the_end(plain)
            assert answer.decode() == f"{len(sent)} {peers.fnv(sent)}\n"
        assert server.finish() == 0, server.stderr


@protocols
def test_both_directions_at_once_over_a_connection_of_the_workload(
    tls: bool, tmp_path: Path, authority: peers.Certificate
) -> None:
    """Two mebibytes each way through poll(); the peer sends back what it gets, so the content is known."""
    size = 2 << 20
    ca, _ = authority.files(tmp_path, "ca")
    received = bytearray()

    def echo(sock: socket.socket) -> None:
        while len(received) < size:
            part = sock.recv(peers.CHUNK)
            assert part
            received.extend(part)
            sock.sendall(part)

    context = peers.server_context(tmp_path, peers.make_certificate("p", ["127.0.0.1"], authority)) if tls else None
    with peers.server(echo, context) as port:
        config = connecting(port, ca if tls else None)
        done = workloads.run(workloads.guest(SOCKET), "default", "exchange", str(size), cwd=tmp_path, config=config)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode() == f"{size} {peers.fnv(bytes(received))}\n"
    assert received == peers.pattern(size)
