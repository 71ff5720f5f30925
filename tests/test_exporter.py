"""What a TLS session exports, compared with what other implementations say of the same session."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from enarx.exporter import EXPORTER_LABEL, KeyLog, tls_exporter
from enarx.keep.identity import self_signed

SECONDS = 60
Tool = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = self_signed(datetime.now(UTC))
    path = tmp_path_factory.mktemp("identity") / "both.pem"
    path.write_bytes(made.private_key_pem + made.certificate_pem)
    return path


@pytest.fixture
def log() -> Iterator[KeyLog]:
    made = KeyLog(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    yield made
    made.close()


def server_context(identity: Path, log: KeyLog) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(identity)
    context.num_tickets = 0
    log.attach(context)
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def expand_label(name: str, secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446 7.1, RFC 5869 2.3), written once more from the text."""
    info = size.to_bytes(2, "big") + bytes([6 + len(label)]) + b"tls13 " + label + bytes([len(context)]) + context
    block, out, number = b"", b"", 1
    while len(out) < size:
        block = hmac.new(secret, block + info + bytes([number]), name).digest()
        out, number = out + block, number + 1
    return out[:size]


@given(st.sampled_from(["sha256", "sha384"]), st.data())
def test_the_exporter_is_that_of_rfc_8446(name: str, data: st.DataObject) -> None:
    size = hashlib.new(name).digest_size
    secret = data.draw(st.binary(min_size=size, max_size=size))
    label, context = data.draw(st.binary(min_size=1, max_size=200)), data.draw(st.binary(max_size=300))
    length = data.draw(st.integers(1, 255))
    derived = expand_label(name, secret, label, hashlib.new(name).digest(), size)
    expected = expand_label(name, derived, b"exporter", hashlib.new(name, context).digest(), length)
    assert tls_exporter(secret, label, context, length) == expected


@pytest.mark.parametrize("size", [0, 31, 33, 47, 64])
def test_a_secret_of_no_cipher_suite_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="exporter secret"):
        tls_exporter(bytes(size))


@pytest.mark.parametrize("suite", ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"])
def test_a_server_and_the_openssl_command_export_the_same(
    suite: str, identity: Path, log: KeyLog, require_tool: Tool
) -> None:
    context = server_context(identity, log)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        export = ["-keymatexport", EXPORTER_LABEL.decode(), "-keymatexportlen", "32", "-ciphersuites", suite]
        command = [str(require_tool("openssl", "openssl")), "s_client", "-connect", place, *export]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as client:
            with context.wrap_socket(listener.accept()[0], server_side=True) as tls:
                ours = log.exporter()
                tls.unwrap().close()
            said = client.communicate(timeout=SECONDS)[0].decode()
    found = re.search("Keying material: ([0-9A-F]{64})", said)
    assert found is not None, said
    assert ours == bytes.fromhex(found[1])


def test_a_client_and_pyopenssl_export_the_same(identity: Path, log: KeyLog) -> None:
    settings = SSL.Context(SSL.TLS_SERVER_METHOD)
    settings.use_privatekey_file(str(identity))
    settings.use_certificate_file(str(identity))
    theirs: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        connection = SSL.Connection(settings, listener.accept()[0])
        connection.set_accept_state()
        connection.do_handshake()
        theirs.append(connection.export_keying_material(EXPORTER_LABEL, 32, b""))
        connection.send(b"x")
        connection.close()

    context = client_context()
    log.attach(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        with context.wrap_socket(socket.create_connection(listener.getsockname())) as tls:
            ours = log.exporter()
            assert tls.recv(1) == b"x"
        thread.join(SECONDS)
    assert theirs == [ours]


def pair(context: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Two ends of a connection in memory, before their handshake."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    return context.wrap_bio(up, down, server_side=True), client.wrap_bio(down, up)


def step(tls: ssl.SSLObject) -> None:
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()


def test_handshakes_that_interleave_are_told_apart_by_their_steps(identity: Path, log: KeyLog) -> None:
    server = server_context(identity, log)
    theirs = KeyLog(client_context())
    client = client_context()
    theirs.attach(client)
    pairs = [pair(server, client) for _ in range(3)]
    exporters: list[bytes | None] = []
    for _, end in pairs:
        step(end)
    for end, _ in reversed(pairs):
        step(end)
        exporters.insert(0, log.exporter())
    seen: list[bytes | None] = []
    for _, end in pairs:
        end.do_handshake()
        seen.append(theirs.exporter())
    for end, _ in pairs:
        end.do_handshake()
        assert log.exporter() is None  # it was told when the server had said all
    assert exporters == seen
    assert len(set(exporters)) == 3
    theirs.close()


def test_more_than_one_handshake_at_once_exports_nothing(identity: Path, log: KeyLog) -> None:
    server = server_context(identity, log)
    for end, other in [pair(server, client_context()) for _ in range(2)]:
        step(other)
        step(end)
    assert log.exporter() is None


def test_nothing_is_told_before_a_handshake(log: KeyLog) -> None:
    assert log.exporter() is None


def test_a_peer_that_changes_its_keys_for_ever_does_not_fill_the_log(
    identity: Path, log: KeyLog, require_tool: Tool
) -> None:
    """OpenSSL logs the secrets of each KeyUpdate: some 200 of both ends fill the pipe, the next would wait for ever."""
    context = server_context(identity, log)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        command = [str(require_tool("openssl", "openssl")), "s_client", "-connect", place]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as client:
            assert client.stdin is not None
            assert client.stderr is not None
            with context.wrap_socket(listener.accept()[0], server_side=True) as tls:
                tls.settimeout(SECONDS)
                log.silence(tls)
                assert log.exporter() is not None
                for _ in range(500):
                    client.stdin.write(b"K\n")
                    client.stdin.flush()
                    while b"KEYUPDATE" not in client.stderr.readline():
                        pass
                    client.stdin.write(b".\n")
                    client.stdin.flush()
                    assert tls.recv(64) == b".\n"
            client.kill()
    assert log.exporter() is None
