"""Bytes over a port that loses its connection: they arrive once, in order, or not at all."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import LinkError
from enarx.mux.incoming import Incoming
from enarx.mux.transit import (
    ACK_BYTES,
    HELLO,
    MAGIC,
    READ_BYTES,
    RESERVE_BYTES,
    RING_BYTES,
    SESSION_BYTES,
    SKIP_BYTES,
    Transit,
)
from enarx.wire import HEADER, MAX_PAYLOAD, Type


class Port:
    """A port between two transits. What is on its way when the connection is cut is lost, as in a hypervisor."""

    def __init__(self) -> None:
        self.keep = Transit(leads=True)
        self.host = Transit(leads=False)
        self.socks: list[socket.socket] = []
        self.taken: dict[Transit, bytearray] = {self.keep: bytearray(), self.host: bytearray()}
        self._incoming = {self.keep: Incoming(), self.host: Incoming()}
        self.connect()

    def connect(self) -> None:
        ours, theirs = socket.socketpair()
        self.socks = [ours, theirs]
        for sock in self.socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self.host.attach(ours.fileno())
        self.keep.attach(theirs.fileno())

    def cut(self) -> None:
        for sock in self.socks:
            sock.close()
        for end in (self.host, self.keep):
            end.detach()

    def close(self) -> None:
        self.cut()

    def turn(self, end: Transit) -> None:
        """Receive and send what can be; the payload of BLOBs is taken."""
        end.readable, end.blocked = True, False
        for kind, _, _, payload in self._incoming[end].feed(end.receive()):
            if kind is Type.ACK:
                end.acknowledged(payload)
            else:
                self.taken[end] += payload
        end.acknowledge(now=True)
        end.flush()

    def settle(self) -> None:
        places = self.keep.place(), self.host.place()
        for _ in range(5000):
            self.turn(self.keep)
            self.turn(self.host)
            if self.keep.delivered(places[0]) and self.host.delivered(places[1]) and self.keep.established:
                return
        raise AssertionError("the ends do not come to rest")


@pytest.fixture
def port() -> Iterator[Port]:
    port = Port()
    yield port
    port.close()


def test_the_longest_frame_fits_into_the_ring_with_what_others_may_owe() -> None:
    assert HEADER.size + MAX_PAYLOAD + 4 + READ_BYTES < RING_BYTES - RESERVE_BYTES
    assert 4 * (HEADER.size + 8) <= RESERVE_BYTES
    assert ACK_BYTES <= RING_BYTES // 4
    assert len(MAGIC) == 16


def test_frames_arrive_both_ways(port: Port) -> None:
    port.keep.put(Type.BLOB, 1, b"to the host")
    port.host.put(Type.BLOB, 1, b"to the Keep")
    port.settle()
    assert port.taken[port.host] == b"to the host"
    assert port.taken[port.keep] == b"to the Keep"


def test_the_host_says_nothing_before_the_keep_does() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        host = Transit(leads=False)
        host.attach(ours.fileno())
        host.put(Type.BLOB, 1, b"early")
        host.flush()
        with pytest.raises(BlockingIOError):
            theirs.recv(1, socket.MSG_DONTWAIT)
        theirs.sendall(b"of an earlier connection" + HELLO.pack(MAGIC, bytes(SESSION_BYTES), 0))
        assert not host.receive()
        host.flush()
        assert theirs.recv(HELLO.size) == HELLO.pack(MAGIC, bytes(SESSION_BYTES), 0)
        assert theirs.recv(100)[HEADER.size :] == b"early"


@pytest.mark.parametrize("seed", range(4))
def test_bytes_survive_lost_connections(seed: int, port: Port) -> None:
    """Cut again and again with bytes on their way, to and fro, for more than the ring holds."""
    dice = random.Random(seed)
    sent = {port.keep: bytearray(), port.host: bytearray()}
    while sum(map(len, sent.values())) < 3 * RING_BYTES:
        for end in (port.keep, port.host):
            size = dice.choice([1, 100, 5000, 70_000])
            if end.room() >= size + HEADER.size:
                data = dice.randbytes(size)
                end.put(Type.BLOB, 0, data)
                sent[end] += data
            for _ in range(dice.randrange(4)):
                port.turn(dice.choice([port.keep, port.host]))
        if dice.random() < 0.1:
            port.cut()
            port.connect()
    port.settle()
    assert port.taken[port.host] == sent[port.keep]
    assert port.taken[port.keep] == sent[port.host]


@given(st.data())
def test_bytes_survive_a_cut_anywhere(data: st.DataObject) -> None:
    port = Port()
    try:
        sent = {port.keep: bytearray(), port.host: bytearray()}
        for step in data.draw(st.lists(st.sampled_from(["put", "keep", "host", "cut"]), max_size=40)):
            if step == "put":
                end = data.draw(st.sampled_from([port.keep, port.host]))
                payload = data.draw(st.binary(min_size=1, max_size=60)) * data.draw(st.sampled_from([1, 500]))
                end.put(Type.BLOB, 0, payload)
                sent[end] += payload
            elif step == "cut":
                port.cut()
                port.connect()
            else:
                port.turn(port.keep if step == "keep" else port.host)
        port.settle()
        assert (port.taken[port.host], port.taken[port.keep]) == (sent[port.keep], sent[port.host])
    finally:
        port.close()


def test_what_is_on_its_way_is_bounded_by_the_ring(port: Port) -> None:
    port.settle()
    while port.keep.room() >= HEADER.size + 50_000:
        port.keep.put(Type.BLOB, 0, bytes(50_000))
    assert 0 <= port.keep.room() < HEADER.size + 50_000
    place = port.keep.place()
    assert not port.keep.delivered(place)
    port.settle()
    assert port.keep.delivered(place)
    assert port.keep.room() > RING_BYTES - RESERVE_BYTES - ACK_BYTES


def test_ends_whose_rings_are_full_still_acknowledge(port: Port) -> None:
    port.settle()
    for end in (port.keep, port.host):
        while (room := end.room()) > HEADER.size:
            end.put(Type.BLOB, 0, bytes(min(room - HEADER.size, MAX_PAYLOAD)))
    port.settle()
    port.settle()
    assert port.keep.room() > RING_BYTES // 2 < port.host.room()


def connected(*, leads: bool) -> tuple[Transit, socket.socket]:
    ours, theirs = socket.socketpair()
    end = Transit(leads=leads)
    end.attach(ours.detach())
    return end, theirs


@pytest.mark.parametrize("leads", [True, False])
def test_an_end_that_never_says_hello_is_given_up(leads: bool) -> None:
    end, other = connected(leads=leads)
    with other:
        other.settimeout(5)
        with pytest.raises(LinkError, match="HELLO"):
            for _ in range(2 * SKIP_BYTES // 100_000):
                other.sendall(bytes(100_000))
                end.receive()
                assert len(end._greeting) <= READ_BYTES + HELLO.size
    os.close(end.fd)


def test_a_keep_that_has_begun_again_is_not_taken_for_the_one_that_was_lost(port: Port) -> None:
    port.settle()
    port.cut()
    port.keep = Transit(leads=True)
    port.taken[port.keep], port._incoming[port.keep] = bytearray(), Incoming()
    port.connect()
    for _ in range(5):
        port.turn(port.keep)
        port.turn(port.host)
    assert not port.host.established


@pytest.mark.parametrize("received", [1, 1 << 40, (1 << 64) - 1])
def test_hello_that_has_more_than_was_sent_is_refused(received: int) -> None:
    end, other = connected(leads=False)
    with other:
        other.sendall(HELLO.pack(MAGIC, bytes(SESSION_BYTES), received))
        with pytest.raises(LinkError, match="HELLO"):
            end.receive()
    os.close(end.fd)


def test_hello_that_has_less_than_was_acknowledged_is_refused(port: Port) -> None:
    port.keep.put(Type.BLOB, 0, b"x" * 1000)
    place = port.keep.place()
    port.settle()
    assert port.keep.delivered(place)
    port.cut()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        port.keep.attach(ours.fileno())
        port.keep.flush()
        _, session, _ = HELLO.unpack(theirs.recv(HELLO.size))
        theirs.sendall(HELLO.pack(MAGIC, session, 10))
        with pytest.raises(LinkError, match="HELLO"):
            port.keep.receive()
        port.keep.detach()


def test_acknowledging_what_was_not_sent_is_refused(port: Port) -> None:
    port.settle()
    port.keep.put(Type.BLOB, 0, b"unsent")
    with pytest.raises(LinkError, match="ACK"):
        port.keep.acknowledged((6).to_bytes(8, "big"))
    port.keep.acknowledged((0).to_bytes(8, "big"))


def test_an_acknowledgement_that_comes_again_takes_nothing_back(port: Port) -> None:
    port.keep.put(Type.BLOB, 0, b"x" * 100)
    port.settle()
    port.turn(port.host)
    port.turn(port.keep)
    before = port.keep.room()
    port.keep.acknowledged((1).to_bytes(8, "big"))
    assert port.keep.room() == before


@pytest.mark.parametrize("leads", [True, False])
def test_a_connection_that_ends_is_told(leads: bool) -> None:
    end, other = connected(leads=leads)
    other.close()
    assert not end.receive()
    assert end.gone
    assert not end.readable
    os.close(end.fd)
    end.detach()
    end.flush()  # to nobody


def test_writing_to_a_connection_that_has_ended_is_told() -> None:
    end, other = connected(leads=True)
    other.close()
    end.flush()
    assert end.gone
    os.close(end.fd)
