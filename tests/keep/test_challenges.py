"""Challenges that a Keep answers inside its TLS sessions: over this very session, bounded, and in nobody's way."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from enarx import challenge
from enarx.challenge import ALPN, Answer, Status
from enarx.evidence import binding
from enarx.evidence.snp import parse
from enarx.evidence.snp.enarx import parse_evidence
from enarx.exporter import KeyLog
from enarx.keep import accept, challenges
from enarx.keep.tls import plain_server_context, server_context
from tests.connect.keeps import WAIT, KeepServer
from tests.evidence.snp.forge import spki

pytestmark = pytest.mark.usefixtures("keep_tls_env")
NONCE = b"n" * 32


@pytest.fixture
def server() -> Iterator[KeepServer]:
    with KeepServer() as running:
        yield running


class Asker:
    """A client that speaks TLS with Python's ssl alone, and knows its exporter."""

    def __init__(self, port: int, alpn: tuple[str, ...] = (ALPN,)) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if alpn:
            context.set_alpn_protocols(list(alpn))
        self._log = KeyLog(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        self._log.attach(context)
        self.tls = context.wrap_socket(socket.create_connection(("127.0.0.1", port), WAIT), server_hostname="localhost")
        self.exporter = self._log.exporter() or b""
        self._log.silence(self.tls)

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.tls.close()
        self._log.close()

    def ask(self, nonce: bytes = NONCE) -> None:
        self.tls.sendall(challenge.encode_request(nonce))

    def exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = self.tls.recv(size - len(found))
            assert part, f"the Keep hung up after {len(found)} of {size} bytes"
            found += part
        return found

    def answer(self) -> Answer | Status:
        head = challenge.parse_head(self.exactly(challenge.HEAD_BYTES))
        return challenge.parse_rest(head, self.exactly(head.rest)) if head.status is Status.OK else head.status

    def get(self, path: bytes = b"/page") -> bytes:
        self.tls.sendall(b"GET %s HTTP/1.1\r\n\r\n" % path)
        return self.tls.recv(65536)

    def own(self, server: KeepServer) -> bytes:
        return binding.session_digest(spki(server.keep.key), NONCE, self.exporter)


def over(answer: Answer | Status) -> bytes:
    """The report data that was answered; it is over all the digests."""
    assert isinstance(answer, Answer)
    data = parse(parse_evidence(answer.evidence).report).report_data
    assert data == binding.session_report_data(answer.digests)
    return data


def test_the_answer_is_over_this_session_which_goes_on_to_the_workload(server: KeepServer) -> None:
    with Asker(server.port) as asker:
        asker.ask()
        answer = asker.answer()
        assert isinstance(answer, Answer)
        assert answer.digests == (asker.own(server),)
        assert server.processor.asked == [over(answer)]
        assert asker.get().endswith(b"GET /page HTTP/1.1")


def test_two_sessions_have_two_exporters(server: KeepServer) -> None:
    with Asker(server.port) as one, Asker(server.port) as two:
        one.ask()
        two.ask()
        answers = one.answer(), two.answer()
    assert over(answers[0])
    assert over(answers[1])
    assert one.own(server) != two.own(server)


def test_what_comes_right_behind_the_request_is_the_workloads(server: KeepServer) -> None:
    with Asker(server.port) as asker:
        asker.tls.sendall(challenge.encode_request(NONCE) + b"GET /early HTTP/1.1\r\n\r\n")
        over(asker.answer())
        assert asker.tls.recv(65536).endswith(b"GET /early HTTP/1.1")
    assert b"".join(server.received) == b"GET /early HTTP/1.1\r\n\r\n"


def test_a_request_may_come_byte_by_byte(server: KeepServer) -> None:
    with Asker(server.port) as asker:
        for byte in challenge.encode_request(NONCE):
            asker.tls.sendall(bytes([byte]))
        over(asker.answer())


@pytest.mark.parametrize("alpn", [(), ("http/1.1",), ("h2", "http/1.1")], ids=str)
def test_other_clients_are_served_as_before(alpn: tuple[str, ...], server: KeepServer) -> None:
    with Asker(server.port, alpn) as plain:
        assert plain.tls.selected_alpn_protocol() is None
        assert plain.get().endswith(b"GET /page HTTP/1.1")
    assert not server.processor.asked


def test_a_keep_without_challenges_selects_no_protocol() -> None:
    with KeepServer(challenged=False) as old, Asker(old.port) as asker:
        assert asker.tls.selected_alpn_protocol() is None
        assert asker.get().endswith(b"GET /page HTTP/1.1")


def test_a_client_that_offers_other_protocols_too_can_ask(server: KeepServer) -> None:
    with Asker(server.port, ("http/1.1", ALPN)) as asker:
        asker.ask()
        over(asker.answer())


def test_something_else_than_a_request_ends_the_connection(server: KeepServer) -> None:
    with Asker(server.port) as asker:
        asker.tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n")
        assert hung_up(asker)
    assert not server.received
    assert not server.processor.asked


def hung_up(asker: Asker) -> bool:
    try:
        return asker.tls.recv(1) == b""
    except OSError:
        return True


def test_a_client_that_leaves_without_asking_harms_nobody(server: KeepServer) -> None:
    Asker(server.port).__exit__()
    with Asker(server.port) as asker:
        asker.tls.sendall(challenge.encode_request(NONCE)[:7])
    with Asker(server.port) as asker:
        asker.ask()
        over(asker.answer())
    assert not server.received


def test_a_processor_that_fails_is_said_and_nothing_goes_to_the_workload(server: KeepServer) -> None:
    server.processor.broken = True
    with Asker(server.port) as asker:
        asker.ask()
        assert asker.answer() is Status.FAILED
        assert hung_up(asker)
    server.processor.broken = False
    with Asker(server.port) as asker:
        asker.ask()
        over(asker.answer())
    assert not server.received


def test_a_slow_processor_keeps_nobody_else_waiting(server: KeepServer) -> None:
    server.processor.go.clear()
    with Asker(server.port) as asker, Asker(server.port, ()) as plain:
        asker.ask()
        assert plain.get().endswith(b"GET /page HTTP/1.1")
        server.processor.go.set()
        over(asker.answer())


def test_all_that_ask_while_a_report_is_made_share_the_next_one(server: KeepServer) -> None:
    server.processor.go.clear()
    with Asker(server.port) as first:
        first.ask()
        wait_until(lambda: len(server.processor.asked) == 1)
        others = [Asker(server.port) for _ in range(5)]
        for other in others:
            other.ask()
        wait_until(lambda: waiting(server) == 5)
        server.processor.go.set()
        over(first.answer())
        answers = [other.answer() for other in others]
        for other, answer in zip(others, answers, strict=True):
            over(answer)
            assert isinstance(answer, Answer)
            assert other.own(server) in answer.digests
            other.__exit__()
    assert len(server.processor.asked) == 2


def waiting(server: KeepServer) -> int:
    assert server.challenges is not None
    return len(server.challenges._waiting)


def wait_until(what: Any) -> None:
    turn, end = threading.Event(), 0
    while not what():
        turn.wait(0.005)
        end += 1
        assert end < WAIT / 0.005


def test_too_many_that_wait_are_told_that_the_keep_is_busy(server: KeepServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(challenges, "WAITING_MAX", 1)
    server.processor.go.clear()
    with Asker(server.port) as first, Asker(server.port) as second, Asker(server.port) as third:
        first.ask()
        wait_until(lambda: len(server.processor.asked) == 1)
        second.ask()
        wait_until(lambda: waiting(server) == 1)
        third.ask()
        assert third.answer() is Status.BUSY
        assert hung_up(third)
        server.processor.go.set()
        over(first.answer())
        over(second.answer())


def test_a_client_that_waited_too_long_gives_its_place_back(
    server: KeepServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "CHALLENGE_SECONDS", 0.05)
    with Asker(server.port) as silent:
        assert hung_up(silent)
    server.processor.go.clear()
    with Asker(server.port) as asker:
        asker.ask()
        assert hung_up(asker)  # before the processor answers
    server.processor.go.set()
    monkeypatch.setattr(accept, "CHALLENGE_SECONDS", WAIT)
    with Asker(server.port) as asker:
        asker.ask()
        over(asker.answer())
    assert not server.received


def test_clients_that_ask_and_stay_silent_cannot_keep_others_out(
    server: KeepServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "HANDSHAKES", 2)
    silent = [Asker(server.port) for _ in range(4)]
    with Asker(server.port) as asker:
        asker.ask()
        over(asker.answer())
    assert hung_up(silent[0])
    for one in silent:
        one.__exit__()


def test_reports_have_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(challenges, "REPORTS_AT_ONCE", 2)
    clock = [0.0]
    with KeepServer() as server:
        assert server.challenges is not None
        later: list[float] = []
        server.challenges._clock = lambda: clock[0]
        server.challenges._since, server.challenges._allowance = 0.0, 2.0
        ordinary = server.loop.call_later

        def call_later(key: object, seconds: float, callback: Any) -> None:
            if key == challenges._TIMER:
                later.append(seconds)
                clock[0] += seconds
                seconds = 0.0
            ordinary(key, seconds, callback)

        monkeypatch.setattr(server.loop, "call_later", call_later)
        for _ in range(4):
            with Asker(server.port) as asker:
                asker.ask()
                over(asker.answer())
    assert later == pytest.approx([1 / challenges.REPORTS_PER_SECOND] * 2)


def test_contexts_that_were_made_before_answer_as_well() -> None:
    """As in a Keep whose workload is still to be decrypted: a log cannot be opened any more when it is known."""
    with KeepServer(challenged=False) as server:
        made = challenges.Challenges(server.loop, server.attested())
        made.make_spares(plain_server_context)
        made._log.attach = None  # type: ignore[assignment, method-assign] # there is no file to open
        contexts = [server_context(None, (), made) for _ in range(challenges.SPARE_CONTEXTS + 1)]
    assert [context.keylog_filename is not None for context in contexts] == [True] * challenges.SPARE_CONTEXTS + [False]
