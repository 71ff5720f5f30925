"""The runtime with a cache behind it: changed code must never run. The host's end of the link is a thread here."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import wasmtime

from enarx.keep.cache import Authenticated, CodeCache
from enarx.keep.link import Link
from enarx.keep.runtime import Outcome, Runtime
from enarx.keep.wasi.context import Context
from enarx.keep.wasi.descriptor import DescriptorTable
from enarx.wire import MAX_PAYLOAD, Decoder, Frame, Type, encode, encode_fields

MODULE = bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "_start")))'))


class Host:
    """A host that keeps one entry and hands it over as ``change`` makes it."""

    def __init__(self) -> None:
        self.keep, self._socket = socket.socketpair()
        self.cache = CodeCache(Link(self.keep, lambda: None), Authenticated(b"k" * 32))
        self.stored = threading.Event()
        self.entry = b""
        self.change: Callable[[bytes], bytes] = bytes
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        decoder, data, size = Decoder(), b"", 0
        while received := self._socket.recv(1 << 20):
            for frame in decoder.feed(received, []):
                if frame.type == Type.CACHE_GET:
                    self._socket.sendall(self._found(frame))
                elif frame.type == Type.CACHE_PUT:
                    data, size = b"", frame.fields()["size"]
                else:
                    assert frame.type == Type.BLOB
                    data += frame.payload
                    if len(data) == size and not self.stored.is_set():
                        self.entry = data
                        self.stored.set()

    def _found(self, frame: Frame) -> bytes:
        if not self.entry:
            return encode_fields(Type.FAILED, frame.id, code="cache-miss", message="nothing is stored", hint="")
        data = self.change(self.entry)
        blobs = [encode(Type.BLOB, 0, data[start : start + MAX_PAYLOAD]) for start in range(0, len(data), MAX_PAYLOAD)]
        return b"".join([encode_fields(Type.CACHED, frame.id, size=len(data)), *blobs])

    def run(self) -> tuple[bool, Outcome]:
        """Run the module: whether its code came from the cache, and how it ended."""
        runtime = Runtime(Context(DescriptorTable(1)), 1 << 20, lambda: None)
        loaded, cached = runtime.load(MODULE, self.cache)
        return cached, runtime.run(loaded)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self.keep.close()


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.close()


def test_a_module_is_compiled_once(host: Host) -> None:
    assert host.run() == (False, Outcome(0))
    assert host.stored.wait(60)
    assert host.run() == (True, Outcome(0))
    assert host.run() == (True, Outcome(0))


def test_code_that_the_host_changed_is_compiled_again_and_never_runs(host: Host) -> None:
    host.run()
    assert host.stored.wait(60)
    assert host.run() == (True, Outcome(0))
    for position in range(0, len(host.entry), max(1, len(host.entry) // 20)):
        flipped = bytearray(host.entry)
        flipped[position] ^= 0x10
        host.change = lambda _, flipped=flipped: bytes(flipped)  # type: ignore[misc]
        assert host.run() == (False, Outcome(0))
    for change in (lambda entry: entry[:-1], lambda entry: entry + b"\0", lambda entry: entry[:40]):
        host.change = change
        assert host.run() == (False, Outcome(0))


def test_code_of_ours_that_the_engine_refuses_is_compiled_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an upgrade of the engine, or on another CPU: the seal is right and the code is not usable."""
    monkeypatch.setattr(wasmtime.Module, "serialize", lambda self: bytearray(b"code of another engine"))
    assert host.run() == (False, Outcome(0))
    assert host.stored.wait(60)
    assert host.run() == (False, Outcome(0))
