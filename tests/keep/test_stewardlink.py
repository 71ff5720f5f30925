"""The whole exchange with a Steward over real TLS on loopback, and what stands between: impostors, delays, garbage."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from enarx.errors import AuthenticityError, EnarxError, MalformedError, StreamError
from enarx.evidence import binding
from enarx.keep.attested import Attested
from enarx.keep.steward import ANSWER_MAX_BYTES, Answer, accept, request
from enarx.keep.stewardlink import EXCHANGE_SECONDS, Place, exchange, place
from enarx.manifest import StewardPin
from tests.keep.tenants import (
    NOW,
    SECRETS,
    Authority,
    Steward,
    host_name,
    launch,
    manifest_for,
    read_request,
    response,
    server_key,
    tls_server,
)

HOST = "127.0.0.1"


@dataclass
class Service:
    """A Steward behind TLS. The fields are what one test or another changes."""

    steward: Steward = field(default_factory=Steward)
    key: ec.EllipticCurvePrivateKey = field(default_factory=server_key)
    chain: list[bytes] = field(default_factory=list)
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    raw: bytes | None = None

    def __post_init__(self) -> None:
        self.chain = self.chain or self.issue(self.steward.ca)

    def issue(self, ca: Authority, host: str = HOST, **named: Any) -> list[bytes]:
        return [ca.sign(self.key.public_key(), [host_name(host)], **named), ca.der]

    def handle(self, tls: ssl.SSLSocket) -> None:
        found = read_request(tls)
        if not found[0]:
            return  # the Keep left without a word
        self.requests.append(found)
        tls.sendall(self.raw if self.raw is not None else response(self.steward.answer(self.requests[-1][2])))
        with contextlib.suppress(OSError):
            tls.unwrap()

    @contextlib.contextmanager
    def run(self, *, path: str = "") -> Iterator[Attested]:
        """Serve, with a Keep whose manifest names this Steward."""
        with tls_server(self.handle, self.chain, self.key, versions=self.version) as port:
            yield launch(manifest_for(self.steward.pin(f"https://{HOST}:{port}{path}")))


def ask(keep: Attested, **named: Any) -> Answer:
    """As the Keep does it: a stream from the host, then the exchange in it."""
    pin = keep.manifest.steward
    assert pin is not None
    stream = socket.create_connection((HOST, place(pin).port), timeout=60)
    try:
        return exchange(stream, pin, request(keep), NOW, **named)
    finally:
        assert stream.fileno() == -1  # closed, whatever happened


def refused(service: Service, kind: type[EnarxError], **named: Any) -> EnarxError:
    with service.run() as keep, pytest.raises(kind) as caught:
        ask(keep, **named)
    assert caught.value.hint
    return caught.value


def test_attested_keep_is_certified_and_given_its_secrets() -> None:
    service = Service()
    with service.run(path="/tenant/") as keep:
        grant = accept(keep, ask(keep), NOW)
    (first, headers, _), (asked,) = service.requests[0], service.steward.seen
    assert first == "POST /tenant/v1/attest HTTP/1.1"
    assert headers["content-type"] == "application/json"
    assert asked.keys() == {"csr", "manifest", "endorsements"}
    assert dict(grant.secrets) == SECRETS
    assert grant.ear.count(".") == 2
    assert grant.certified.chain[-1] == service.steward.ca.der
    assert "hunter2" not in repr(grant)


def test_steward_may_stand_under_an_intermediate_of_the_pinned_ca() -> None:
    root = Authority("root")
    middle = Authority("middle", parent=root)
    service = Service(Steward(ca=root))
    service.chain = [*service.issue(middle)[:1], middle.der, root.der]
    with service.run() as keep:
        assert ask(keep).status == 200


@pytest.mark.parametrize("other_name", ["the tenant's CA", "somebody"])
def test_impersonated_steward_under_another_ca_is_refused_before_it_is_sent_anything(other_name: str) -> None:
    service = Service()
    service.chain = service.issue(Authority(other_name))
    error = refused(service, AuthenticityError)
    assert error.code == "steward-ca"
    assert service.requests == []


def test_impostor_that_shows_the_pinned_ca_behind_a_certificate_of_its_own_is_refused() -> None:
    service = Service()
    service.chain = [service.issue(Authority("the tenant's CA"))[0], service.steward.ca.der]
    assert refused(service, AuthenticityError).code == "steward-chain"


def test_impostor_that_shows_the_pinned_ca_as_its_own_certificate_is_refused() -> None:
    """It cannot: without the CA's key there is no handshake. With a key of its own, OpenSSL will not even start."""
    service = Service()
    service.chain = [service.steward.ca.der]
    service.key = service.steward.ca.key
    assert refused(service, AuthenticityError).code == "steward-ca"


