"""Bytes that are read from a file while they are sent: what was told of them holds, or it is an error."""

from __future__ import annotations

import hashlib
import os
import resource
import socket
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.host.filebytes import PART_BYTES, FileBytes, digest_of, head_of, parts_of
from enarx.host.outbox import Outbox
from enarx.wire import Decoder, encode_fields
from enarx.wire import Type as Frame
from tests.descriptors import nothing_left_open

CONTENT = os.urandom(2 * PART_BYTES + 5)


def opened(path: Path, content: bytes = CONTENT) -> FileBytes:
    path.write_bytes(content)
    return FileBytes(os.open(path, os.O_RDONLY), path.name)


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, PART_BYTES + 1, len(CONTENT)])
def test_a_file_is_as_good_as_its_bytes(size: int, tmp_path: Path) -> None:
    content = CONTENT[:size]
    with nothing_left_open():
        file = opened(tmp_path / "file", content)
        assert len(file) == size
        for data in (file, content, bytearray(content), memoryview(content)):
            assert b"".join(parts_of(data)) == content
            assert all(len(part) <= PART_BYTES for part in parts_of(data))
            assert digest_of(data) == f"sha256:{hashlib.sha256(content).hexdigest()}"
            assert head_of(data, 3) == content[:3]
        file.close()
        file.close()


def test_a_digest_that_is_known_is_not_computed_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    file = FileBytes(os.open(path, os.O_RDONLY), "file", "sha256:known")
    assert file.digest() == "sha256:known"
    file.close()


CHANGES: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: os.truncate(path, 10),
    "made longer": lambda path: os.truncate(path, len(CONTENT) + 1),
    "written over": lambda path: path.write_bytes(bytes(len(CONTENT))),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_file_that_is_changed_is_an_error_and_no_other_content(how: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    os.utime(path, ns=(1, 1))  # however coarse the clock of the file system is
    file = FileBytes(os.open(path, os.O_RDONLY), "file")
    CHANGES[how](path)
    with pytest.raises(HostError) as caught:
        b"".join(file.parts())
    assert caught.value.code == "file-changed"
    file.close()


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_is_replaced_or_removed_stays_what_it_was(replaced: bool, tmp_path: Path) -> None:
    file = opened(tmp_path / "file")
    if replaced:
        (tmp_path / "other").write_bytes(b"another")
        (tmp_path / "other").rename(tmp_path / "file")
    else:
        (tmp_path / "file").unlink()
    assert b"".join(file.parts()) == CONTENT
    file.close()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with nothing_left_open(), pytest.raises(HostError) as caught:
        FileBytes(os.open(tmp_path, os.O_RDONLY), "directory")
    assert caught.value.code == "file-unreadable"


def test_a_large_file_is_sent_in_little_memory(tmp_path: Path) -> None:
    size = 256 << 20
    with (tmp_path / "file").open("wb") as file:
        file.truncate(size)
    ours, theirs = socket.socketpair()
    with nothing_left_open(), ours, theirs:
        data = FileBytes(os.open(tmp_path / "file", os.O_RDONLY), "file")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outbox = Outbox(ours)
        outbox.start()
        outbox.put(encode_fields(Frame.CACHED, 1, size=0), blobs=[data])
        decoder, received = Decoder(), 0
        while received < size:
            received += sum(len(frame.payload) for frame in decoder.feed(theirs.recv(1 << 20), []) if frame.id == 0)
        ours.shutdown(socket.SHUT_RDWR)
        outbox.close()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_a_file_that_is_cut_short_while_it_is_sent_ends_the_link_and_says_why(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with nothing_left_open(), ours, theirs:
        data = opened(tmp_path / "file")
        os.truncate(tmp_path / "file", PART_BYTES)
        outbox = Outbox(ours)
        outbox.start()
        outbox.put(encode_fields(Frame.CACHED, 1, size=len(data)), blobs=[data])
        while theirs.recv(1 << 20):
            pass
        outbox.close()
        assert outbox.failure is not None
        assert outbox.failure.code == "file-changed"


def test_what_is_not_sent_any_more_is_closed(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with nothing_left_open(), ours, theirs:
        outbox = Outbox(ours)
        outbox.start()
        ours.shutdown(socket.SHUT_RDWR)
        outbox.put(encode_fields(Frame.CACHED, 1, size=0), blobs=[opened(tmp_path / "one")])
        outbox.close()
        outbox.put(encode_fields(Frame.CACHED, 1, size=0), blobs=[opened(tmp_path / "two")])


def test_what_was_sent_from_memory_is_not_kept_there() -> None:
    class Layer(bytearray):
        """One that can be watched."""

    ours, theirs = socket.socketpair()
    with nothing_left_open(), ours, theirs:
        outbox = Outbox(ours)
        outbox.start()
        layer = Layer(100)
        gone = threading.Event()
        weakref.finalize(layer, gone.set)
        outbox.put(encode_fields(Frame.CACHED, 1, size=100), blobs=[layer])
        del layer
        assert gone.wait(60)
        ours.shutdown(socket.SHUT_RDWR)
        outbox.close()
