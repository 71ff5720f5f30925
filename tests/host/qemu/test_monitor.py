"""The monitor of QEMU: asked, refused, silent, closed, and at whose other end there is something else."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.host.qemu.guest import Guest
from enarx.host.qemu.monitor import MAX_MESSAGE_BYTES, Monitor
from tests.descriptors import nothing_left_open
from tests.host.qemu import miniature

GREETING = {"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}


@pytest.fixture(autouse=True)
def all_closed() -> Iterator[None]:
    with nothing_left_open(60):
        yield


@contextlib.contextmanager
def served(script: Callable[[socket.socket], None]) -> Iterator[Monitor]:
    """A monitor whose other end is played by ``script``, which ends when the other end is closed."""
    ours, theirs = socket.socketpair()

    def play() -> None:
        with theirs, contextlib.suppress(OSError):
            script(theirs)

    thread = threading.Thread(target=play)
    thread.start()
    monitor = Monitor(ours)
    yield monitor
    thread.join(60)
    monitor.join(60)


def line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\r\n"


def greet(sock: socket.socket) -> None:
    sock.sendall(line(GREETING))
    request = json.loads(sock.recv(4096))
    sock.sendall(line({"return": {}, "id": request.get("id")}))


def code(monitor: Monitor, seconds: float = 30.0) -> str:
    with pytest.raises(HostError) as caught:
        monitor.execute("query-version", seconds=seconds)
    return caught.value.code


def test_real_qemu_answers_and_refuses(qemu: str, program: Path) -> None:
    guest = Guest(qemu, miniature.arguments(program, "hang"))
    try:
        assert guest.monitor.version().count(".") == 2
        with pytest.raises(HostError) as caught:
            guest.monitor.execute("no-such-command", {"a": 1})
        assert caught.value.code == "qmp-refused"
        assert "no-such-command has not been found" in caught.value.message
    finally:
        guest.kill()
        guest.wait()
    guest.monitor.join(60)
    assert code(guest.monitor) == "qmp-closed"


@pytest.mark.parametrize(
    "answer",
    [b"", b"garbage\r\n", b"{}\r\n", b"[]\r\n", b'{"QMP": 1}\r\n', b"\xff\r\n", b"x" * (MAX_MESSAGE_BYTES + 2)],
    ids=["nothing", "text", "empty", "list", "number", "no text", "too long"],
)  # fmt: skip
def test_what_is_no_monitor_is_closed(answer: bytes) -> None:
    with served(lambda sock: sock.sendall(answer)) as monitor:
        assert code(monitor) == "qmp-closed"


def test_monitor_that_says_nothing_is_not_waited_for_for_ever() -> None:
    over = threading.Event()

    def script(sock: socket.socket) -> None:
        greet(sock)
        over.wait(60)

    with served(script) as monitor:
        assert code(monitor, seconds=0.3) == "qmp-slow"
        over.set()


def test_monitor_that_is_closed_during_a_question_has_no_answer() -> None:
    def script(sock: socket.socket) -> None:
        greet(sock)
        sock.recv(4096)

    with served(script) as monitor:
        assert code(monitor) == "qmp-closed"


def test_reason_of_the_end_is_kept() -> None:
    def script(sock: socket.socket) -> None:
        greet(sock)
        for data in ({"guest": True, "reason": "guest-reset"}, {}, 5):
            event = {"event": "SHUTDOWN", "data": data, "timestamp": {"seconds": 1, "microseconds": 1}}
            sock.sendall(line(event))
        sock.recv(4096)

    with served(script) as monitor:
        assert code(monitor) == "qmp-closed"
        monitor.join(60)
        assert monitor.reason == "guest-reset"
