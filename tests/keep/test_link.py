"""The Keep's end of the link against a host that answers wrongly, late, twice, or with something else entirely."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import LinkError, StreamError
from enarx.keep.link import Link
from enarx.wire import HEADER, MAX_PAYLOAD, VERSION, Decoder, Frame, Type, encode, encode_fields


class Host:
    """The other end. What it sends beforehand waits in the socket until the Keep reads."""

    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair()
        self.theirs = theirs
        self.stops = 0
        self.link = Link(theirs, self._stopped)

    def _stopped(self) -> None:
        self.stops += 1

    def send(self, data: bytes, *objects: int) -> None:
        socket.send_fds(self.sock, [data], list(objects))

    def opened(self, ident: int, fd: int = -1) -> None:
        self.send(encode_fields(Type.OPENED, ident, fd=fd >= 0, name=""), *([fd] if fd >= 0 else []))

    def received(self) -> list[Frame]:
        return Decoder().feed(self.sock.recv(1 << 21), [])

    def close(self) -> None:
        self.sock.close()
        self.theirs.close()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


def test_a_standard_stream_is_asked_for_and_received(host: Host) -> None:
    host.opened(1, 0)
    fd, kind = host.link.stdio("stdin")
    assert kind == ""
    assert os.path.samestat(os.fstat(fd), os.fstat(0))
    assert not os.get_inheritable(fd)
    os.close(fd)
    (frame,) = host.received()
    assert (frame.type, frame.id, frame.fields()) == (Type.STDIO, 1, {"name": "stdin"})


def test_requests_have_numbers_of_their_own(host: Host) -> None:
    for ident in (1, 2, 3):
        host.opened(ident, 0)
        os.close(host.link.stdio("stdin")[0])
    assert [frame.id for frame in host.received()] == [1, 2, 3]


def test_a_connection_is_a_stream_socket(host: Host) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        host.opened(1, theirs.fileno())
        with host.link.connect("example.com", 443) as sock:
            ours.sendall(b"x")
            assert sock.recv(1) == b"x"
    (frame,) = host.received()
    assert frame.fields() == {"host": "example.com", "port": 443}


def test_a_failure_is_the_hosts_own_words(host: Host) -> None:
    host.send(encode_fields(Type.FAILED, 1, code="connect-failed", message="no", hint="try"))
    with pytest.raises(StreamError) as caught:
        host.link.connect("example.com", 443)
    assert (caught.value.code, caught.value.message, caught.value.hint) == ("connect-failed", "no", "try")


def test_connections_reach_their_listener_while_something_else_is_waited_for(host: Host) -> None:
    came: list[socket.socket] = []
    host.send(encode_fields(Type.OPENED, 1, name="80"))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for ident in (1, 99):  # 99: a listener that there is not
            host.send(encode_fields(Type.INCOMING, ident, fd=True, peer=""), theirs.fileno())
        host.send(encode_fields(Type.INCOMING, 1, peer=""))  # without its connection
        host.opened(2, 0)
        assert host.link.listen("::", 80, came.append) == 1
        os.close(host.link.stdio("stdin")[0])
        assert len(came) == 1
        came[0].close()


def test_a_listener_that_was_closed_gets_no_more(host: Host) -> None:
    came: list[socket.socket] = []
    host.send(encode_fields(Type.OPENED, 1, name="80"))
    number = host.link.listen("::", 80, came.append)
    host.link.credit(number, 5)
    host.link.close(number)
    host.link.close(number)
    host.send(encode_fields(Type.INCOMING, 1, fd=True, peer=""), 0)
    host.link.dispatch()
    assert came == []
    assert [frame.type for frame in host.received()] == [Type.LISTEN, Type.ACCEPT, Type.CLOSE, Type.CLOSE]


def test_the_order_to_stop_is_heard_at_any_time(host: Host) -> None:
    stop = encode_fields(Type.STOP, reason="SIGTERM")
    host.send(stop)
    host.opened(1, 0)
    os.close(host.link.stdio("stdin")[0])
    host.send(stop + stop)
    host.link.dispatch()
    assert host.stops == 3


@pytest.mark.parametrize(
    "answer",
    [
        encode_fields(Type.OPENED, 1, name=""),  # without a descriptor
        encode_fields(Type.CACHED, 1, size=0),
        encode(Type.OPENED, 1, b"{}"),
        encode(Type.FAILED, 1, b"[]"),
        encode_fields(Type.LAUNCH, 1, args=[], env=[], objects=[], cache_key="", sandbox="try", engine="fast"),
        encode_fields(Type.OPENED, 2, name=""),  # to a question that nobody asked
        encode_fields(Type.STDIO, 1, name="stdin"),
        encode(Type.BLOB, 0, b"x"),
        encode_fields(Type.INCOMING, 1, peer="") + encode(Type.INCOMING, 1, b"{"),
        encode(Type.STOP, 0, b"{"),
        encode(Type.OPENED, 1, fd=True),
        b"\0" * 12,
    ],
)
def test_a_wrong_answer_ends_the_link(answer: bytes, host: Host) -> None:
    host.send(answer)
    with pytest.raises(LinkError):
        host.link.stdio("stdin")


def test_only_a_listener_that_was_opened_is_one(host: Host) -> None:
    host.send(encode_fields(Type.CACHED, 1, size=0))
    with pytest.raises(LinkError):
        host.link.listen("::", 80, lambda sock: None)


@pytest.mark.parametrize("kind", ["file", "datagram"])
def test_a_stream_that_is_no_stream_ends_the_link(kind: str, host: Host) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram, open(os.devnull, "rb") as file:
        host.opened(1, file.fileno() if kind == "file" else datagram.fileno())
        with pytest.raises(LinkError):
            host.link.connect("example.com", 1)
        host.send(encode_fields(Type.OPENED, 2, name="1"))
        host.link.listen("::", 1, lambda sock: sock.close())
        host.send(
            encode_fields(Type.INCOMING, 2, fd=True, peer=""), file.fileno() if kind == "file" else datagram.fileno()
        )
        with pytest.raises(LinkError):
            host.link.dispatch()


def test_blobs_make_up_what_was_announced(host: Host) -> None:
    host.send(encode(Type.BLOB, 0, b"who") + encode_fields(Type.STOP, reason="") + encode(Type.BLOB, 0, b"le"))
    assert host.link.receive_blob(5) == b"whole"
    assert host.link.receive_blob(0) == b""
    assert host.stops == 1


@pytest.mark.parametrize("blob", [b"", b"four"])
def test_a_blob_that_is_empty_or_too_long_ends_the_link(blob: bytes, host: Host) -> None:
    host.send(encode(Type.BLOB, 0, blob))
    with pytest.raises(LinkError):
        host.link.receive_blob(3)


def test_a_blob_with_a_descriptor_ends_the_link(host: Host) -> None:
    host.send(encode(Type.BLOB, 0, b"x", fd=True), 0)
    with pytest.raises(LinkError):
        host.link.receive_blob(1)


def test_what_is_long_is_sent_in_parts(host: Host) -> None:
    data = os.urandom(MAX_PAYLOAD + 7)
    thread = threading.Thread(target=host.link.send_blob, args=(data,))
    thread.start()
    decoder, frames = Decoder(), list[Frame]()
    while sum(len(frame.payload) for frame in frames) < len(data):
        frames += decoder.feed(host.sock.recv(1 << 20), [])
    thread.join()
    assert [len(frame.payload) for frame in frames] == [MAX_PAYLOAD, 7]
    assert b"".join(frame.payload for frame in frames) == data


def test_a_host_that_is_gone_is_noticed_in_both_directions(host: Host) -> None:
    host.sock.close()
    for action in (host.link.receive, host.link.dispatch, lambda: host.link.credit(1, 1)):
        with pytest.raises(LinkError) as caught:
            action()
        assert caught.value.code == "link-closed"


def test_a_link_that_fails_is_an_error(host: Host) -> None:
    host.theirs.close()
    with pytest.raises(LinkError):
        host.link.receive()


def test_more_descriptors_at_once_than_are_read_end_the_link(host: Host) -> None:
    host.send(b"x", *[0] * 40)
    with pytest.raises(LinkError):
        host.link.receive()


PIECES = st.lists(
    st.binary(max_size=30)
    | st.sampled_from([
        encode_fields(Type.OPENED, 1, name=""), encode_fields(Type.OPENED, 1, fd=True, name=""),
        encode_fields(Type.FAILED, 1, code="", message="", hint=""), encode_fields(Type.CACHED, 1, size=5),
        encode_fields(Type.INCOMING, 1, peer=""), encode_fields(Type.STOP, reason=""), encode(Type.BLOB, 0, b"12345"),
        HEADER.pack(VERSION, Type.BLOB, 0, 0, 0, MAX_PAYLOAD + 1),
    ]),
    max_size=6,
)  # fmt: skip


@given(
    pieces=PIECES, fds=st.integers(0, 4), question=st.sampled_from(["stdio", "connect", "listen", "blob", "dispatch"])
)
def test_whatever_a_host_sends_is_an_answer_or_an_error(pieces: list[bytes], fds: int, question: str) -> None:
    host = Host()
    try:
        host.send(b"".join(pieces) or b"\1", *[0] * fds)
        host.sock.shutdown(socket.SHUT_WR)
        {
            "stdio": lambda: os.close(host.link.stdio("stdin")[0]),
            "connect": lambda: host.link.connect("h", 1).close(),
            "listen": lambda: host.link.listen("::", 1, lambda sock: sock.close()),
            "blob": lambda: host.link.receive_blob(5),
            "dispatch": host.link.dispatch,
        }[question]()
    except (LinkError, StreamError):
        pass
    finally:
        while host.link._frames:
            host.link._frames.popleft().close()
        host.link._decoder.close()
        host.close()


def test_a_connection_that_nobody_waits_for_comes_with_the_other_frames(host: Host) -> None:
    came: list[socket.socket | StreamError] = []
    host.link.connect_later("example.com", 443, came.append)
    host.link.connect_later("example.org", 80, came.append)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        host.send(encode_fields(Type.FAILED, 2, code="connect-failed", message="no", hint="try"))
        host.opened(1, theirs.fileno())
        while len(came) < 2:
            host.link.dispatch()
        failure, stream = came
        assert isinstance(failure, StreamError)
        assert (failure.code, failure.message, failure.hint) == ("connect-failed", "no", "try")
        assert isinstance(stream, socket.socket)
        with stream:
            ours.sendall(b"x")
            assert stream.recv(1) == b"x"
    assert [frame.fields() for frame in host.received()] == [
        {"host": "example.com", "port": 443},
        {"host": "example.org", "port": 80},
    ]
    host.send(encode_fields(Type.FAILED, 1, code="", message="", hint=""))
    with pytest.raises(LinkError):  # an answer that was given already
        host.link.dispatch()
