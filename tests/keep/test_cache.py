"""Compiled code from the host: used only when this installation sealed it for this very module."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import LinkError
from enarx.keep.cache import MAX_ENTRY, SEAL, CodeCache
from enarx.keep.link import Link
from enarx.wire import Decoder, Frame, Type, encode, encode_fields

KEY = b"k" * 32
MODULE = b"module"


class Host:
    def __init__(self) -> None:
        self.sock, self._theirs = socket.socketpair()
        self.cache = CodeCache(Link(self._theirs, lambda: None), KEY)
        self.keyless = CodeCache(Link(self._theirs, lambda: None), b"")

    def close(self) -> None:
        self.sock.close()
        self._theirs.close()

    def received(self) -> list[Frame]:
        self._theirs.shutdown(socket.SHUT_WR)
        decoder, frames = Decoder(), list[Frame]()
        while data := self.sock.recv(1 << 20):
            frames += decoder.feed(data, [])
        return frames

    def answer(self, entry: bytes, ident: int = 1) -> None:
        self.sock.sendall(encode_fields(Type.CACHED, ident, size=len(entry)))
        if entry:
            self.sock.sendall(encode(Type.BLOB, 0, entry))


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


def stored(module: bytes = MODULE, code: bytes = b"code", key: bytes = KEY) -> tuple[str, bytes]:
    """What the host is given to keep: (name, entry)."""
    host = Host()
    try:
        CodeCache(host.cache._link, key).store(module, code)
        put, *blobs = host.received()
    finally:
        host.close()
    entry = b"".join(blob.payload for blob in blobs)
    assert put.fields()["size"] == len(entry) == SEAL + len(code)
    return put.fields()["name"], entry


def test_what_was_stored_is_loaded(host: Host) -> None:
    name, entry = stored()
    host.answer(entry)
    assert bytes(host.cache.load(MODULE) or b"") == b"code"
    (frame,) = host.received()
    assert frame.fields() == {"name": name}


@given(position=st.integers(0, SEAL + 3), bit=st.integers(0, 7))
def test_an_entry_with_any_flipped_bit_is_not_used(position: int, bit: int) -> None:
    _, entry = stored()
    flipped = bytearray(entry)
    flipped[position] ^= 1 << bit
    host = Host()
    try:
        host.answer(bytes(flipped))
        assert host.cache.load(MODULE) is None
    finally:
        host.close()


@pytest.mark.parametrize("entry", [b"", b"x", bytes(SEAL), bytes(SEAL + 1), bytes(1000)])
def test_an_entry_that_is_none_is_not_used(entry: bytes, host: Host) -> None:
    host.answer(entry)
    assert host.cache.load(MODULE) is None
    host.answer(stored()[1], 2)
    assert host.cache.load(MODULE) is not None  # nothing of the first was left on the link


def test_an_entry_of_another_module_or_key_is_not_used(host: Host) -> None:
    for ident, (_, entry) in enumerate((stored(module=b"other"), stored(key=b"x" * 32)), 1):
        host.answer(entry, ident)
        assert host.cache.load(MODULE) is None


def test_entries_are_named_after_the_module_alone() -> None:
    assert stored()[0] == stored(key=b"x" * 32)[0] == stored(code=b"else")[0] != stored(module=b"other")[0]


def test_an_entry_that_is_too_large_ends_the_link(host: Host) -> None:
    host.sock.sendall(encode_fields(Type.CACHED, 1, size=MAX_ENTRY + 1))
    with pytest.raises(LinkError):
        host.cache.load(MODULE)


def test_a_host_that_fails_to_answer_means_no_entry(host: Host) -> None:
    host.sock.sendall(encode_fields(Type.FAILED, 1, code="x", message="", hint=""))
    assert host.cache.load(MODULE) is None
    host.sock.sendall(encode_fields(Type.OPENED, 2, name=""))
    assert host.cache.load(MODULE) is None


def test_without_a_key_nothing_is_asked_or_told(host: Host) -> None:
    assert host.keyless.load(MODULE) is None
    host.keyless.store(MODULE, b"code")
    assert host.received() == []


def test_long_code_is_sent_in_parts(host: Host) -> None:
    code = bytes(3 << 20)
    frames: list[Frame] = []
    thread = threading.Thread(target=host.cache.store, args=(MODULE, code))
    thread.start()
    decoder = Decoder()
    while sum(len(frame.payload) for frame in frames if frame.type == Type.BLOB) < SEAL + len(code):
        frames += decoder.feed(host.sock.recv(1 << 20), [])
    thread.join()
    assert len(frames) == 5
