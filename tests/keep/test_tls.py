"""TLS as a Keep speaks it: version 1.3 alone, Enarx's suites and groups, certificates checked."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enarx.errors import ConfigError, StreamError
from enarx.keep import tls
from enarx.keep.identity import Identity, self_signed
from tests.descriptors import open_descriptors

SECONDS = 60.0
"""What no step takes, however busy the machine is."""

OURS = self_signed(datetime.now(UTC))
THEIRS = self_signed(datetime.now(UTC))
in_a_keep = pytest.mark.usefixtures("keep_tls_env")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def in_background(action: Callable[[], object]) -> Callable[[], BaseException | None]:
    """Run in a thread; the function returned waits for it, and gives the exception that it ended with."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            action()
        except OSError as error:
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def finish() -> BaseException | None:
        thread.join(SECONDS)
        assert not thread.is_alive()
        return raised[0] if raised else None

    return finish


def serve(context: ssl.SSLContext, sock: socket.socket, answer: bytes = b"") -> Callable[[], BaseException | None]:
    """A server's side in the background: handshake, then one answer."""

    def work() -> None:
        with tls.start_server(context, sock) as server:
            server.settimeout(SECONDS)
            server.do_handshake()
            server.sendall(answer or server.version().encode() if server.version() else b"")  # type: ignore[union-attr]

    return in_background(work)


@in_a_keep
def test_both_sides_speak_version_1_3(pair: tuple[socket.socket, socket.socket]) -> None:
    finish = serve(tls.server_context(OURS), pair[0])
    client = tls.connect(tls.client_context(THEIRS, [OURS.certificate_pem]), pair[1], "localhost")
    with client:
        assert (client.version(), client.recv(100)) == ("TLSv1.3", b"TLSv1.3")
        assert client.cipher()[0] == "TLS_AES_256_GCM_SHA384"  # type: ignore[index]
    assert finish() is None


@in_a_keep
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_names_and_addresses_of_the_certificate_are_found(host: str, pair: tuple[socket.socket, socket.socket]) -> None:
    finish = serve(tls.server_context(OURS), pair[0])
    with tls.connect(tls.client_context(THEIRS, [OURS.certificate_pem]), pair[1], host) as client:
        client.recv(1)
    assert finish() is None


@in_a_keep
@pytest.mark.parametrize(("host", "trusted"), [("example.com", OURS), ("127.0.0.2", OURS), ("localhost", THEIRS)])
def test_a_certificate_of_another_is_not_trusted(
    host: str, trusted: Identity, pair: tuple[socket.socket, socket.socket]
) -> None:
    finish = serve(tls.server_context(OURS), pair[0])
    with pytest.raises(StreamError) as caught:
        tls.connect(tls.client_context(THEIRS, [trusted.certificate_pem]), pair[1], host)
    assert caught.value.code == "connect-untrusted"
    assert "`ca`" in caught.value.hint
    assert finish() is not None


@in_a_keep
def test_without_anchors_of_ones_own_a_self_made_certificate_is_not_trusted(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    finish = serve(tls.server_context(OURS), pair[0])
    with pytest.raises(StreamError) as caught:
        tls.connect(tls.client_context(THEIRS), pair[1], "localhost")
    assert caught.value.code == "connect-untrusted"
    finish()


@in_a_keep
def test_clients_must_show_a_certificate_when_the_config_says_so(pair: tuple[socket.socket, socket.socket]) -> None:
    server = tls.server_context(OURS, [THEIRS.certificate_pem])
    finish = serve(server, pair[0])
    with tls.connect(tls.client_context(THEIRS, [OURS.certificate_pem]), pair[1], "localhost") as client:
        client.recv(1)
    assert finish() is None


@in_a_keep
def test_a_client_without_the_right_certificate_is_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    finish = serve(tls.server_context(OURS, [THEIRS.certificate_pem]), pair[0])
    client = tls.connect(tls.client_context(OURS, [OURS.certificate_pem]), pair[1], "localhost")
    with client, pytest.raises(OSError):
        client.recv(1)
    assert isinstance(finish(), ssl.SSLError)


@in_a_keep
def test_older_versions_are_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    finish = serve(tls.server_context(OURS), pair[0])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        context.wrap_socket(pair[1])
    assert isinstance(finish(), ssl.SSLError)


@in_a_keep
@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x16\x03\x01\x00\x00"])
def test_a_server_that_speaks_something_else(answer: bytes, pair: tuple[socket.socket, socket.socket]) -> None:
    def server() -> None:
        pair[0].recv(1)
        pair[0].sendall(answer)
        pair[0].shutdown(socket.SHUT_WR)

    finish = in_background(server)
    with pytest.raises(StreamError) as caught:
        tls.connect(tls.client_context(THEIRS, [OURS.certificate_pem]), pair[1], "localhost")
    assert caught.value.code == "connect-tls"
    finish()


@in_a_keep
def test_a_server_that_says_nothing_is_not_waited_for(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 0.2)
    started = time.monotonic()
    with pytest.raises(StreamError) as caught:
        tls.connect(tls.client_context(THEIRS, [OURS.certificate_pem]), pair[1], "localhost")
    assert caught.value.code == "connect-tls"
    assert time.monotonic() - started < 10


@in_a_keep
@pytest.mark.parametrize("host", [".example", "x" * 64 + ".com"])
def test_a_server_name_that_is_none(host: str, pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(StreamError) as caught:
        tls.connect(tls.client_context(THEIRS, [OURS.certificate_pem]), pair[1], host)
    assert caught.value.code == "connect-tls"
    assert pair[1].fileno() == -1


@in_a_keep
@pytest.mark.parametrize(
    "pem",
    [b"", b"no certificate", b"\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)
@pytest.mark.parametrize("make", [tls.server_context, tls.client_context])
def test_an_anchor_that_is_no_certificate_is_an_error_of_the_config(
    make: Callable[[Identity, list[bytes]], ssl.SSLContext], pem: bytes
) -> None:
    with pytest.raises(ConfigError) as caught:
        make(OURS, [OURS.certificate_pem, pem])
    assert caught.value.code == "config-ca"


def test_the_first_store_that_can_be_read_is_the_images_own(tmp_path: Path) -> None:
    missing, huge, store = (str(tmp_path / name) for name in ("missing", "huge", "store"))
    Path(huge).write_bytes(bytes(tls.MAX_BUNDLE_BYTES + 1))
    Path(store).write_bytes("# Größe\n".encode() + OURS.certificate_pem)
    assert tls.image_store([missing, huge, store]) == b"# Gre\n" + OURS.certificate_pem
    assert tls.image_store([missing, huge]) == b""


@in_a_keep
def test_the_private_key_leaves_no_descriptor_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = open_descriptors()
    tls.server_context(OURS)
    assert open_descriptors() == before
    assert list(tmp_path.iterdir()) == []


@in_a_keep
def test_there_is_nothing_to_resume(pair: tuple[socket.socket, socket.socket]) -> None:
    finish = serve(tls.server_context(OURS), pair[0])
    with tls.connect(tls.client_context(THEIRS, [OURS.certificate_pem]), pair[1], "localhost") as client:
        client.recv(1)
        assert client.session is None or not client.session.has_ticket
    finish()


@pytest.mark.parametrize("make", [tls.server_context, tls.client_context])
def test_without_the_keeps_openssl_configuration_nothing_is_served(make: Callable[[Identity], ssl.SSLContext]) -> None:
    with pytest.raises(StreamError) as caught:
        make(OURS)
    assert caught.value.code == "tls-configuration"
