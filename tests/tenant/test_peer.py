"""The chain that a peer shows, and URLs of Keeps."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest

from enarx.errors import StreamError, UsageError
from enarx.tenant.peer import place, shown_chain
from tests.keep.tenants import Authority, host_name, server_key, tls_server


def silent(tls: ssl.SSLSocket) -> None:
    """Whatever comes; until the client hangs up."""
    assert tls.recv(1) == b""


def test_the_chain_comes_as_it_was_shown_and_nothing_is_sent() -> None:
    ca, key = Authority(), server_key()
    chain = [ca.sign(key.public_key(), [host_name("127.0.0.1")]), ca.der]
    with tls_server(silent, chain, key) as port:
        assert list(shown_chain("127.0.0.1", port)) == chain


def test_older_tls_is_refused() -> None:
    ca, key = Authority(), server_key()
    chain = [ca.sign(key.public_key(), [host_name("127.0.0.1")])]
    with tls_server(silent, chain, key, versions=ssl.TLSVersion.TLSv1_2) as port, pytest.raises(StreamError) as caught:
        shown_chain("127.0.0.1", port)
    assert caught.value.code == "keep-unreachable"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"\x16\x03\x01\xff\xff"])
def test_a_peer_that_speaks_no_tls_is_named(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            stream, _ = listener.accept()
            with stream:
                stream.sendall(said)
                stream.recv(4096)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(StreamError, match=r"no TLS 1\.3 with 127\.0\.0\.1"):
            shown_chain("127.0.0.1", listener.getsockname()[1])
        thread.join(60)


def test_a_peer_that_never_answers_ends_by_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(StreamError, match="timed out"):
        shown_chain("127.0.0.1", listener.getsockname()[1], seconds=0.1)


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(StreamError):
        shown_chain("127.0.0.1", 1)
    with pytest.raises(StreamError):
        shown_chain("no-such-host.invalid", 443)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://localhost:8443", ("localhost", 8443)),
        ("https://Keep.Example.com./", ("keep.example.com", 443)),
        ("https://[2001:db8::1]:1", ("2001:db8::1", 1)),
        ("https://127.0.0.1", ("127.0.0.1", 443)),
    ],
)
def test_a_url_is_taken_apart(url: str, expected: tuple[str, int]) -> None:
    assert place(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8443",
        "http://localhost",
        "https://",
        "https://:1",
        "https://a b",
        "https://localhost:0",
        "https://localhost:65536",
        "https://localhost:x",
        "https://user@localhost",
        "https://localhost/path",
        "https://localhost?q",
        "https://localhost#f",
        "https://[::1",
        "https://" + "a" * 254,
        "https://bücher.example",
    ],
)
def test_a_url_that_names_no_keep_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError):
        place(url)
