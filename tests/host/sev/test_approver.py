"""A host's client of an approver, before peers that are none."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from enarx.errors import HostError, UsageError
from enarx.host.sev import approver
from enarx.host.sev.approver import HttpApprover
from enarx.tenant.steward.ca import load_authority, make_authority
from enarx.tenant.steward.webserver import give_identity

SECONDS = 30.0
AUTHORITY = load_authority(*reversed(make_authority("Test", datetime.now(UTC))))


@contextlib.contextmanager
def peer(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A listening socket whose first connection ``serve`` has; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    serve(connection)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(SECONDS)
        assert not thread.is_alive()


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    """Serves a genuine certificate and these bytes of HTTP."""

    def serve(connection: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        give_identity(context, AUTHORITY, ("127.0.0.1",), datetime.now(UTC))
        with context.wrap_socket(connection, server_side=True) as tls:
            asked = b""
            while b'"launch":"name"' not in asked:
                part = tls.recv(65536)
                if not part:
                    return
                asked += part
            with contextlib.suppress(OSError):  # whoever has read enough goes
                tls.sendall(answer)

    return serve


def http(status: int, body: bytes, kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def failure(port: int, *, seconds: float = SECONDS) -> HostError:
    ours = HttpApprover("127.0.0.1", port, AUTHORITY.spki_digest, seconds=seconds)
    with pytest.raises(HostError) as raised:
        ours.finish("name", (1, 55, 21), bytes(48))
    assert raised.value.hint
    return raised.value


def test_peer_that_sends_ever_so_slowly_is_given_up() -> None:
    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"\x16\x03\x03\x40\x00")  # the head of a record of 16 KiB
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"\0")
                time.sleep(0.05)

    with peer(trickle) as port:
        assert failure(port, seconds=0.5).code == "approver-unreachable"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"what?", "approver-unreachable"),
        (http(200, b"no JSON"), "approver-answer"),
        (http(200, b"{}").replace(b"Length: 2", b"Length: 3"), "approver-unreachable"),
        (http(200, b"[" * 100_000), "approver-answer"),
        (http(200, b'{"header": "AA==", "secret": "AA=="}'), "approver-answer"),
        (http(200, b'{"header": 3}'), "approver-answer"),
        (http(200, b" " * (approver.ANSWER_MAX_BYTES + 1)), "approver-unreachable"),
        (http(500, b"sorry", "text/plain"), "approver-failed"),
        (http(403, b"no", "text/plain"), "approver-refused"),
        (http(403, b'{"appraisal": [3, {"passed": false}]}', "application/problem+json"), "approver-refused"),
        (http(403, b'{"detail": "\\u001b[2J", "hint": 4, "code": []}', "application/problem+json"), "approver-refused"),
    ],
)
def test_answer_that_is_none_is_an_error(answer: bytes, code: str) -> None:
    with peer(answering(answer)) as port:
        error = failure(port)
    assert error.code == code
    assert error.message.isprintable()


def test_what_is_shown_of_a_refusal_is_bounded() -> None:
    rule = '{"passed": false, "rule": "r%d", "expected": "' + "x" * 900 + '", "seen": ""}'
    listed = ", ".join(rule % number for number in range(50))
    body = f'{{"detail": "{"y" * 5000}", "appraisal": [{listed}]}}'.encode()
    with peer(answering(http(403, body, "application/problem+json"))) as port:
        assert len(failure(port).message) < 8000


@pytest.mark.parametrize(
    "url", ["http://a", "https://", "https://a/b", "https://u@a", "https://a:x", "https://a?q", "a"]
)
def test_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        HttpApprover.at(url, bytes(32))


def test_address_has_a_port_or_the_usual_one() -> None:
    assert HttpApprover.at("https://[::1]:3001/", bytes(32)).port == 3001
    assert HttpApprover.at("https://a.example", bytes(32)).port == 443


def test_nothing_of_a_pin_is_left_to_the_peer() -> None:
    other = load_authority(*reversed(make_authority("Test", datetime.now(UTC))))
    with peer(answering(http(200, b"{}"))) as port:
        ours = HttpApprover("127.0.0.1", port, other.spki_digest)
        with pytest.raises(HostError, match="does not end in the CA"):
            ours.finish("name", (1, 55, 21), bytes(48))
