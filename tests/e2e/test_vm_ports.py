"""A host that abuses the ports of a VM Keep: garbage, floods, closed and cut connections, at the real devices.

What each end refuses, and at which byte, is tested without a machine in tests/mux and tests/keep.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from enarx.errors import HostError, LinkError
from enarx.host.attested import manifest_of, with_manifest
from enarx.host.contract import Ending, Package
from enarx.host.image.layout import open_image
from enarx.host.launch import Host
from enarx.host.qemu.command import Descriptors, vm_arguments
from enarx.host.qemu.guest import Guest
from enarx.host.qemu.machine import Machine
from enarx.manifest import StewardPin
from enarx.mux.transit import HELLO, MAGIC, SKIP_BYTES
from tests import programs
from tests.support import require_tool

pytestmark = pytest.mark.timeout(600)
SECONDS = 240.0
PIN = StewardPin("https://127.0.0.1:9", "sha256:" + 64 * "0")
"""A Steward that is never asked: evidence comes first."""


def started(image: Path, *, simulated: bool = False) -> Guest:
    files = open_image(image)

    def arguments(descriptors: Descriptors) -> list[str]:
        return vm_arguments(files, Machine(memory=256), "tcg", descriptors)

    return Guest(str(require_tool("qemu-system-x86_64", "qemu-system-x86")), arguments, simulated=simulated)


def received(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := sock.recv(size - len(data))):
        data += part
    return data


def flood(sock: socket.socket, size: int) -> None:
    """Send so many bytes that mean nothing, or as many as are taken."""
    noise = random.Random(0).randbytes(1 << 16)
    with contextlib.suppress(OSError):
        for _ in range(0, size, len(noise)):
            sock.sendall(noise)


def garbage_instead_of_a_greeting(sock: socket.socket) -> None:
    flood(sock, 4 * SKIP_BYTES)


def garbage_after_the_greeting(sock: socket.socket) -> None:
    magic, session, _ = HELLO.unpack(received(sock, HELLO.size))
    assert magic == MAGIC
    sock.sendall(HELLO.pack(MAGIC, session, 0))
    flood(sock, 1 << 20)


@pytest.mark.parametrize("abuse", [garbage_instead_of_a_greeting, garbage_after_the_greeting])
def test_keep_whose_link_carries_garbage_ends_and_powers_off(
    abuse: Callable[[socket.socket], None], built_image: Path
) -> None:
    guest = started(built_image)
    try:
        with guest._listener.connect() as sock:
            sock.settimeout(SECONDS)
            abuse(sock)
            with contextlib.suppress(ConnectionResetError):
                while sock.recv(1 << 16):  # until QEMU ends
                    pass
        died = guest.obituary()
    finally:
        guest.kill()
        guest.wait()
    assert "the guest powered off" in died.message, died.message


def cut_again_and_again(guest: Guest, connection: list[socket.socket]) -> Callable[[], socket.socket | None]:
    """Connections to the guest's port as `CarriedKeep` makes them; they are kept, to be cut."""

    def connect() -> socket.socket | None:
        sock = guest._listener.connect()
        connection.append(sock.dup())
        return sock

    return connect


def test_link_that_is_cut_goes_on_where_it_was(built_image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = started(built_image)
    connections: list[socket.socket] = []
    monkeypatch.setattr(guest, "_connect", cut_again_and_again(guest, connections))
    first = guest._listener.connect
    reading, writing = os.pipe()
    data = os.urandom(1 << 20)
    taken = bytearray()

    def connect_first() -> socket.socket:
        sock = first()
        connections.append(sock.dup())
        return sock

    def feed() -> None:
        """Into standard input, and cut the link in the middle of it."""
        for start in range(0, len(data), 1 << 18):
            os.write(writing, data[start : start + (1 << 18)])
            with contextlib.suppress(OSError):
                connections[-1].shutdown(socket.SHUT_RDWR)
        os.close(writing)

    out_reading, out_writing = os.pipe()

    def collect() -> None:
        while part := os.read(out_reading, 1 << 16):
            taken.extend(part)

    def stdio(name: str) -> int:
        return os.dup({"stdin": reading, "stdout": out_writing}.get(name, out_writing))

    monkeypatch.setattr(guest._listener, "connect", connect_first)
    keep = guest.carry()
    monkeypatch.setattr(guest._listener, "connect", first)
    threads = [threading.Thread(target=work) for work in (feed, collect)]
    for thread in threads:
        thread.start()
    ending = Host(keep, None, lambda line: None, stdio=stdio).run(Package([("module", "main.wasm", programs.CAT)]))
    os.close(out_writing)
    for thread in threads:
        thread.join(SECONDS)
    for sock in connections:
        sock.close()
    os.close(reading)
    os.close(out_reading)
    assert (ending.status, ending.message) == (0, "")
    assert bytes(taken) == data
    assert len(connections) > 1


def attested(image: Path, processor: Callable[[socket.socket], None]) -> Ending:
    """Launch a Keep that wants evidence, with ``processor`` behind its port."""
    guest = started(image, simulated=True)
    channel = guest.channel
    assert channel is not None
    thread = threading.Thread(target=processor, args=(channel,))
    thread.start()
    package = Package([("module", "main.wasm", programs.HELLO)])
    try:
        return Host(guest.carry(), None, lambda line: None).run(with_manifest(package, manifest_of(package, PIN)))
    finally:
        thread.join(SECONDS)
        channel.close()


def answers_garbage(channel: socket.socket) -> None:
    received(channel, 72)
    flood(channel, 1 << 16)


def floods(channel: socket.socket) -> None:
    flood(channel, 1 << 26)


def closes(channel: socket.socket) -> None:
    received(channel, 72)
    channel.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("processor", [answers_garbage, floods, closes])
def test_keep_whose_processor_answers_nonsense_or_nothing_runs_nothing(
    processor: Callable[[socket.socket], None], built_image: Path
) -> None:
    try:
        ending = attested(built_image, processor)
    except (HostError, LinkError) as error:
        pytest.fail(f"{error.code}: {error.message}")
    assert (ending.status, ending.code) == (1, "attester-failed"), ending
