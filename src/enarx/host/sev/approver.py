"""A client of the approver's interface: HTTPS, with the approver's CA pinned by the digest of its key.

The pin is for the host's own benefit: an approver that is somebody else could at worst have a guest launched that no
Steward believes. What the approver says is bounded, and shown to people as text of a stranger's.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import socket
import ssl
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from enarx.errors import HostError, UsageError
from enarx.host.sev.launch import Packet, Session, Technology

LAUNCH_PATH: Final = "/v1/launch"
MEASUREMENT_PATH: Final = "/v1/measurement"
EXCHANGE_SECONDS: Final = 30.0
"""How long an exchange may take, however slowly the other end sends (seconds)."""
ANSWER_MAX_BYTES: Final = 256 * 1024
"""Largest answer (bytes)."""
SHOWN_CHARS: Final = 600
RULES_SHOWN: Final = 8
"""How much of what an approver says an error shows (characters, rules)."""

DEFAULT_PORT: Final = 443
_ENCODING_DER: Final = 2  # _ssl.ENCODING_DER


@dataclass(frozen=True, slots=True)
class HttpApprover:
    """The approver at ``https://HOST[:PORT]``, whose chain ends in the CA with the key digest ``ca`` (32 bytes)."""

    host: str
    port: int
    ca: bytes
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    seconds: float = EXCHANGE_SECONDS

    @classmethod
    def at(cls, url: str, ca: bytes) -> HttpApprover:
        """The approver at a URL; UsageError for one that is none."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or DEFAULT_PORT
        except ValueError:
            host, port = "", 0
        bare = not (parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/"))
        if not host or parts.scheme != "https" or not bare:
            raise UsageError(
                f"{url!r} is not https://HOST:PORT", code="usage-url", hint="`enarx launch approve` prints its address"
            )
        return cls(host, port, ca)

    def begin(
        self, technology: Technology, certificates: bytes, manifest: bytes, signatures: Sequence[bytes]
    ) -> Session:
        """See ``Approver.begin``."""
        answer = self._post(
            LAUNCH_PATH,
            {
                "technology": technology,
                "certificates": _base64(certificates),
                "manifest": _base64(manifest),
                "signatures": list(map(_base64, signatures)),
            },
        )
        launch, policy = answer.get("launch"), answer.get("policy")
        if not isinstance(launch, str) or not 1 <= len(launch) <= 128:
            raise _bad("it names no launch")
        if isinstance(policy, bool) or not isinstance(policy, int) or not 0 <= policy < 1 << 32:
            raise _bad("its policy is not one")
        return Session(launch, policy, _bytes(answer, "dh_cert", 2084), _bytes(answer, "session", 128))

    def finish(self, launch: str, firmware: tuple[int, int, int], measurement: bytes) -> Packet:
        """See ``Approver.finish``."""
        body = {"launch": launch, "firmware": list(firmware), "measurement": _base64(measurement)}
        answer = self._post(MEASUREMENT_PATH, body)
        return Packet(_bytes(answer, "header", 52), _bytes(answer, "secret", None))

    def _post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        encoded = json.dumps(body, separators=(",", ":")).encode()
        try:
            plain = socket.create_connection((self.host, self.port), self.seconds)
            with _cut_off_after(self.seconds, plain), contextlib.closing(self._shake_hands(plain)) as tls:
                status, kind, data = _exchange(tls, self.host, self.port, path, encoded)
        except (OSError, ValueError, http.client.HTTPException) as error:
            said = str(error)[:200] or type(error).__name__
            raise HostError(
                f"no answer from the approver at {self.host} port {self.port}: {said}",
                code="approver-unreachable",
                hint="check that `enarx launch approve` runs there, and the digest of its CA's key",
            ) from error
        if status != 200:
            raise _refused(status, _json(data) if kind == "application/problem+json" else {})
        return _json(data)

    def _shake_hands(self, plain: socket.socket) -> ssl.SSLSocket:
        """TLS 1.3 with the approver, and with nobody else; OSError or ValueError. Takes ``plain``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the anchor is known by its digest: _check_chain verifies the path
        try:
            tls = context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise
        try:
            _check_chain(_peer_chain(tls), self.host, self.ca, self.clock())
        except BaseException:
            tls.close()
            raise
        return tls


