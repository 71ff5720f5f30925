"""A Keep behind a port of bytes, as the host has it: served, given up, and found again."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from enarx.errors import HostError, LinkError
from enarx.host import mux, streams
from enarx.host.contract import Ending, Package
from enarx.host.launch import Host
from enarx.host.mux import CarriedKeep, Line
from enarx.mux.leaving import DRAIN_SECONDS
from enarx.mux.port import Port
from enarx.mux.pump import Mux
from enarx.mux.transit import HELLO, MAGIC, SESSION_BYTES, Transit
from enarx.wire import HEADER, Decoder, Frame, Type, encode_fields
from tests.descriptors import nothing_left_open
from tests.mux.ends import receive

Script = Callable[[socket.socket], None]
ENOUGH = 20.0
"""Seconds in which everything must have ended."""


class ScriptedKeep:
    """A Keep played by ``script`` in a thread, and the Keep's end of its link over bytes in another."""

    def __init__(self, script: Script, port: Port | None = None) -> None:
        ours = theirs = None
        if port is None:
            ours, theirs = socket.socketpair()
            port = Port(theirs.detach())
        self.port = ours
        self.link, far = socket.socketpair()
        self.mux = Mux(port, far)
        self._threads = [
            threading.Thread(target=self._play, args=(script,), daemon=True),
            threading.Thread(target=self._carry, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _play(self, script: Script) -> None:
        with self.link, contextlib.suppress(OSError):
            script(self.link)
            self.link.shutdown(socket.SHUT_WR)
            while self.link.recv(1 << 20):
                pass

    def _carry(self) -> None:
        with contextlib.suppress(LinkError):
            self.mux.run()

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)

    def wait(self) -> int:
        for thread in self._threads:
            thread.join(ENOUGH)
            assert not thread.is_alive()
        return 0

    def obituary(self) -> HostError:
        self.kill()
        return HostError(f"it ended with {self.wait()}", code="keep-died")


def run(script: Script) -> Ending:
    with nothing_left_open(ENOUGH):
        keep = ScriptedKeep(script)
        assert keep.port is not None
        return Host(CarriedKeep(keep, keep.port), None, lambda line: None).run(Package([("module", "main.wasm", b"")]))


def leave(status: int = 0) -> bytes:
    return encode_fields(Type.EXIT, status=status, code="", message="", hint="")


def ask(link: socket.socket, request: bytes) -> Frame:
    """The answer to a request; what comes before it is dropped."""
    link.sendall(request)
    decoder = Decoder()
    while True:
        for frame in _wait(link, decoder):
            if frame.type in (Type.OPENED, Type.FAILED):
                return frame
            frame.close()


def _wait(link: socket.socket, decoder: Decoder) -> list[Frame]:
    link.recv(1, socket.MSG_PEEK)
    return receive(link, decoder)


def stream(link: socket.socket, request: bytes) -> socket.socket:
    frame = ask(link, request)
    assert frame.type == Type.OPENED, frame
    return socket.socket(fileno=frame.take_fd())


def test_exit_is_the_ending() -> None:
    assert run(lambda link: link.sendall(leave(7))).status == 7


def test_a_keep_that_hangs_up_has_died() -> None:
    with pytest.raises(HostError) as caught:
        run(lambda link: None)
    assert caught.value.code == "keep-died"


def test_a_keep_that_breaks_the_protocol_is_told_apart() -> None:
    with nothing_left_open(ENOUGH):
        keep = ScriptedKeep(lambda link: None)
        assert keep.port is not None
        keep.wait()
        keep.port.close()
        ours, theirs = socket.socketpair()
        with theirs:
            carried = CarriedKeep(keep, ours)
            theirs.sendall(HELLO.pack(MAGIC, bytes(SESSION_BYTES), 0) + bytes(HEADER.size))
            with pytest.raises(LinkError) as caught:
                Host(carried, None, lambda line: None).run(Package([("module", "main.wasm", b"")]))
        assert caught.value.code == "link-frame"


def test_a_connection_is_made_and_ends_in_good_order() -> None:
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            accepted, _ = listener.accept()
            with accepted:
                got.append(accepted.recv(100))
                accepted.sendall(b"answer")

        server = threading.Thread(target=serve)
        server.start()

        def script(link: socket.socket) -> None:
            with stream(link, encode_fields(Type.CONNECT, 1, **endpoint(listener))) as sock:
                sock.sendall(b"question")
                got.append(sock.recv(100))
                got.append(sock.recv(100))
            link.sendall(leave())

        assert run(script).status == 0
        server.join()
    assert got == [b"question", b"answer", b""]


def endpoint(listener: socket.socket) -> dict[str, Any]:
    host, port = listener.getsockname()
    return {"host": host, "port": port}


# --- standard streams


@pytest.fixture
def pipes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """What the test writes to standard input and reads from standard output of the host."""
    (stdin, into), (out, stdout) = os.pipe(), os.pipe()
    monkeypatch.setattr(streams, "STDIO", {"stdin": stdin, "stdout": stdout})
    ends = [stdin, into, out, stdout]
    yield into, out
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def read_all(fd: int, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = os.read(fd, 1 << 16)
        assert part
        data += part
    return bytes(data)


def test_output_is_written_before_the_keep_has_ended(pipes: tuple[int, int]) -> None:
    """However slowly it is read: the ending comes when all of it has been written."""
    data = random.Random(1).randbytes(3 << 20)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(read_all(pipes[1], len(data))))

    def script(link: socket.socket) -> None:
        with stream(link, encode_fields(Type.STDIO, 1, name="stdout")) as sock:
            threading.Timer(0.3, reader.start).start()
            sock.sendall(data)
        link.sendall(leave())

    assert run(script).status == 0
    reader.join()
    assert got == [data]


def test_input_is_read_to_its_end(pipes: tuple[int, int]) -> None:
    data = random.Random(1).randbytes(1 << 20)
    got = bytearray()
    into = pipes[0]

    def write() -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(into, view) :]
        os.close(into)

    writer = threading.Thread(target=write)
    writer.start()

    def script(link: socket.socket) -> None:
        with stream(link, encode_fields(Type.STDIO, 1, name="stdin")) as sock:
            while part := sock.recv(1 << 16):
                got.extend(part)
        link.sendall(leave())

    assert run(script).status == 0
    writer.join()
    assert got == data


