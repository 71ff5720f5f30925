"""A Keep whose link carries only bytes, over a socket or a device."""

from __future__ import annotations

import contextlib
import os
import pty
import random
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enarx.errors import HostError, LinkError
from enarx.host.cache import DiskCache
from enarx.host.contract import Ending, Package
from enarx.host.launch import Host
from enarx.host.mux import CarriedKeep, adopt
from enarx.host.process import KeepProcess
from enarx.keep.mux import Carrier
from enarx.mux import port as ports
from enarx.mux.port import Device, Port, port_of
from enarx.mux.pump import Mux
from enarx.mux.transit import HELLO
from enarx.wire import Type, encode_fields
from tests import programs
from tests.descriptors import nothing_left_open
from tests.e2e.command import wait_for
from tests.keep.confined import confined
from tests.mux.ends import tcp_pair
from tests.support import ROOT

Pair = Callable[[], tuple[socket.socket, socket.socket]]
SECONDS = 20.0


class Descriptor(socket.socket):
    """A descriptor of any kind, where one of a socket is expected."""

    def __init__(self, fd: int) -> None:
        super().__init__(socket.AF_UNIX)
        os.dup2(fd, self.fileno(), inheritable=False)
        os.close(fd)


def device_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a pseudoterminal: the Keep's is a character device, as the port of a guest is."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    return Descriptor(ours), Descriptor(theirs)


def run(module: bytes, pair: Pair, cache: DiskCache | None = None) -> Ending:
    keep = KeepProcess(pair=pair)
    return Host(CarriedKeep(keep, keep.link), cache, lambda line: None).run(Package([("module", "main.wasm", module)]))


