"""A link over bytes whose other end breaks the protocol: it ends with LinkError, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import LinkError
from enarx.mux import pump, table
from enarx.mux.control import WINDOW_BYTES as FRAMES_BYTES
from enarx.mux.port import Port
from enarx.mux.pump import Mux
from enarx.mux.stream import MAX_WINDOW_BYTES, WINDOW_BYTES
from enarx.mux.transit import HELLO, MAGIC, SESSION_BYTES
from enarx.wire import BYTE_LINK, FLAG_FD, HEADER, MAX_PAYLOAD, VERSION, Decoder, Type, encode, encode_fields
from tests.descriptors import nothing_left_open
from tests.mux.ends import adopt, receive


def frame(kind: int, ident: int = 1, payload: bytes = b"", flags: int = 0) -> bytes:
    return HEADER.pack(VERSION, kind, flags, 0, ident, len(payload)) + payload


def credit(number: int, count: int) -> bytes:
    return frame(Type.CREDIT, number, struct.pack(">I", count))


def incoming(number: int, listener: int = 1) -> bytes:
    return frame(Type.INCOMING, listener, struct.pack(">I", number) + b'{"peer":""}', FLAG_FD)


class Enemy:
    """Writes whatever it wants to the port of one ``end``, in good form up to HELLO."""

    def __init__(self, side: str) -> None:
        ours, self.sock = socket.socketpair()
        self.link, far = socket.socketpair()
        self.decoder = Decoder()
        self.end = Mux(Port(ours.detach()), far, adopt=adopt if side == "host" else None)
        self.clients: list[socket.socket] = []
        session = bytes(SESSION_BYTES)
        if side == "keep":
            self.end.turn(wait=False)
            _, session, _ = HELLO.unpack(self.sock.recv(HELLO.size))
        self.sock.sendall(HELLO.pack(MAGIC, session, 0))
        self.turn()

    def turn(self) -> None:
        for _ in range(8):
            self.end.turn(wait=False)

    def send(self, data: bytes) -> None:
        """Send, while the end reads."""
        view = memoryview(data)
        while view:
            with contextlib.suppress(BlockingIOError):
                view = view[self.sock.send(view, socket.MSG_DONTWAIT) :]
            self.turn()
        self.turn()

    def open_at_host(self) -> socket.socket:
        """A stream of the host's: the client."""
        near, far = socket.socketpair()
        with far:
            socket.send_fds(self.link, [encode_fields(Type.INCOMING, 1, fd=True, peer="")], [far.fileno()])
        self.turn()
        self.clients.append(near)
        return near

    def close(self) -> None:
        for client in self.clients:
            client.close()
        if self.link.fileno() >= 0:
            for got in receive(self.link, self.decoder):
                got.close()
        self.end.close()
        self.link.close()
        self.sock.close()


@pytest.fixture(params=["host", "keep"])
def enemy(request: pytest.FixtureRequest) -> Iterator[Enemy]:
    with nothing_left_open():
        enemy = Enemy(request.param)
        yield enemy
        enemy.close()


@pytest.fixture
def host() -> Iterator[Enemy]:
    """The host's end, with stream 1, before a hostile Keep."""
    with nothing_left_open():
        enemy = Enemy("host")
        enemy.open_at_host()
        yield enemy
        enemy.close()


@pytest.fixture
def keep() -> Iterator[Enemy]:
    """The Keep's end, with stream 1, before a hostile host."""
    with nothing_left_open():
        enemy = Enemy("keep")
        enemy.send(incoming(1))
        yield enemy
        enemy.close()


