"""The other end of a workload's sockets: certificates, and clients and servers in plain Python."""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from enarx.keep.tls import report_cut_off
from tests.descriptors import becomes_ready
from tests.workloads import ADDRESS, SECONDS

CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, both PEM."""

    pem: bytes
    key_pem: bytes
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def files(self, directory: Path, name: str) -> tuple[Path, Path]:
        certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
        certificate.write_bytes(self.pem)
        key.write_bytes(self.key_pem)
        return certificate, key


def make_certificate(common_name: str, names: Sequence[str] = (), issuer: Certificate | None = None) -> Certificate:
    """A CA of its own without ``issuer``; else a certificate under it for DNS names and IP addresses."""
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificate(certificate.public_bytes(serialization.Encoding.PEM), key_pem, certificate, key)


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


# --- clients


def client_context() -> ssl.SSLContext:
    """Any certificate will do: what the Keep proves is not the matter of these tests. A cut-off is an error."""
    context = report_cut_off(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.contextmanager
def client(port: int, *, tls: bool, context: ssl.SSLContext | None = None) -> Iterator[socket.socket]:
    """A connection to a workload, closed politely at the end."""
    with socket.create_connection((ADDRESS, port), SECONDS) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not tls:
            yield plain
            return
        wrapped = (context or client_context()).wrap_socket(
            plain, server_hostname="localhost", suppress_ragged_eofs=False
        )
        with wrapped:
            yield wrapped
            with contextlib.suppress(OSError, ValueError):  # the workload, or the test, may have closed first
                wrapped.unwrap()


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes."""
    data = bytearray()
    while len(data) < size:
        part = sock.recv(min(CHUNK, size - len(data)))
        assert part, f"the peer closed after {len(data)} of {size} bytes"
        data += part
    return bytes(data)


def receive_to_the_end(sock: socket.socket) -> bytes:
    """Everything until the peer closes; over TLS with close_notify, or ssl.SSLError is raised."""
    return b"".join(iter(lambda: sock.recv(CHUNK), b""))


def echoed(sock: socket.socket, data: bytes) -> bytes:
    """Send ``data`` while receiving as much, in one thread: an ``SSLSocket`` is not for two."""
    waits = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
    view, result = memoryview(data), bytearray()
    sock.setblocking(False)
    try:
        while len(result) < len(data):
            idle = True
            with contextlib.suppress(*waits):
                if view:
                    view = view[sock.send(view[:CHUNK]) :]
                    idle = False
            with contextlib.suppress(*waits):
                part = sock.recv(min(CHUNK, len(data) - len(result)))
                assert part, f"the peer closed after {len(result)} of {len(data)} bytes"
                result += part
                idle = False
            if idle:
                ready = becomes_ready(sock.fileno(), select.POLLIN | (select.POLLOUT if view else 0), SECONDS)
                assert ready, f"nothing more after {len(result)} of {len(data)} bytes"
    finally:
        sock.settimeout(SECONDS)
    return bytes(result)


class HalfClosing:
    """A TLS client that says that it has finished and goes on reading, which ``SSLSocket`` cannot."""

    def __init__(self, plain: socket.socket) -> None:
        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = client_context().wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._until_done(self._tls.do_handshake)

    def _flush(self) -> None:
        self._plain.sendall(self._outgoing.read())

    def _until_done(self, step: Callable[[], object]) -> object:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._plain.recv(CHUNK)
                self._incoming.write(data) if data else self._incoming.write_eof()
            else:
                self._flush()
                return result

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), CHUNK):
            self._tls.write(data[start : start + CHUNK])
            self._flush()

    def finish(self) -> None:
        """Send close_notify and nothing else."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()

    def receive_to_the_end(self) -> bytes:
        data = bytearray()
        while True:
            try:
                part = self._until_done(lambda: self._tls.read(CHUNK))
            except ssl.SSLZeroReturnError:
                return bytes(data)
            assert isinstance(part, bytes)
            if not part:
                return bytes(data)
            data += part


# --- servers


@contextlib.contextmanager
def server(
    handler: Callable[[socket.socket], None], context: ssl.SSLContext | None = None, connections: int = 1
) -> Iterator[int]:
    """Serve so many connections, each in a thread, and check at the end that the handler met no error."""
    failures: list[BaseException] = []
    with socket.create_server((ADDRESS, 0)) as listener, contextlib.ExitStack() as accepted:
        listener.settimeout(SECONDS)

        def serve() -> None:
            try:
                plain, _ = listener.accept()
                accepted.enter_context(plain)
                plain.settimeout(SECONDS)
                if context is None:
                    handler(plain)
                else:
                    with context.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False) as tls:
                        handler(tls)
                plain.close()
            except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - raised again on the test's thread
                failures.append(error)

        threads = [threading.Thread(target=serve, daemon=True) for _ in range(connections)]
        for thread in threads:
            thread.start()
        yield listener.getsockname()[1]
        for thread in threads:
            thread.join(SECONDS)
            assert not thread.is_alive(), "the peer still waits"
        if failures:
            raise failures[0]


def server_context(directory: Path, certificate: Certificate) -> ssl.SSLContext:
    context = report_cut_off(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.load_cert_chain(*certificate.files(directory, "peer"))
    return context


def fnv(data: bytes) -> str:
    """64-bit FNV-1a, as the guests print it: for a few bytes, since it is slow here."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def pattern(size: int) -> bytes:
    """What the guests send: byte i is ``(i * 2654435761 >> 24) & 255`` in 32 bits."""
    return bytes((i * 2654435761 & 0xFFFFFFFF) >> 24 for i in range(size))
