"""Sockets and standard streams that a Keep asks for."""

from __future__ import annotations

import os
import socket

import pytest

from enarx.errors import StreamError
from enarx.host import streams


@pytest.mark.parametrize("name", ["", "stdlog", "STDIN", "0"])
def test_there_are_three_standard_streams(name: str) -> None:
    with pytest.raises(StreamError):
        streams.open_stdio(name)


def test_a_standard_stream_is_a_duplicate() -> None:
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        fd = streams.open_stdio(name)
        try:
            assert os.path.samestat(os.fstat(fd), os.fstat(number))
        finally:
            os.close(fd)


def test_a_standard_stream_that_is_closed_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    monkeypatch.setattr(streams, "STDIO", {"stdin": read})
    fd = streams.open_stdio("stdin")
    try:
        assert os.read(fd, 1) == b""
    finally:
        os.close(fd)


@pytest.mark.parametrize("addr", ["127.0.0.1", "::", "localhost"])
def test_a_listener_does_not_block_and_takes_connections(addr: str) -> None:
    with streams.listen(addr, 0) as listener:
        assert not listener.getblocking()
        with streams.connect("localhost", listener.getsockname()[1]) as client:
            assert client.getblocking()
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_said_to_be() -> None:
    with streams.listen("127.0.0.1", 0) as listener, pytest.raises(StreamError) as caught:
        streams.listen("127.0.0.1", listener.getsockname()[1])
    assert caught.value.code == "listen-failed"
    assert "in use" in caught.value.hint


@pytest.mark.parametrize("addr", ["192.0.2.1", "a..b", "no such host", "\udcff"])
def test_an_address_that_is_not_ours(addr: str) -> None:
    with pytest.raises(StreamError) as caught:
        streams.listen(addr, 0)
    assert caught.value.code == "listen-failed"
    assert "`addr`" in caught.value.hint


def test_a_port_that_needs_privileges_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(StreamError) as caught:
        streams.listen("127.0.0.1", 80)
    assert "privileges" in caught.value.hint


def test_a_machine_without_ipv6_listens_on_all_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    class NoIpv6(real):  # type: ignore[misc,valid-type]
        def __init__(self, family: int = -1, *rest: int, **settings: int) -> None:
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, *rest, **settings)

    monkeypatch.setattr(socket, "socket", NoIpv6)
    with streams.listen("::", 0) as listener:
        assert listener.getsockname()[0] == "0.0.0.0"


@pytest.mark.parametrize(
    ("host", "port", "code"),
    [("127.0.0.1", 1, "connect-failed"), ("a..b", 1, "connect-unresolved"), ("host.invalid", 1, "connect-unresolved")],
)
def test_an_endpoint_that_cannot_be_reached(host: str, port: int, code: str) -> None:
    with pytest.raises(StreamError) as caught:
        streams.connect(host, port)
    assert caught.value.code == code
    assert f"{host}:{port}" in caught.value.message


def test_an_ipv6_endpoint_is_shown_in_brackets() -> None:
    with pytest.raises(StreamError) as caught:
        streams.connect("::1", 1)
    assert "[::1]:1" in caught.value.message
