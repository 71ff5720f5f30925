"""Somebody between a client and a Keep: who only looks, who ends TLS himself, who relays what he can."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from enarx.challenge import ALPN
from enarx.evidence.binding import MANIFEST_DIGEST_OID, SNP_EVIDENCE_OID
from enarx.tenant.peer import shown_chain

WAIT = 60.0


class Witness:
    """Carries bytes between clients and the Keep at ``target``, and remembers what the clients sent."""

    def __init__(self, target: int) -> None:
        self.sent = b""
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closed = threading.Event()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                keep = socket.create_connection(("localhost", self._target), WAIT)
                threading.Thread(target=self._carry, args=(keep, client, None), daemon=True).start()
                threading.Thread(target=self._carry, args=(client, keep, self._closed), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, closed: threading.Event | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if closed is not None:
                    self.sent += data
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if closed is not None:
            closed.set()

    def wait_until_closed(self) -> None:
        """The client has hung up, and all that it sent was seen."""
        assert self._closed.wait(WAIT)

    def __enter__(self) -> Witness:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()


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


class Middle:
    """Ends TLS with ``forged``, selects the challenge, lets ``answer`` speak; ``read`` is what clients said else."""

    def __init__(self, forged: Forged, answer: Answer | None = None) -> None:
        self.read = b""
        self._more = threading.Condition()
        self._answer = answer
        self.context = server_context(forged.key, forged.chain)
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(plain,), daemon=True).start()

    def _talk(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain, self.context.wrap_socket(plain, server_side=True) as tls:
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

    def __enter__(self) -> Middle:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()


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