def test_steward_of_another_name_is_refused() -> None:
    service = Service()
    service.chain = service.issue(service.steward.ca, "127.0.0.2")
    assert refused(service, AuthenticityError).code == "steward-chain"


def test_another_keep_of_the_same_ca_cannot_pose_as_the_steward() -> None:
    """A policy that gives a workload the Steward's own name must not give it the Steward's powers."""
    service = Service()
    for oid, value in (
        (binding.MANIFEST_DIGEST_OID, binding.manifest_digest_extension(bytes(32))),
        (binding.SNP_EVIDENCE_OID, b"\x30\x00"),
    ):
        service.chain = service.issue(service.steward.ca, extensions={oid: value})
        assert refused(service, AuthenticityError).code == "steward-keep"


def test_certificate_that_is_for_clients_is_no_stewards() -> None:
    service = Service()
    service.chain = service.issue(service.steward.ca, usages=[ExtendedKeyUsageOID.CLIENT_AUTH])
    assert refused(service, AuthenticityError).code == "steward-chain"


@pytest.mark.parametrize(
    ("begin", "end", "fits"),
    [
        (timedelta(minutes=4), timedelta(hours=1), True),
        (timedelta(minutes=6), timedelta(hours=1), False),
        (timedelta(hours=-1), timedelta(minutes=-4), True),
        (timedelta(hours=-1), timedelta(minutes=-6), False),
    ],
)
def test_clock_of_the_keep_may_be_a_little_off_and_no_more(begin: timedelta, end: timedelta, fits: bool) -> None:
    service = Service()
    service.chain = service.issue(service.steward.ca, begin=NOW + begin, end=NOW + end)
    if fits:
        with service.run() as keep:
            assert ask(keep).status == 200
    else:
        assert refused(service, AuthenticityError).code == "steward-time"


def test_steward_without_its_ca_in_the_handshake_is_refused() -> None:
    service = Service()
    service.chain = service.chain[:1]
    assert refused(service, AuthenticityError).code == "steward-ca"


def test_older_tls_is_refused() -> None:
    assert refused(Service(version=ssl.TLSVersion.TLSv1_2), StreamError).code == "steward-unreachable"


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("raw", "kind", "code"),
    [
        (b"", MalformedError, "steward-answer"),
        (b"\0" * 100, MalformedError, "steward-answer"),
        (b"SSH-2.0-OpenSSH\r\n", MalformedError, "steward-answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200, MalformedError, "steward-answer"),
        (b"HTTP/1.1 200 " + b"A" * 70_000, MalformedError, "steward-answer"),
        (OK + b"A: " + b"b" * 70_000 + b"\r\n\r\n", MalformedError, "steward-answer"),
        (OK + b"Content-Length: 100\r\n\r\n{}", MalformedError, "steward-answer"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", MalformedError, "steward-answer"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", MalformedError, "steward-answer"),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", MalformedError, "steward-answer"),
        (response(b"a" * (ANSWER_MAX_BYTES + 1)), MalformedError, "steward-answer"),
        (OK + b"\r\n" + b"a" * (ANSWER_MAX_BYTES + 1), MalformedError, "steward-answer"),
        (OK + b"Content-Length: 99999999999999999999\r\n\r\n" + b"a" * 2_000_000, MalformedError, "steward-answer"),
    ],
    ids=[
        "nothing", "zeros", "ssh", "headers without end", "long status", "long header", "cut short", "bad chunk",
        "cut chunk", "compressed", "oversize", "oversize without length", "absurd length",
    ],
)  # fmt: skip
def test_answer_that_is_no_bounded_http_is_refused(raw: bytes, kind: type[EnarxError], code: str) -> None:
    assert refused(Service(raw=raw), kind).code == code