def test_input_that_nobody_reads_is_left_in_peace(pipes: tuple[int, int]) -> None:
    def script(link: socket.socket) -> None:
        stream(link, encode_fields(Type.STDIO, 1, name="stdin")).close()
        link.sendall(leave())

    run(script)
    os.write(pipes[0], b"still open")


def test_input_that_is_left_when_the_keep_ends_holds_nobody_up(pipes: tuple[int, int]) -> None:
    """More than fits on the way, so that whoever copies it waits."""
    into = pipes[0]

    def write() -> None:
        with contextlib.suppress(OSError):
            while True:
                os.write(into, bytes(1 << 16))

    writer = threading.Thread(target=write)
    writer.start()

    def script(link: socket.socket) -> None:
        with stream(link, encode_fields(Type.STDIO, 1, name="stdin")) as sock:
            sock.recv(1)
            time.sleep(0.2)  # for the way to fill up
        link.sendall(leave())

    started = time.monotonic()
    run(script)
    assert time.monotonic() - started < DRAIN_SECONDS
    os.close(streams.STDIO["stdin"])
    writer.join()


def test_output_that_nobody_reads_breaks_the_workloads_pipe(pipes: tuple[int, int]) -> None:
    os.close(pipes[1])
    broken = threading.Event()

    def script(link: socket.socket) -> None:
        with stream(link, encode_fields(Type.STDIO, 1, name="stdout")) as sock, contextlib.suppress(OSError):
            while True:
                try:
                    sock.sendall(bytes(1000))
                except BrokenPipeError:
                    broken.set()
                    break
        link.sendall(leave())

    run(script)
    assert broken.is_set()


def test_output_that_is_shared_and_does_not_block_is_written_whole(pipes: tuple[int, int]) -> None:
    os.set_blocking(streams.STDIO["stdout"], False)
    os.set_blocking(streams.STDIO["stdin"], False)
    data = random.Random(1).randbytes(1 << 20)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(read_all(pipes[1], len(data))))

    def script(link: socket.socket) -> None:
        with stream(link, encode_fields(Type.STDIO, 1, name="stdout")) as sock:
            threading.Timer(0.1, reader.start).start()
            sock.sendall(data)
        link.sendall(leave())

    run(script)
    reader.join()
    assert got == [data]
    assert not os.get_blocking(streams.STDIO["stdout"])


# --- a port that can be connected to again


