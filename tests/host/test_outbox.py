"""What waits for a Keep: sent in order, bounded, and never a reason for the host to wait."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterator

import pytest

from enarx.errors import LinkError
from enarx.host.outbox import MAX_WAITING, Outbox
from enarx.wire import MAX_PAYLOAD, Decoder, Frame, Type, encode, encode_fields
from tests.descriptors import nothing_left_open


@pytest.fixture
def link() -> Iterator[tuple[socket.socket, socket.socket]]:
    with nothing_left_open():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            yield ours, theirs


def close(outbox: Outbox, sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_RDWR)
    outbox.close()


def receive(sock: socket.socket, count: int) -> list[Frame]:
    decoder, frames = Decoder(), list[Frame]()
    while len(frames) < count:
        data, ancillary, _, _ = sock.recvmsg(1 << 21, 1024)
        fds = array.array("i")
        for _, _, payload in ancillary:
            fds.frombytes(payload)
        frames += decoder.feed(data, list(fds))
    return frames


def test_frames_descriptors_and_blobs_arrive_in_order(link: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(link[0])
    outbox.start()
    long = os.urandom(MAX_PAYLOAD + 5)
    outbox.put(encode_fields(Type.CACHED, 1, size=len(long)), blobs=[long, b"", b"end"])
    outbox.put(encode_fields(Type.OPENED, 2, fd=True, name=""), os.open(os.devnull, os.O_RDONLY))
    cached, first, second, third, opened = receive(link[1], 5)
    assert cached.fields() == {"size": len(long)}
    assert (first.payload + second.payload, third.payload) == (long, b"end")
    assert os.readlink(f"/proc/self/fd/{opened.fd}") == os.devnull
    opened.close()
    close(outbox, link[0])


def test_a_keep_that_does_not_read_makes_nobody_wait_and_is_given_up(link: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(link[0])
    outbox.start()
    frame = encode(Type.BLOB, 0, bytes(MAX_PAYLOAD))
    with pytest.raises(LinkError) as caught:
        for _ in range(2 * MAX_WAITING // len(frame) + 2):
            outbox.put(frame, os.open(os.devnull, os.O_RDONLY))
    assert caught.value.code == "link-flood"
    close(outbox, link[0])


def test_few_entries_of_the_cache_may_wait(link: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(link[0])
    outbox.start()
    entry = bytes(1 << 20)
    with pytest.raises(LinkError):
        for _ in range(5):
            outbox.put(encode_fields(Type.CACHED, 1, size=len(entry)), blobs=[entry])
    close(outbox, link[0])


def test_what_is_read_makes_room(link: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(link[0])
    outbox.start()
    frame = encode(Type.BLOB, 0, bytes(MAX_PAYLOAD))
    for _ in range(3 * MAX_WAITING // len(frame)):
        outbox.put(frame)
        receive(link[1], 1)
    close(outbox, link[0])


def test_when_the_keep_is_gone_frames_and_descriptors_are_dropped(link: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(link[0])
    outbox.start()
    link[1].close()
    for _ in range(10):
        outbox.put(encode(Type.INCOMING, fd=True), os.open(os.devnull, os.O_RDONLY))
    close(outbox, link[0])
    outbox.put(encode(Type.INCOMING, fd=True), os.open(os.devnull, os.O_RDONLY))  # after the end, too


def test_one_that_was_never_started_can_be_closed(link: tuple[socket.socket, socket.socket]) -> None:
    close(Outbox(link[0]), link[0])
