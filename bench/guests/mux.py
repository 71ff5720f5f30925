"""First process of a virtual machine that only serves `bench.mux`: the Keep's own code carries the link, as in a Keep.

The second port, where a Keep finds a simulated processor, is used here as it is. What to do comes in a line at the
beginning of a stream: a word, and how many bytes.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import Final

from enarx.keep import init

init.without_inspect()  # before whatever imports dataclasses
from enarx.keep.mux import Carrier  # noqa: E402
from enarx.keep.sandbox import Sandbox  # noqa: E402
from enarx.wire import Decoder  # noqa: E402

PIECE: Final = 1 << 17
"""What is read and written at once, in bytes, at port and stream alike."""
RELAY: Final = 1 << 18
"""What the bare relay reads and writes at once, in bytes."""
PAGE: Final = 1 << 12
OUT: Final = 1 << 15
"""What the port of a Linux guest gives and takes in one piece, in bytes."""


def serve(stream: socket.socket, port: int) -> None:
    """Do what the stream says, and answer with one byte."""
    word, _, size = line(stream).partition(b" ")
    if word == b"echo":
        while data := stream.recv(PIECE):
            stream.sendall(data)
        return
    left, buffer = int(size), memoryview(bytearray(PIECE))
    if word == b"port-echo":
        while left:
            left -= os.write(port, os.read(port, left))
    elif word.startswith(b"relay"):
        relay(port, left, buffer, into=word == b"relay-in")
    else:
        while left:
            if word == b"port-in":
                left -= os.readv(port, [buffer])
            elif word == b"port-out":
                left -= os.write(port, buffer[:left])
            else:
                left -= stream.recv_into(buffer) if word == b"in" else stream.send(buffer[:left])
    stream.sendall(b".")
    stream.close()


def line(stream: socket.socket) -> bytes:
    """The first line."""
    found = b""
    while not found.endswith(b"\n"):
        found += stream.recv(1)
    return found[:-1]


def relay(port: int, left: int, mine: memoryview, *, into: bool) -> None:
    """The least that a thread between port and workload can do: no frames, one stream, one direction."""
    near, far = socket.socketpair()
    for end in (near, far):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, RELAY)

    def carry(left: int) -> None:
        buffer = memoryview(bytearray(RELAY))
        pages = [buffer[start : start + PAGE] for start in range(0, RELAY, PAGE)]
        while left:
            if into:
                count = os.readv(port, pages)
                near.sendall(buffer[:count])
            else:
                count = near.recv_into(buffer)
                rest = buffer[:count]
                while rest:
                    rest = rest[os.writev(port, [rest[at : at + OUT] for at in range(0, len(rest), OUT)]) :]
            left -= count

    thread = threading.Thread(target=carry, args=(left,))
    thread.start()
    while left:
        left -= far.recv_into(mine) if into else far.send(mine[:left])
    thread.join()
    near.close()
    far.close()


def main() -> None:
    """Serve until the host is gone."""
    init.prepare()
    link_port, raw_port = init.find_ports()
    raw = os.open(f"/dev/{raw_port}", os.O_RDWR | os.O_CLOEXEC)
    carrier = Carrier(os.open(f"/dev/{link_port}", os.O_RDWR | os.O_CLOEXEC))
    sandbox = Sandbox()  # the filter of system calls costs both ports something
    sandbox.begin()
    sandbox.finish()
    carrier.start()
    link, decoder = carrier.link, Decoder()
    while True:
        data, fds, _, _ = socket.recv_fds(link, 1 << 16, 64)
        if not data:
            break
        for frame in decoder.feed(data, fds):
            if frame.fd >= 0:
                stream = socket.socket(fileno=frame.take_fd())
                threading.Thread(target=serve, args=(stream, raw), daemon=True).start()


try:
    main()
except BaseException as error:  # noqa: BLE001 - the console is all there is to see
    init.say(f"{type(error).__name__}: {error}")
while True:
    init.power_off()