@pytest.mark.parametrize(
    "data",
    [
        bytes(HEADER.size),
        frame(Type.DATA, 99, b"x"),
        frame(Type.DATA, 0, b"x"),
        frame(Type.FINISH, 99),
        frame(Type.CLOSED, 99),
        credit(99, 1),
        frame(Type.FINISH, 0),
        frame(Type.CLOSED, 0),
        frame(Type.ACK, 0, struct.pack(">Q", 1 << 40)),
        credit(0, 1),
        credit(0, 0xFFFFFFFF),
        encode(Type.STDIO, 1, b"no JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_ends_the_link(data: bytes, enemy: Enemy) -> None:
    with pytest.raises(LinkError) as caught:
        enemy.send(data)
    assert caught.value.code == "link-frame"


def test_what_comes_for_a_stream_that_this_end_has_closed_is_thrown_away(keep: Enemy) -> None:
    (frame_of_stream,) = receive(keep.link, keep.decoder)
    frame_of_stream.close()
    keep.turn()
    data = frame(Type.DATA, 1, b"too late")
    keep.send(data + credit(1, 5) + data + frame(Type.FINISH) + frame(Type.CLOSED))
    assert not keep.end._table.by_number
    with pytest.raises(LinkError):
        keep.send(data)


WRONG = {
    "more than the window": frame(Type.DATA, 1, bytes(WINDOW_BYTES + 1)),
    "more than the window in parts": frame(Type.DATA, 1, bytes(WINDOW_BYTES)) + frame(Type.DATA, 1, b"x"),
    "data after the end": frame(Type.FINISH) + frame(Type.DATA, 1, b"x"),
    "two ends": frame(Type.FINISH) + frame(Type.FINISH),
    "an end after it was closed": frame(Type.CLOSED) + frame(Type.FINISH),
    "data after it was closed": frame(Type.CLOSED) + frame(Type.DATA, 1, b"x"),
    "closed twice": frame(Type.CLOSED) + frame(Type.CLOSED),
    "more credit than a window": credit(1, MAX_WINDOW_BYTES - WINDOW_BYTES + 1),
    "much more credit": credit(1, 0xFFFFFFFF),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_stream_that_breaks_its_rules_ends_the_link(what: str, host: Enemy) -> None:
    with pytest.raises(LinkError):
        host.send(WRONG[what])


@pytest.mark.parametrize("what", WRONG)
def test_a_stream_that_breaks_its_rules_ends_the_keeps_link(what: str, keep: Enemy) -> None:
    with pytest.raises(LinkError):
        keep.send(WRONG[what])


def test_a_stream_at_its_bounds_is_served(keep: Enemy) -> None:
    keep.send(frame(Type.DATA, 1, bytes(WINDOW_BYTES)) + credit(1, MAX_WINDOW_BYTES - WINDOW_BYTES))


def test_a_keep_cannot_open_a_stream(host: Enemy) -> None:
    with pytest.raises(LinkError, match="opens a stream"):
        host.send(incoming(7))


def test_a_keep_that_sends_its_link_a_descriptor_is_broken(keep: Enemy) -> None:
    socket.send_fds(keep.link, [encode_fields(Type.OPENED, 1, fd=True, name="")], [0])
    with pytest.raises(LinkError, match="descriptor"):
        keep.turn()


@pytest.mark.parametrize("number", [0, 1])
def test_a_number_that_cannot_be_is_refused(number: int, keep: Enemy) -> None:
    with pytest.raises(LinkError, match="cannot be opened"):
        keep.send(incoming(number))


def test_more_streams_than_there_may_be_are_refused(keep: Enemy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_STREAMS", 3)
    keep.send(incoming(2) + incoming(3))
    with pytest.raises(LinkError, match="cannot be opened"):
        keep.send(incoming(4))


def test_streams_that_are_over_make_room(keep: Enemy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_STREAMS", 3)
    for number in range(2, 50):
        keep.send(incoming(number) + frame(Type.CLOSED, number))
        for got in receive(keep.link, keep.decoder):
            got.close()
        keep.turn()


def test_frames_that_nobody_reads_are_bounded(keep: Enemy) -> None:
    blob = encode(Type.BLOB, 0, bytes(MAX_PAYLOAD))
    with pytest.raises(LinkError, match="room"):
        for _ in range(FRAMES_BYTES // len(blob) + 2):
            keep.send(blob)


def test_streams_that_nobody_takes_are_closed_with_the_frames_that_bring_them(keep: Enemy) -> None:
    keep.send(encode(Type.BLOB, 0, bytes(MAX_PAYLOAD)))
    with pytest.raises(LinkError):
        for number in range(2, 1 << 16):
            keep.send(incoming(number))


def test_requests_for_standard_streams_are_remembered_up_to_a_bound(host: Enemy) -> None:
    for number in range(2 * pump.MAX_ASKED):
        host.send(encode_fields(Type.STDIO, number, name="stdin"))
        receive(host.link, host.decoder)
    assert len(host.end._asked) == pump.MAX_ASKED


def test_descriptors_that_are_used_up_end_the_link(keep: Enemy, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socketpair", fail)
    with pytest.raises(LinkError) as caught:
        keep.send(incoming(2))
    monkeypatch.undo()
    assert caught.value.code == "link-streams"


def test_an_end_that_is_closed_ends_the_link(enemy: Enemy) -> None:
    enemy.sock.close()
    with pytest.raises(LinkError) as caught:
        enemy.turn()
    assert caught.value.code == "link-closed"


def test_a_link_that_is_closed_ends_everything(enemy: Enemy) -> None:
    enemy.link.close()
    enemy.turn()
    assert enemy.end.over


def test_what_is_no_frame_on_the_link_itself_ends_it(enemy: Enemy) -> None:
    enemy.link.sendall(b"\xff" * HEADER.size)
    with pytest.raises(LinkError):
        enemy.turn()


def test_more_descriptors_at_once_than_are_read_end_the_link(host: Enemy) -> None:
    socket.send_fds(host.link, [b"x"], [0] * 40)
    with pytest.raises(LinkError):
        host.turn()


PIECES = st.lists(
    st.binary(max_size=30)
    | st.builds(
        frame,
        st.sampled_from([*sorted(BYTE_LINK), Type.INCOMING, Type.OPENED, Type.EXIT, Type.STOP, Type.STDIO, 0]),
        st.sampled_from([0, 1, 2, 3, 0xFFFFFFFF]),
        st.sampled_from([
            b"", b"x", bytes(4), b"\0\0\0\1", b"\0\0\0\2", b"\0\1\0\0", b"\xff" * 4, bytes(8), b"\0\0\0\2{}",
            bytes(3000), bytes(WINDOW_BYTES),
        ]),
        st.sampled_from([0, 0, 0, FLAG_FD]),
    )
    | st.builds(incoming, st.integers(0, 4)),
    max_size=12,
)  # fmt: skip


@given(pieces=PIECES, side=st.sampled_from(["host", "keep"]), writes=st.lists(st.binary(max_size=99), max_size=3))
def test_whatever_the_other_end_sends_this_one_serves_or_ends(
    pieces: list[bytes], side: str, writes: list[bytes]
) -> None:
    with nothing_left_open():
        enemy = Enemy(side)
        try:
            if side == "host":
                for data in writes:
                    enemy.open_at_host().sendall(data)
            for piece in pieces:
                enemy.send(piece)
                streams = enemy.end._table.by_socket.values()
                assert all(len(stream.pending) <= stream.window for stream in streams)
        except LinkError as error:
            assert error.code in ("link-frame", "link-closed")
        finally:
            enemy.close()


@given(data=st.binary(max_size=2000))
def test_noise_after_hello_is_no_more_than_noise(data: bytes) -> None:
    with nothing_left_open():
        enemy = Enemy("keep")
        try:
            enemy.send(data)
        except LinkError as error:
            assert error.code == "link-frame"
        finally:
            enemy.close()