@contextlib.contextmanager
def _cut_off_after(seconds: float, connection: socket.socket) -> Iterator[None]:
    """End ``connection`` unless the block is left before."""
    other = connection.dup()  # TLS takes the socket itself

    def cut() -> None:
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        other.close()


def _exchange(tls: ssl.SSLSocket, host: str, port: int, path: str, body: bytes) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(host, port)
    connection.sock = tls
    headers = {"Content-Type": "application/json", "Connection": "close"}
    with contextlib.closing(connection):
        connection.request("POST", path, body, headers)
        with connection.getresponse() as response:
            data = response.read(ANSWER_MAX_BYTES + 1)
            if len(data) > ANSWER_MAX_BYTES:
                raise ValueError(f"the answer has more than {ANSWER_MAX_BYTES} bytes")
            if response.length:  # http.client reports a body that ends early only when all of it is read at once
                raise ValueError("the answer is cut short")
            kind = response.getheader("Content-Type", "").partition(";")[0].strip().lower()
            return response.status, kind, data


def _check_chain(chain: Sequence[bytes], host: str, ca: bytes, now: datetime) -> None:
    """The chain is for ``host`` and ends in the pinned CA; ValueError."""
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

    try:
        certificates = [x509.load_der_x509_certificate(one) for one in chain[:6]]
        anchor = certificates[-1]
        spki = anchor.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if len(certificates) < 2 or not hmac.compare_digest(hashlib.sha256(spki).digest(), ca):
            raise ValueError("its chain does not end in the CA that was named")
        subject: x509.DNSName | x509.IPAddress
        try:
            subject = x509.IPAddress(ip_address(host))
        except ValueError:
            subject = x509.DNSName(host)
        verifier = PolicyBuilder().store(Store([anchor])).time(now).build_server_verifier(subject)
        verifier.verify(certificates[0], certificates[1:-1])
    except VerificationError as error:
        raise ValueError(f"its certificate is not valid for {host}: {str(error)[:200]}") from error
    except IndexError as error:
        raise ValueError("it shows no certificate") from error


def _peer_chain(tls: ssl.SSLSocket) -> list[bytes]:
    """The certificates that the peer showed (DER, leaf first). Public since Python 3.13, and below that name inside."""
    public: Callable[[], list[bytes]] | None = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return list(public())
    inner: Any = getattr(tls, "_sslobj", None)
    return [certificate.public_bytes(_ENCODING_DER) for certificate in inner.get_unverified_chain() or ()]


def _refused(status: int, problem: Mapping[str, Any]) -> HostError:
    text = _shown(problem.get("detail")) or f"status {status}"
    listed = problem.get("appraisal")
    rules = listed if isinstance(listed, list) else []
    failed = [rule for rule in rules if isinstance(rule, dict) and rule.get("passed") is False]
    for rule in failed[:RULES_SHOWN]:
        name, expected, seen = (_shown(rule.get(key)) for key in ("rule", "expected", "seen"))
        if name not in text:
            text += f"; {name}: expected {expected or '?'}, saw {seen or '?'}"
    code = _shown(problem.get("code"))
    hint = _shown(problem.get("hint"))
    if status in (400, 403, 404, 409, 413, 415):
        return HostError(
            f"the approver refused this launch: {text}" + (f" ({code})" if code else ""),
            code="approver-refused",
            hint=hint or "see what the approver printed at the tenant's",
        )
    return HostError(f"the approver could not answer: {text}", code="approver-failed", hint=hint or "try again later")


def _json(data: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _bad("it is not a JSON object")
    return found


def _bytes(answer: Mapping[str, Any], name: str, size: int | None) -> bytes:
    value = answer.get(name)
    try:
        data = b64decode(value, validate=True) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if not data or (size is not None and len(data) != size):
        raise _bad(f"{name} is not what it should be")
    return data


def _shown(value: object) -> str:
    """Text of a stranger's, fit for a terminal."""
    if not isinstance(value, str):
        return ""
    return "".join(char if char.isprintable() else "?" for char in value[:SHOWN_CHARS])


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _bad(what: str) -> HostError:
    return HostError(
        f"the approver's answer cannot be used: {what}",
        code="approver-answer",
        hint="check that the address is that of `enarx launch approve`, of a fitting version",
    )