@pytest.mark.parametrize("pair", [tcp_pair, device_pair])
def test_a_workload_runs_to_its_end(pair: Pair, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with nothing_left_open(SECONDS):
        ending = run(programs.HELLO, pair, DiskCache(tmp_path))
        assert (ending.status, ending.message, capfd.readouterr().out) == (0, "", "ready\n")
        assert run(programs.exiting(7), pair).status == 7


def test_code_that_was_compiled_goes_to_the_cache_and_comes_back(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    first, second = (run(programs.HELLO, tcp_pair, cache) for _ in range(2))
    assert "compiled" in dict(first.timings)
    assert "code loaded from the cache" in dict(second.timings)


def statuses(pid: int) -> list[dict[str, str]]:
    """What the system says of each thread of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        found.append({name: value.strip() for name, _, value in (line.partition(":") for line in lines)})
    return found


def test_a_keep_has_one_thread_while_it_has_rights_and_none_has_any_later() -> None:
    keep = KeepProcess(pair=tcp_pair)
    host = Host(CarriedKeep(keep, keep.link), None, lambda line: None)

    def wait() -> None:
        with contextlib.suppress(HostError):  # it is killed
            host.run(Package([("module", "main.wasm", programs.WAIT_CLOCK)]))

    running = threading.Thread(target=wait)
    try:
        (before,) = wait_for(lambda: statuses(keep.pid), "it does not start")
        assert before["Seccomp"] == "0"
        running.start()
        threads = wait_for(lambda: len(found := statuses(keep.pid)) >= 3 and found, "it runs no workload")
        for status in threads:
            assert (status["NoNewPrivs"], int(status["CapEff"], 16), status["Seccomp"]) == ("1", 0, "2")
        assert Path(f"/proc/{keep.pid}/task/{keep.pid}/children").read_text() == ""
    finally:
        keep.kill()
        running.join(SECONDS)
    assert not running.is_alive()


def test_a_keep_ends_when_its_host_hangs_up() -> None:
    keep = KeepProcess(pair=tcp_pair)
    keep.link.close()
    assert keep.wait() == 1


@pytest.mark.parametrize("seed", range(6))
def test_a_keep_survives_no_noise_and_leaves_nothing_behind(seed: int) -> None:
    dice = random.Random(seed)
    keep = KeepProcess(pair=tcp_pair)
    keep.link.settimeout(SECONDS)
    hello = bytearray()
    while len(hello) < HELLO.size:
        hello += keep.link.recv(HELLO.size - len(hello))
    good = encode_fields(Type.STOP, reason="")
    noise = bytearray(hello + good * 3 + dice.randbytes(100))
    for _ in range(dice.randrange(1, 6)):
        noise[HELLO.size + dice.randrange(len(noise) - HELLO.size)] = dice.randrange(256)
    with contextlib.suppress(OSError):
        keep.link.sendall(noise)
        keep.link.shutdown(socket.SHUT_WR)
        while keep.link.recv(1 << 16):
            pass
    keep.link.close()
    assert keep.wait() in (0, 1)


def test_a_mux_runs_under_the_filter_of_a_keep() -> None:
    """Everything that it does, in one process that has given up everything else."""
    results, report = confined(
        f"import socket\nsys.path.insert(0, {str(ROOT)!r})"
        """
from tests.mux.ends import Ends
from enarx.wire import Type, encode_fields
ends, pairs = Ends(), [socket.socketpair() for _ in range(3)]
sandbox.begin()
sandbox.finish()
for near, far in pairs:
    socket.send_fds(ends.host_link, [encode_fields(Type.INCOMING, 1, fd=True, peer="")], [far.fileno()])
    far.close()
ends.settle()
frames = ends.to_keep()
socks = [socket.socket(fileno=frame.take_fd()) for frame in frames]
for (near, _), sock in zip(pairs, socks):
    near.sendall(bytes(100_000))
    ends.settle()
    got = 0
    while got < 100_000:
        got += len(sock.recv(1 << 16))
        ends.settle()
    sock.sendall(b"answer")
    sock.close()
    ends.settle()
    results[near.fileno()] = [near.recv(100).decode(), near.recv(100).decode()]
results["open"] = ends.open_streams()
"""
    )
    assert report["seccomp"] == "applied"
    assert results.pop("open") == [0, 0]
    assert list(results.values()) == [["answer", ""]] * 3


# --- the Keep's end alone


class Far:
    """A host's end of the port, which a thread serves; ``link`` is what `Host` would have."""

    def __init__(self) -> None:
        self.port, theirs = socket.socketpair()
        self.link, far = socket.socketpair()
        self.link.settimeout(SECONDS)
        self._mux = Mux(Port(theirs.detach()), far, adopt=adopt)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(LinkError):
            self._mux.run()

    def close(self) -> None:
        self.link.close()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()


@pytest.fixture
def far() -> Iterator[Far]:
    far = Far()
    yield far
    far.close()


EXIT = encode_fields(Type.EXIT, status=3, code="", message="", hint="")


@pytest.mark.parametrize("threaded", [False, True])
def test_whoever_waits_finds_what_has_come(threaded: bool, far: Far) -> None:
    carrier = Carrier(far.port.detach())
    with carrier.link as link:
        if threaded:
            carrier.start()
        far.link.sendall(encode_fields(Type.STOP, reason="over"))
        carrier.wait()
        link.settimeout(SECONDS)
        assert link.recv(100)
        link.sendall(EXIT)
        carrier.settle()
        assert far.link.recv(1000) == EXIT


@pytest.mark.parametrize("threaded", [False, True])
def test_a_host_that_is_gone_ends_the_link_and_is_not_waited_for(threaded: bool) -> None:
    ours, theirs = socket.socketpair()
    carrier = Carrier(ours.detach())
    with carrier.link as link:
        theirs.close()
        if threaded:
            carrier.start()
        carrier.wait()
        link.settimeout(SECONDS)
        assert link.recv(100) == b""
        carrier.settle()
        carrier.settle()


def test_a_host_that_breaks_the_protocol_ends_the_link() -> None:
    ours, theirs = socket.socketpair()
    carrier = Carrier(ours.detach())
    with carrier.link as link, theirs:
        mover = threading.Thread(target=carrier.wait)
        mover.start()
        hello = theirs.recv(HELLO.size)
        theirs.sendall(hello + b"\xff" * 100)
        mover.join(SECONDS)
        assert not mover.is_alive()
        assert link.recv(100) == b""


def test_what_was_said_before_there_was_a_thread_arrives(far: Far) -> None:
    carrier = Carrier(far.port.detach())
    with carrier.link as link:
        link.sendall(EXIT)
        carrier.settle()
        assert far.link.recv(1000) == EXIT


# --- devices


def test_what_a_port_is_shows_in_its_descriptor() -> None:
    ours, theirs = device_pair()
    sock, other = socket.socketpair()
    with ours, theirs, sock, other:
        assert type(port_of(theirs.fileno())) is Device
        assert type(port_of(sock.fileno())) is Port


def test_streams_go_over_a_device() -> None:
    data = random.Random(1).randbytes(200_000)
    ours, theirs = device_pair()
    with nothing_left_open(SECONDS), contextlib.ExitStack() as stack:
        links = [socket.socketpair() for _ in range(2)]
        (host_link, host_far), (keep_link, keep_far) = links
        ends = [
            Mux(Port(os.dup(ours.fileno())), host_far, adopt=adopt),
            Mux(Device(os.dup(theirs.fileno())), keep_far),
        ]
        threads = [threading.Thread(target=end.run, daemon=True) for end in ends]
        for thread in threads:
            thread.start()
        client, far = socket.socketpair()
        with far:
            socket.send_fds(host_link, [encode_fields(Type.INCOMING, 1, fd=True, peer="")], [far.fileno()])
        keep_link.settimeout(SECONDS)
        _, fds, _, _ = socket.recv_fds(keep_link, 1 << 16, 1)
        workload = stack.enter_context(socket.socket(fileno=fds[0]))
        with client:
            sender = threading.Thread(target=client.sendall, args=(data,))
            sender.start()
            got = bytearray()
            while len(got) < len(data):
                got += workload.recv(1 << 16)
            sender.join()
        assert got == data
        host_link.close()
        keep_link.close()
        for thread in threads:
            thread.join(SECONDS)
    ours.close()
    theirs.close()


def test_a_device_without_a_host_is_waited_for_without_being_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "RETURN_SECONDS", 0.5)
    ours, theirs = device_pair()
    ours.close()
    link, far = socket.socketpair()
    with link, theirs:
        turns, started = 0, time.monotonic()
        end = Mux(Device(os.dup(theirs.fileno())), far)
        with pytest.raises(LinkError) as caught:
            while time.monotonic() - started < SECONDS:
                end.turn()
                turns += 1
        end.close()
        assert caught.value.code == "link-closed"
        assert time.monotonic() - started >= 0.5
        assert turns < 10


def test_a_keep_behind_a_device_that_is_killed_has_died() -> None:
    keep = KeepProcess(pair=device_pair)
    carried = CarriedKeep(keep, keep.link)
    threading.Timer(0.2, keep.kill).start()
    with pytest.raises(HostError) as caught:
        Host(carried, None, lambda line: None).run(Package([("module", "main.wasm", programs.LOOP)]))
    assert caught.value.code == "keep-died"


def test_standard_streams_that_are_sockets_are_copied_too() -> None:
    ours, theirs = socket.socketpair()
    with nothing_left_open(SECONDS), ours:
        sock, waits = adopt(theirs.detach(), "stdin")
        with sock:
            assert not waits
            ours.sendall(b"input")
            assert sock.recv(100) == b"input"
