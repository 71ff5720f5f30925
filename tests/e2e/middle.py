"""Somebody between a client and a Keep: who only looks, who ends TLS himself, who relays what he can."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from enarx.challenge import ALPN
from enarx.evidence.binding import MANIFEST_DIGEST_OID, SNP_EVIDENCE_OID
from enarx.tenant.peer import shown_chain

WAIT = 60.0


class Listening:
    """Serves each connection in a thread of its own; all have ended when the block has."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def serve(self, client: socket.socket) -> None:
        """One connection, which is closed afterwards."""
        raise NotImplementedError

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._one, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _one(self, client: socket.socket) -> None:
        with self._lock:
            self._open.add(client)
        with contextlib.suppress(OSError), client:
            self.serve(client)
        with self._lock:
            self._open.discard(client)

    def __enter__(self) -> Self:
        self._threads.append(threading.Thread(target=self._accept, daemon=True))
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # which ends `accept`; to close it would not
        self._threads[0].join(WAIT)
        self._listener.close()
        with self._lock:
            for client in self._open:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT)


class Witness(Listening):
    """Carries bytes between clients and the Keep at ``target``, and remembers what the clients sent.

    Whoever changes ``target`` has connections go elsewhere from then on.
    """

    def __init__(self, target: int) -> None:
        super().__init__()
        self.sent = b""
        self.target = target
        self._closed = threading.Event()

    def serve(self, client: socket.socket) -> None:
        with socket.create_connection(("localhost", self.target), WAIT) as keep:
            other = {client: keep, keep: client}
            going = list(other)
            while going:
                for source in select.select(going, [], [], WAIT)[0]:
                    data = source.recv(65536)
                    if source is client:
                        self.sent += data
                    if data:
                        other[source].sendall(data)
                        continue
                    going.remove(source)
                    with contextlib.suppress(OSError):
                        other[source].shutdown(socket.SHUT_WR)
                    if source is client:
                        self._closed.set()

    def wait_until_closed(self) -> None:
        """A client has hung up, and all that it sent was seen."""
        assert self._closed.wait(WAIT)


@dataclass(frozen=True, slots=True)
class Forged:
    """A key of the man in the middle's own, and a chain for it (DER)."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[bytes, ...]


def forged_chain(target: int, *, evidence: bool = False) -> Forged:
    """A self-made certificate for localhost; with the evidence that the Keep at ``target`` shows, if wanted."""
    shown = x509.load_der_x509_certificate(shown_chain("localhost", target)[0])
    key, now = ec.generate_private_key(ec.SECP384R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Steward")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    for oid in (SNP_EVIDENCE_OID, MANIFEST_DIGEST_OID) if evidence else ():
        copied = shown.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid))
        builder = builder.add_extension(copied.value, critical=False)
    certificate = builder.sign(key, hashes.SHA384())
    return Forged(key, (certificate.public_bytes(Encoding.DER),))


Answer = Callable[[ssl.SSLSocket], None]


class Middle(Listening):
    """Ends TLS with ``forged``, selects the challenge, lets ``answer`` speak; ``read`` is what clients said else."""

    def __init__(self, forged: Forged, answer: Answer | None = None) -> None:
        super().__init__()
        self.read = b""
        self.context = server_context(forged.key, forged.chain)
        self._answer = answer
        self._more = threading.Condition()

    def serve(self, client: socket.socket) -> None:
        with self.context.wrap_socket(client, server_side=True) as tls:
            if self._answer is not None:
                self._answer(tls)
            while data := tls.recv(65536):
                with self._more:
                    self.read += data
                    self._more.notify_all()

    def wait_for(self, size: int) -> None:
        """At least so many bytes were read."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.read) >= size, WAIT)


def server_context(key: ec.EllipticCurvePrivateKey, chain: Sequence[bytes]) -> ssl.SSLContext:
    """TLS with this key and chain, for whoever has them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "identity.pem")
        path.write_bytes(pem + "".join(map(ssl.DER_cert_to_PEM_cert, chain)).encode())
        context.load_cert_chain(path)
    return context
