"""Streams into and out of a VM Keep: what its multiplexer leaves of the virtio-serial port that it goes over.

One virtual machine, with the image's kernel and its initial RAM disk; another first process (`guests/mux.py`) has the
Keep's own code carry the link, and a second port to compare with. Both are read and written in the same pieces.
"""

from __future__ import annotations

import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from bench.figure import Better, Figure
from bench.measure import quartiles, take_turns
from bench.workspace import BUILD, GUESTS, BenchError, enarx, output_of
from enarx.errors import EnarxError
from enarx.host.image.layout import Image, open_image
from enarx.host.image.newc import File, pack
from enarx.host.mux import CarriedKeep
from enarx.host.qemu.command import vm_arguments
from enarx.host.qemu.guest import Guest
from enarx.host.qemu.machine import Machine
from enarx.host.qemu.program import find_qemu
from enarx.wire import Type, encode_fields

ROUNDS: Final = 11
BYTES: Final = 16 << 20
"""What one measurement moves, in bytes."""
PIECE: Final = 1 << 18
"""What the host reads and writes at once, in bytes."""
PARALLEL: Final = 64
SHARE_BYTES: Final = 512 << 10
"""What each of the parallel streams moves, in bytes."""
PINGS: Final = 300
PING: Final = b"x" * 64
BAR: Final = 0.6
SHARE_BAR: Final = 0.5
_PORT: Final = "the same virtual machine's other virtio-serial port, read and written by the workload itself"
_INIT: Final = "bench-mux.py"


def run() -> list[Figure]:
    """Throughput each way, how fair parallel streams are to each other, and what a small answer takes."""
    with tempfile.TemporaryDirectory(prefix="enarx-bench-") as directory, _machine(Path(directory)) as bench:
        return [*_throughput(bench), _fairness(bench), _latency(bench)]


