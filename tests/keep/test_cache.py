"""Compiled code from the host: used only when our key sealed it for this very module."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import LinkError
from enarx.keep.cache import MAC_BYTES, MAX_ENTRY, Authenticated, CodeCache, Seal, Secret
from enarx.keep.link import Link
from enarx.wire import Decoder, Frame, Type, encode, encode_fields

OURS = Authenticated(b"k" * 32)
SECRET = Secret(b"s" * 64)
SEALS = [pytest.param(OURS, id="authenticated"), pytest.param(SECRET, id="secret")]
seals = pytest.mark.parametrize("seal", SEALS)
MODULE = b"module"


class Host:
    def __init__(self, seal: Seal | None = OURS) -> None:
        self.sock, self._theirs = socket.socketpair()
        self.cache = CodeCache(Link(self._theirs, lambda: None), seal)

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


def stored(module: bytes = MODULE, code: bytes = b"code", seal: Seal = OURS) -> tuple[str, bytes]:
    """What the host is given to keep: (name, entry)."""
    host = Host(seal)
    try:
        host.cache.store(module, code)
        put, *blobs = host.received()
    finally:
        host.close()
    entry = b"".join(blob.payload for blob in blobs)
    assert put.fields()["size"] == len(entry) == seal.overhead + len(code)
    return put.fields()["name"], entry


@seals
@pytest.mark.parametrize("code", [b"", b"code"])
def test_what_was_stored_is_loaded(seal: Seal, code: bytes) -> None:
    name, entry = stored(code=code, seal=seal)
    host = Host(seal)
    try:
        host.answer(entry)
        loaded = host.cache.load(MODULE)
        assert loaded is not None
        assert bytes(loaded) == code
        (frame,) = host.received()
        assert frame.fields() == {"name": name}
    finally:
        host.close()


@given(seal=st.sampled_from([OURS, SECRET]), position=st.integers(0, MAC_BYTES + 3), bit=st.integers(0, 7))
def test_an_entry_with_any_flipped_bit_is_not_used(seal: Seal, position: int, bit: int) -> None:
    _, entry = stored(code=b"code of no great length", seal=seal)
    flipped = bytearray(entry)
    flipped[position] ^= 1 << bit
    host = Host(seal)
    try:
        host.answer(bytes(flipped))
        assert host.cache.load(MODULE) is None
    finally:
        host.close()


@seals
@pytest.mark.parametrize("entry", [b"", b"x", bytes(27), bytes(28), bytes(32), bytes(33), bytes(1000)])
def test_an_entry_that_is_none_is_not_used(entry: bytes, seal: Seal) -> None:
    host = Host(seal)
    try:
        host.answer(entry)
        assert host.cache.load(MODULE) is None
        host.answer(stored(seal=seal)[1], 2)
        assert host.cache.load(MODULE) is not None  # nothing of the first was left on the link
    finally:
        host.close()


@seals
def test_an_entry_of_another_module_or_key_is_not_used(seal: Seal) -> None:
    others: list[Seal] = [Authenticated(b"x" * 32), Secret(b"s" * 32 + b"x" * 32), Secret(b"x" * 32 + b"s" * 32)]
    found = [stored(module=b"other", seal=seal), *(stored(seal=other) for other in others)]
    host = Host(seal)
    try:
        for ident, (_, entry) in enumerate(found, 1):
            host.answer(entry, ident)
            assert host.cache.load(MODULE) is None
    finally:
        host.close()


def test_entries_are_named_after_the_module_alone() -> None:
    assert stored()[0] == stored(seal=Authenticated(b"x" * 32))[0] == stored(code=b"else")[0]
    assert stored()[0] != stored(module=b"other")[0]


def test_a_secret_entry_shows_neither_code_nor_module() -> None:
    code = b"code that only a Keep may read" * 10
    name, entry = stored(code=code, seal=SECRET)
    other_name, other_entry = stored(code=code, seal=SECRET)
    assert name == other_name != stored(code=code)[0] != stored(code=code, seal=Secret(b"x" * 64))[0]
    assert entry != other_entry
    assert code[:16] not in entry


@pytest.mark.parametrize("size", [0, 32, 63, 65])
def test_a_key_for_secret_entries_has_its_size(size: int) -> None:
    with pytest.raises(ValueError, match="64"):
        Secret(bytes(size))


def test_an_entry_that_is_too_large_ends_the_link(host: Host) -> None:
    host.sock.sendall(encode_fields(Type.CACHED, 1, size=MAX_ENTRY + 1))
    with pytest.raises(LinkError):
        host.cache.load(MODULE)


def test_a_host_that_fails_to_answer_means_no_entry(host: Host) -> None:
    host.sock.sendall(encode_fields(Type.FAILED, 1, code="x", message="", hint=""))
    assert host.cache.load(MODULE) is None
    host.sock.sendall(encode_fields(Type.OPENED, 2, name=""))
    assert host.cache.load(MODULE) is None


def test_without_a_seal_nothing_is_asked_or_told() -> None:
    host = Host(None)
    try:
        assert host.cache.load(MODULE) is None
        host.cache.store(MODULE, b"code")
        assert host.received() == []
    finally:
        host.close()


def test_long_code_is_sent_in_parts(host: Host) -> None:
    code = bytes(3 << 20)
    frames: list[Frame] = []
    thread = threading.Thread(target=host.cache.store, args=(MODULE, code))
    thread.start()
    decoder = Decoder()
    while sum(len(frame.payload) for frame in frames if frame.type == Type.BLOB) < MAC_BYTES + len(code):
        frames += decoder.feed(host.sock.recv(1 << 20), [])
    thread.join()
    assert len(frames) == 5