def test_largest_answer_is_taken_whole() -> None:
    service = Service(raw=response(b"a" * ANSWER_MAX_BYTES))
    with service.run() as keep:
        assert len(ask(keep).body) == ANSWER_MAX_BYTES


def test_chunked_answer_is_taken() -> None:
    service = Service(raw=OK + b"Transfer-Encoding: chunked\r\nContent-Type: A/B; c=d\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
    with service.run() as keep:
        assert ask(keep) == Answer(200, "a/b", b"{}")


class Slow(Service):
    """Sends a byte now and then, for as long as it is listened to."""

    def __init__(self, head: bytes) -> None:
        super().__init__()
        self.head = head
        self.finished = False

    def handle(self, tls: ssl.SSLSocket) -> None:
        read_request(tls)
        tls.sendall(self.head)
        with contextlib.suppress(OSError):
            for _ in range(1000):
                tls.sendall(b"a")
                time.sleep(0.05)
            self.finished = True


@pytest.mark.parametrize(
    "head", [b"", OK + b"Content-Length: 100\r\n\r\n", OK + b"A:"], ids=["status", "body", "header"]
)
def test_answer_that_trickles_ends_by_the_deadline(head: bytes) -> None:
    slow = Slow(head)
    assert refused(slow, StreamError, seconds=0.4).code == "steward-unreachable"
    assert not slow.finished


def test_endless_interim_answers_end_by_the_deadline() -> None:
    class Interim(Service):
        def handle(self, tls: ssl.SSLSocket) -> None:
            read_request(tls)
            for _ in range(1000):
                tls.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                time.sleep(0.05)

    assert refused(Interim(), StreamError, seconds=0.4).code == "steward-unreachable"


class Silent:
    """A listener that takes connections and never says a word."""

    @staticmethod
    @contextlib.contextmanager
    def run() -> Iterator[int]:
        with socket.create_server((HOST, 0)) as listener:
            yield listener.getsockname()[1]


def test_peer_that_never_shakes_hands_ends_by_the_deadline() -> None:
    with Silent.run() as port:
        keep = launch(manifest_for(Steward().pin(f"https://{HOST}:{port}")))
        with pytest.raises(StreamError) as caught:
            ask(keep, seconds=0.2)
    assert caught.value.code == "steward-unreachable"


def test_peer_that_never_reads_ends_by_the_deadline() -> None:
    class Deaf(Service):
        def handle(self, tls: ssl.SSLSocket) -> None:
            time.sleep(0.8)

    service = Deaf()
    with service.run() as keep:
        pin = keep.manifest.steward
        assert pin is not None
        stream = socket.create_connection((HOST, place(pin).port))
        with pytest.raises(StreamError) as caught:
            exchange(stream, pin, b"a" * 30_000_000, NOW, seconds=0.3)
    assert caught.value.code == "steward-unreachable"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_peer_that_speaks_no_tls_is_refused(said: bytes) -> None:
    near, far = socket.socketpair()
    with far:
        far.sendall(said)
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(StreamError) as caught:
            exchange(near, StewardPin("https://steward.example", "sha256:" + 64 * "0"), b"{}", NOW)
    assert caught.value.code == "steward-unreachable"
    assert near.fileno() == -1


def test_host_that_cuts_the_stream_within_the_answer_is_no_end_of_the_answer() -> None:
    """Without its length an answer ends where TLS says so, and the host cannot say it."""

    class Cut(Service):
        def handle(self, tls: ssl.SSLSocket) -> None:
            read_request(tls)
            tls.sendall(OK + b"Content-Type: application/json\r\n\r\n{}")
            tls.shutdown(socket.SHUT_RDWR)

    assert refused(Cut(), StreamError).code == "steward-unreachable"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://steward.example", Place("steward.example", 443, "/v1/attest")),
        ("https://Steward.example:8443/", Place("steward.example", 8443, "/v1/attest")),
        ("https://[2001:db8::1]/a/b", Place("2001:db8::1", 443, "/a/b/v1/attest")),
    ],
)
def test_url_of_a_steward_is_taken_apart(url: str, expected: Place) -> None:
    assert place(StewardPin(url, "sha256:" + 64 * "0")) == expected


def test_deadline_is_bounded_by_default() -> None:
    assert EXCHANGE_SECONDS <= 60
