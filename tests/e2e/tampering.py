"""Hosts that tamper with what they carry: frames to the Keep, and TLS records between Keep and Steward."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Literal
from unittest import mock

from enarx.host.filebytes import Data, parts_of
from enarx.host.outbox import Outbox
from enarx.wire import Type, encode
from tests.workloads import ADDRESS, SECONDS

Act = Literal["drop", "duplicate", "swap"]

_HANG_UP = b"hang up"
_HEADER_BYTES = 5
_APPLICATION_DATA = 23  # what TLS 1.3 calls every record that is encrypted (RFC 8446 5.2)


class TamperingOutbox(Outbox):
    """Does something to one of the frames of a launch, counted from 0: LAUNCH, then the objects' BLOBs.

    A host that drops one hangs up behind the launch: it could as well have the Keep wait for ever.
    """

    act: Act
    frame: int

    def put(self, frame: bytes, fd: int = -1, blobs: Sequence[Data] = ()) -> None:
        if not blobs:
            super().put(frame, fd)
            return
        frames = [
            frame,
            *(encode(Type.BLOB, 0, part) for blob in blobs for part in parts_of(blob)),
        ]  # small ones, a frame each
        tampered = frames.pop(self.frame)
        if self.act == "duplicate":
            frames[self.frame : self.frame] = [tampered, tampered]
        elif self.act == "swap":
            frames.insert(self.frame + 1, tampered)
        for one in frames:
            super().put(one)
        if self.act == "drop":
            super().put(_HANG_UP)

    def _send(self, data: bytes, fd: int = -1) -> None:
        if data == _HANG_UP:
            self._link.shutdown(socket.SHUT_WR)
        else:
            super()._send(data, fd)


@contextlib.contextmanager
def tampering(act: Act, frame: int) -> Iterator[None]:
    """Until the block ends, the hosts of this process do that to their launches."""
    outbox = type("Tampering", (TamperingOutbox,), {"act": act, "frame": frame})
    with mock.patch("enarx.host.launch.Outbox", outbox):
        yield


@contextlib.contextmanager
def tampering_proxy(port: int, act: Act, direction: Literal["request", "answer"], record: int) -> Iterator[int]:
    """A host's relay to ``port`` that does something to one encrypted record of one direction, counted from 0."""
    with socket.create_server((ADDRESS, 0)) as listener:
        threads: list[threading.Thread] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    near, _ = listener.accept()
                    far = socket.create_connection((ADDRESS, port), SECONDS)
                    for source, sink, tampered in (
                        (near, far, direction == "request"),
                        (far, near, direction == "answer"),
                    ):
                        number = record if tampered else -1
                        threads.append(threading.Thread(target=_relay, args=(source, sink, act, number), daemon=True))
                        threads[-1].start()

        acceptor = threading.Thread(target=serve, daemon=True)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for thread in (acceptor, *threads):
                thread.join(SECONDS)
                assert not thread.is_alive()


def _relay(source: socket.socket, sink: socket.socket, act: Act, number: int) -> None:
    """Record by record, until one side is done. Closes ``source``."""
    held = b""
    with contextlib.suppress(OSError), source, source.makefile("rb") as records:
        while len(header := records.read(_HEADER_BYTES)) == _HEADER_BYTES:
            record = header + records.read(int.from_bytes(header[3:], "big"))
            encrypted = header[0] == _APPLICATION_DATA
            if held:
                sink.sendall(record + held)
                held = b""
            elif not encrypted or number != 0:
                sink.sendall(record)
            elif act == "duplicate":
                sink.sendall(record * 2)
            elif act == "swap":
                held = record
            number -= encrypted
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
