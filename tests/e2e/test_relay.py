"""A host that has a Keep's TLS key, and relays to clients what evidence it can get: why evidence is over the session.

Evidence over the key is in the certificate, and whoever has the key can show it. The Keep here is one whose key the
test knows; what shakes hands and answers is the Keep's own code, and the man in the middle speaks TLS with what he has.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

import enarx as library
from enarx.challenge import (
    HEAD_BYTES,
    REQUEST_BYTES,
    Status,
    encode_answer,
    encode_request,
    parse_head,
    parse_request,
    parse_rest,
)
from enarx.errors import AuthenticityError, PolicyError
from enarx.evidence.binding import session_digest
from enarx.exporter import KeyLog
from tests.connect.keeps import Files, KeepServer, chain_of, client_files
from tests.e2e.middle import Forged, Middle
from tests.evidence.snp.forge import spki
from tests.keep.test_challenges import Asker

pytestmark = pytest.mark.usefixtures("keep_tls_env")
REQUEST = b"secret of the tenant" * 4096


@pytest.fixture
def keep() -> Iterator[KeepServer]:
    with KeepServer() as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return client_files(tmp_path)


def stolen(keep: KeepServer) -> Forged:
    return Forged(keep.keep.key, tuple(chain_of(keep.keep)))


def asked_of(tls: ssl.SSLSocket) -> bytes:
    """The nonce of the client's challenge."""
    request = b""
    while len(request) < REQUEST_BYTES:
        part = tls.recv(REQUEST_BYTES - len(request))
        assert part
        request += part
    return parse_request(request)


def answered_by(keep: KeepServer, nonce: bytes) -> bytes:
    """What the genuine Keep answers in a session with the man in the middle."""
    with Asker(keep.port) as asker:
        asker.tls.sendall(encode_request(nonce))
        head = asker.exactly(HEAD_BYTES)
        return head + asker.exactly(parse_head(head).rest)


def post(middle: Middle, files: Files, **demands: bool) -> None:
    with library.Client(**files.demands(**demands)) as client:
        client.post(f"https://localhost:{middle.port}", content=REQUEST, timeout=60)


def test_relayed_evidence_of_another_session_is_refused(keep: KeepServer, files: Files) -> None:
    """Key, certificate, manifest and nonce are right, and the evidence is genuine and new."""

    def relay(tls: ssl.SSLSocket) -> None:
        tls.sendall(answered_by(keep, asked_of(tls)))

    with Middle(stolen(keep), relay) as middle:
        with pytest.raises(PolicyError) as caught:
            post(middle, files)
        assert (caught.value.code, middle.read) == ("session-mismatch", b"")
        assert "relay" in caught.value.hint
    assert len(keep.processor.asked) == 1
    assert not keep.received


def test_relayed_evidence_with_the_victims_session_written_into_it_is_refused(keep: KeepServer, files: Files) -> None:
    """He is an end of the client's session, so he knows what it exports."""
    log = KeyLog(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def relay(tls: ssl.SSLSocket) -> None:
        nonce, exporter = asked_of(tls), log.exporter()
        assert exporter is not None
        own = session_digest(spki(keep.keep.key), nonce, exporter)
        answer = answered_by(keep, nonce)
        genuine = parse_rest(parse_head(answer[:HEAD_BYTES]), answer[HEAD_BYTES:])
        tls.sendall(encode_answer(Status.OK, [*genuine.digests, own], genuine.evidence))

    with Middle(stolen(keep), relay) as middle:
        log.attach(middle.context)
        with pytest.raises(PolicyError) as caught:
            post(middle, files)
        assert (caught.value.code, middle.read) == ("session-mismatch", b"")
    log.close()


def test_an_answer_to_a_stale_nonce_is_refused(keep: KeepServer, files: Files) -> None:
    recorded = answered_by(keep, b"o" * 32)

    def replay(tls: ssl.SSLSocket) -> None:
        asked_of(tls)
        tls.sendall(recorded)

    with Middle(stolen(keep), replay) as middle:
        with pytest.raises(PolicyError) as caught:
            post(middle, files)
        assert (caught.value.code, middle.read) == ("session-mismatch", b"")


def test_a_relay_that_selects_no_challenge_is_refused(keep: KeepServer, files: Files) -> None:
    """He may pretend to be a Keep of before there were challenges."""
    middle = Middle(stolen(keep))
    middle.context.set_alpn_protocols(["http/1.1"])
    with middle:
        with pytest.raises(AuthenticityError) as caught:
            post(middle, files)
        assert (caught.value.code, middle.read) == ("challenge-unsupported", b"")


def test_without_fresh_evidence_a_stolen_key_is_enough(keep: KeepServer, files: Files) -> None:
    """Why it is demanded by default. The man in the middle does not answer, but he reads."""
    with Middle(stolen(keep), lambda tls: tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as middle:
        post(middle, files, fresh=False)
        middle.wait_for(len(REQUEST))
    assert REQUEST in middle.read