class Machine(Port):
    """A machine with a port: the host connects and connects again, and the guest waits.

    What is on its way when the connection is cut is lost. The guest misses the next ``missed`` connections.
    """

    def __init__(self) -> None:
        super().__init__(-1)
        self.running = True
        self.connections = 0
        self.due = 0.0
        self.missed = 0
        self._lock = threading.Lock()
        self._next: socket.socket | None = None
        self._sockets: list[socket.socket] = []

    # the host's side

    def connect(self) -> socket.socket | None:
        if not self.running:
            return None
        with self._lock:
            self.connections += 1
            ours, theirs = socket.socketpair()
            for sock in (ours, theirs):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
            if self.missed:
                self.missed -= 1
                self._sockets.append(theirs)
            else:
                self._next = theirs
            return ours

    # the guest's

    def lost(self, transit: Transit) -> None:
        transit.detach()
        self.close()
        self.due = time.monotonic() + 0.01

    def tend(self, transit: Transit) -> bool:
        self.due = time.monotonic() + 0.01
        with self._lock:
            if self._next is None:
                return False
            self.fd, self._next = self._next.detach(), None
            return True

    def cut(self) -> None:
        """What the guest has not read by now, and what it has sent and was not read, is gone."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.fd)) as sock:
            sock.shutdown(socket.SHUT_RDWR)
            while sock.recv(1 << 20, socket.MSG_DONTWAIT):
                pass

    def close_all(self) -> None:
        for sock in self._sockets:
            sock.close()
        if self._next is not None:
            self._next.close()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(mux, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(mux, "HELLO_PAUSES", 200)
    machine = Machine()
    yield machine
    machine.close_all()


def served(machine: Machine, script: Script) -> Ending:
    first = machine.connect()
    assert first is not None
    keep = ScriptedKeep(script, machine)
    carried = CarriedKeep(keep, first, machine.connect)
    return Host(carried, None, lambda line: None).run(Package([("module", "main.wasm", b"")]))


def test_streams_outlive_the_connection_to_the_port(machine: Machine) -> None:
    """Cut again and again while bytes go both ways: they arrive complete and in order, and then the ending does."""
    data = random.Random(1).randbytes(24 << 20)
    echoed = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            accepted, _ = listener.accept()
            with accepted:
                while part := accepted.recv(1 << 16):
                    accepted.sendall(part)

        def script(link: socket.socket) -> None:
            with stream(link, encode_fields(Type.CONNECT, 1, **endpoint(listener))) as sock:

                def write() -> None:
                    sock.sendall(data)
                    sock.shutdown(socket.SHUT_WR)

                writer = threading.Thread(target=write)
                writer.start()
                cuts = 0
                while part := sock.recv(1 << 16):
                    echoed.extend(part)
                    if len(echoed) > (cuts + 1) * len(data) // 8:
                        cuts += 1
                        machine.cut()
                writer.join()
                assert cuts >= 7
            link.sendall(leave(5))

        server = threading.Thread(target=serve)
        server.start()
        assert served(machine, script).status == 5
        server.join()
    assert echoed == data
    assert machine.connections > 5


def test_a_keep_that_missed_the_new_connection_is_given_another(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mux, "HELLO_PAUSES", 5)

    def script(link: socket.socket) -> None:
        machine.missed = 2
        machine.cut()
        link.sendall(leave(3))

    def waits(link: socket.socket) -> None:
        while link.recv(1) != b"\1":  # the first byte of a frame: the link works
            pass
        script(link)

    assert served(machine, waits).status == 3
    assert machine.connections >= 4


def test_a_machine_that_has_ended_is_not_waited_for(machine: Machine) -> None:
    def script(link: socket.socket) -> None:
        link.recv(1)
        machine.running = False
        machine.cut()

    started = time.monotonic()
    with pytest.raises(HostError) as caught:
        served(machine, script)
    assert caught.value.code == "keep-died"
    assert time.monotonic() - started < ENOUGH


def test_a_port_that_cannot_be_connected_to_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(step=0.01)
    monkeypatch.setattr(mux, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    tries = 0

    def connect() -> socket.socket:
        nonlocal tries
        tries += 1
        raise ConnectionRefusedError

    ours, theirs = socket.socketpair()
    theirs.close()
    line, transit = Line(ours.detach(), connect), Transit(leads=False)
    line.lost(transit)
    assert line.fd == -1
    with pytest.raises(LinkError) as caught:
        while not line.tend(transit):
            pass
    assert caught.value.code == "link-closed"
    assert mux.RETURN_SECONDS <= next(ticks) < mux.RETURN_SECONDS + 1
    assert mux.RETURN_SECONDS / mux.PAUSE_SECONDS / 2 < tries <= mux.RETURN_SECONDS / mux.PAUSE_SECONDS


def test_a_keep_that_does_not_greet_is_hung_up_on_for_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(mux, "time", SimpleNamespace(monotonic=lambda: now))
    pairs: list[tuple[socket.socket, socket.socket]] = []
    events: list[tuple[str, float]] = []

    def connect() -> socket.socket:
        pairs.append(socket.socketpair())
        events.append(("connected", now))
        return pairs[-1][0]

    ours, theirs = socket.socketpair()
    pairs.append((theirs, theirs))
    line, transit = Line(ours.detach(), connect), Transit(leads=False)
    line.lost(transit)
    with pytest.raises(LinkError) as caught:
        for _ in range(1000):
            if line.tend(transit):
                transit.attach(line.fd)
            elif transit.gone:
                events.append(("hung up", now))
                line.lost(transit)
            assert line.due is not None
            now = line.due
    assert caught.value.code == "link-closed"
    assert events[:6] == [
        ("connected", 0.25), ("hung up", 1.25),
        ("connected", 1.75), ("hung up", 3.75),
        ("connected", 4.75), ("hung up", 8.75),
    ]  # fmt: skip
    assert now == mux.RETURN_SECONDS
    for pair in pairs:
        for sock in pair:
            sock.close()