class Bench:
    """The host's end: ``port`` is the other port, and a stream is opened as for an incoming connection."""

    def __init__(self, keep: CarriedKeep, port: socket.socket) -> None:
        self.port = port
        self._keep = keep

    def stream(self, order: str, count: int = 0) -> socket.socket:
        """A stream whose other end follows ``order``."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._keep.link, [encode_fields(Type.INCOMING, 1, fd=True, peer="")], [theirs.fileno()])
        ours.sendall(f"{order} {count}\n".encode())
        return ours

    def stream_in(self) -> float:
        """MB/s to the workload."""
        return self._rate("in", BYTES, None)

    def stream_out(self) -> float:
        """MB/s from the workload."""
        return self._rate("out", BYTES, None)

    def port_in(self, order: str = "port-in") -> float:
        """MB/s to whoever reads the other port."""
        return self._rate(order, BYTES, self.port)

    def port_out(self, order: str = "port-out") -> float:
        """MB/s from whoever writes the other port."""
        return self._rate(order, BYTES, self.port)

    def _rate(self, order: str, count: int, port: socket.socket | None) -> float:
        with self.stream(order, count) as stream:
            start = time.perf_counter()
            _move(port or stream, count, into=order.endswith("in"))
            _done(stream)
            return count / 1e6 / (time.perf_counter() - start)


def _move(sock: socket.socket, count: int, *, into: bool) -> None:
    buffer = memoryview(bytearray(PIECE))
    while count:
        count -= sock.send(buffer[:count]) if into else sock.recv_into(buffer, min(count, PIECE))


def _done(stream: socket.socket) -> None:
    if stream.recv(1) != b".":
        raise BenchError("the guest has not done what it was told to")


def _throughput(bench: Bench) -> Iterator[Figure]:
    contestants: dict[str, Callable[[], float]] = {
        "port in": bench.port_in, "in": bench.stream_in, "relay in": partial(bench.port_in, "relay-in"),
        "port out": bench.port_out, "out": bench.stream_out, "relay out": partial(bench.port_out, "relay-out"),
    }  # fmt: skip
    rates = take_turns(ROUNDS, contestants)
    for way, name in (("in", "stream into a VM Keep"), ("out", "stream out of a VM Keep")):
        of_port = [ours / theirs for ours, theirs in zip(rates[way], rates[f"port {way}"], strict=True)]
        of_relay = [ours / theirs for ours, theirs in zip(rates[way], rates[f"relay {way}"], strict=True)]
        lower, upper = quartiles(of_port)
        details = {
            "lower_quartile_ratio": lower, "upper_quartile_ratio": upper,
            "stream_mb_per_s": statistics.median(rates[way]),
            "port_mb_per_s": statistics.median(rates[f"port {way}"]),
            "relay_mb_per_s": statistics.median(rates[f"relay {way}"]),
        }  # fmt: skip
        yield Figure(name, statistics.median(of_port), "x", Better.HIGHER, _PORT, BAR, details)
        relay = "a thread between that port and the workload that knows no frames, for one stream in one direction"
        yield Figure(f"{name}, against a bare relay", statistics.median(of_relay), "x", Better.HIGHER, relay)


def _fairness(bench: Bench) -> Figure:
    """All begin together; until the first has ended, each has as much to say as it can."""
    took: list[float] = []

    def one() -> None:
        with bench.stream("in", SHARE_BYTES) as stream:
            barrier.wait()
            start = time.perf_counter()
            _move(stream, SHARE_BYTES, into=True)
            _done(stream)
            took.append(time.perf_counter() - start)

    barrier = threading.Barrier(PARALLEL)
    threads = [threading.Thread(target=one, daemon=True) for _ in range(PARALLEL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(took) != PARALLEL:
        raise BenchError("a stream among many was not served")
    rate = PARALLEL * SHARE_BYTES / 1e6 / max(took)
    details = {"first_s": min(took), "last_s": max(took), "all_mb_per_s": rate}
    name = f"slowest of {PARALLEL} parallel streams"
    return Figure(name, statistics.mean(took) / max(took), "x", Better.HIGHER, "their mean", SHARE_BAR, details)


def _latency(bench: Bench) -> Figure:
    with bench.stream("port-echo", PINGS * len(PING)) as stream:
        direct = [_ping(bench.port) for _ in range(PINGS)]
        _done(stream)
    with bench.stream("echo") as stream:
        times = [_ping(stream) for _ in range(PINGS)]
    name = f"{len(PING)} bytes to a VM Keep and back"
    details = {"stream_us": statistics.median(times) * 1e6, "port_us": statistics.median(direct) * 1e6}
    return Figure(name, statistics.median(times) / statistics.median(direct), "x", Better.LOWER, _PORT, None, details)


def _ping(sock: socket.socket) -> float:
    start = time.perf_counter()
    sock.sendall(PING)
    left = len(PING)
    while left:
        left -= len(sock.recv(left))
    return time.perf_counter() - start


@contextmanager
def _machine(directory: Path) -> Iterator[Bench]:
    try:
        image = _image(directory)
        guest = Guest(
            find_qemu(), lambda descriptors: vm_arguments(image, Machine(), "tcg", descriptors), simulated=True
        )
    except EnarxError as error:
        raise BenchError(str(error)) from error
    keep = guest.carry()
    try:
        keep.greeted.wait()
        if keep.failure is not None or guest.channel is None:
            raise BenchError(f"the guest did not start: {guest.obituary()}")
        yield Bench(keep, guest.channel)
    except OSError as error:
        raise BenchError(f"the guest has ended: {guest.obituary()}") from error
    finally:
        keep.kill()
        keep.wait()
        if guest.channel is not None:
            guest.channel.close()


def _image(directory: Path) -> Image:
    """The image of this tree, whose first process is the bench's."""
    built = BUILD / "image"
    output_of([enarx(), "image", "build", "-o", str(built)])
    image = open_image(built)
    initrd = directory / "initrd"
    own = b"".join(pack({_INIT: File((GUESTS / "mux.py").read_bytes())}))
    initrd.write_bytes(image.initrd.read_bytes() + own)
    first, _, _ = image.cmdline.rpartition(" ")
    return replace(image, initrd=initrd, cmdline=f"{first} /{_INIT}")
