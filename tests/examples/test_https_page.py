"""The page server as clients of all kinds meet it: browsers' habits, bad requests, slow and broken peers."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from enarx.cli.page_text import text_of_page
from tests import support, workloads
from tests.e2e import peers

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CONNECTIONS = 128  # that the server keeps at once


@pytest.fixture(scope="module", params=["descriptors", "bytes"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, enarx_over_bytes: Path
) -> Iterator[workloads.Server]:
    """One for all tests of the module, which it must therefore survive; and another one, over a link of bytes."""
    module, config = workloads.example("https-page"), workloads.example_config("https-page")
    command = enarx_over_bytes if request.param == "bytes" else support.INSTALLED
    with (
        support.run_instead(command),
        workloads.serving(module, config, cwd=tmp_path_factory.mktemp("page")) as running,
    ):
        yield running
        assert running.process.poll() is None, running.stderr


def connect(server: workloads.Server) -> HTTPSConnection:
    return HTTPSConnection(workloads.ADDRESS, server.port, timeout=workloads.SECONDS, context=peers.client_context())


def exchange(server: workloads.Server, request: bytes) -> bytes:
    """Send bytes, and return everything until the server closes."""
    with peers.client(server.port, tls=True) as sock:
        sock.sendall(request)
        return peers.receive_to_the_end(sock)


def is_open(sock: socket.socket) -> bool:
    """Whether the server has neither closed nor said anything."""
    sock.setblocking(False)
    try:
        sock.recv(1)
    except ssl.SSLWantReadError:
        return True
    except OSError:
        return False
    return False


def head_of(response: bytes) -> str:
    return response.partition(b"\r\n\r\n")[0].decode()


def test_page_is_whole_and_says_what_the_workload_saw(server: workloads.Server) -> None:
    connection = connect(server)
    connection.request("GET", "/?q=1", headers={"User-Agent": "test <b>&\"'"})
    response = connection.getresponse()
    html = response.read().decode()
    connection.close()
    assert (response.status, response.getheader("Content-Type")) == (200, "text/html; charset=utf-8")
    page = text_of_page(html)
    facts = dict(page.facts)
    assert page.title == "Enarx: this page came out of a Keep"
    assert facts["Request"] == "GET /?q=1 HTTP/1.1"
    assert facts["Host"] == f"127.0.0.1:{server.port}"
    assert facts["Client"] == "test <b>&\"'"
    assert "test <b>" not in html
    assert re.fullmatch(r"number [0-9]+, request 1 on it", facts["Connection"])
    assert facts["Descriptors"] == "0 null, 1 stdout, 2 stderr, 3 web"
    assert (facts["Directories"], facts["Environment"]) == ("none", "FD_COUNT, FD_NAMES")
    assert "{{" not in html


def test_page_needs_nothing_from_elsewhere(server: workloads.Server) -> None:
    connection = connect(server)
    connection.request("GET", "/")
    response = connection.getresponse()
    html = response.read().decode()
    connection.close()
    foreign = r"<(?:script|link(?! rel=\"icon\" href=\"data:)|img|iframe)|@import|url\(|https?://(?!www.w3.org)"
    assert not re.findall(foreign, html)
    policy = response.getheader("Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none'; ")
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html


def test_connection_serves_one_request_after_another(server: workloads.Server) -> None:
    connection = connect(server)
    numbers = []
    for path in ("/", "/none", "/"):
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode()
        numbers.append((response.status, "".join(re.findall(r"request [0-9]+ on it", body))))
    connection.close()
    assert numbers == [(200, "request 1 on it"), (404, ""), (200, "request 3 on it")]


def test_head_answers_as_get_without_the_page(server: workloads.Server) -> None:
    head = exchange(server, b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    get = exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert get.startswith(b"HTTP/1.1 200 OK\r\n")
    length = re.compile(r"Content-Length: (\d+)")
    body = get.partition(b"\r\n\r\n")[2]
    match = length.search(head_of(get))
    assert match is not None
    assert int(match[1]) == len(body)
    # HEAD's page would name its own method and connection number.
    match = length.search(head_of(head))
    assert match is not None
    assert abs(int(match[1]) - len(body)) <= 4


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"GET //example.com/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"GET /../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"GET https://x/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"GET HTTP://x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"\r\n\r\nGET / HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, CLOSE\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 200),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 405),
        (b"BREW / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\nY: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\rY: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\nx", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTQ/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"G\xc3\x89T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 9000, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 70 + b"\r\n", 431),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else "",
)
def test_request_is_answered_with(request_bytes: bytes, status: int, server: workloads.Server) -> None:
    response = exchange(server, request_bytes)
    assert response.startswith(b"HTTP/1.1 %d " % status), response[:200]
    assert b"\r\nConnection: close\r\n" in response
    assert (b"\r\nAllow: GET, HEAD\r\n" in response) == (status == 405)


def test_answer_to_a_large_upload_arrives_although_nobody_reads_it(server: workloads.Server) -> None:
    """Closing with unread data would reset the connection and destroy the answer on its way."""
    body = bytes(200_000)
    response = exchange(server, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert response.startswith(b"HTTP/1.1 405 ")


def test_requests_that_come_together_are_answered_in_order(server: workloads.Server) -> None:
    response = exchange(server, REQUEST * 3 + b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert re.findall(rb"^HTTP/1\.1 (\d+) ", response, re.MULTILINE) == [b"200", b"200", b"200", b"404"]


def test_request_may_come_byte_by_byte(server: workloads.Server) -> None:
    with peers.client(server.port, tls=True) as sock:
        for byte in REQUEST:
            sock.sendall(bytes([byte]))
        assert peers.receive(sock, 15) == b"HTTP/1.1 200 OK"


def test_slow_and_silent_clients_do_not_delay_a_good_one(server: workloads.Server) -> None:
    import contextlib

    with contextlib.ExitStack() as stack:
        context = peers.client_context()
        others = [stack.enter_context(peers.client(server.port, tls=True, context=context)) for _ in range(20)]
        for number, sock in enumerate(others):
            sock.sendall(REQUEST[: number + 1])
        assert exchange(server, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_more_connections_than_slots_make_the_oldest_leave(server: workloads.Server) -> None:
    import contextlib

    def left_in_the_slots() -> int:
        with contextlib.ExitStack() as stack:
            context = peers.client_context()
            socks = [
                stack.enter_context(peers.client(server.port, tls=True, context=context))
                for _ in range(CONNECTIONS + 5)
            ]
            assert exchange(server, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
            return sum(is_open(sock) for sock in socks)

    # Again, as on a busy machine deadlines may have made room before.
    assert any(CONNECTIONS - 2 <= left_in_the_slots() <= CONNECTIONS for _ in range(3))


def test_client_that_breaks_off_does_no_harm(server: workloads.Server) -> None:
    import struct

    for _ in range(10):
        plain = socket.create_connection((workloads.ADDRESS, server.port), workloads.SECONDS)
        tls = peers.client_context().wrap_socket(plain, server_hostname="localhost")
        tls.sendall(REQUEST * 5)
        tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        tls.close()
    assert exchange(server, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_half_a_request_is_given_up_after_its_time(server: workloads.Server) -> None:
    started = time.monotonic()
    response = exchange(server, REQUEST[:-2])
    assert response.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - started > 5


def test_curl_fetches_the_page(server: workloads.Server, require_tool: Callable[[str, str], Path]) -> None:
    curl = require_tool("curl", "curl")
    url = f"https://127.0.0.1:{server.port}/"
    done = subprocess.run(
        [curl, "--silent", "--show-error", "--insecure", "--include", url], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"HTTP/1.1 200 OK\r\n")
    assert done.stdout.rstrip().endswith(b"</html>")


def test_curl_refuses_the_page_unless_told_to_trust_it(
    server: workloads.Server, require_tool: Callable[[str, str], Path], tmp_path: Path
) -> None:
    curl = require_tool("curl", "curl")
    url = f"https://127.0.0.1:{server.port}/"
    refused = subprocess.run([curl, "--silent", "--show-error", url], capture_output=True, check=False, timeout=60)
    assert refused.returncode == 60  # the peer's certificate cannot be authenticated
    pinned = tmp_path / "keep.pem"
    pinned.write_text(ssl.get_server_certificate((workloads.ADDRESS, server.port)))
    trusted = subprocess.run(
        [curl, "--silent", "--show-error", "--cacert", pinned, url], capture_output=True, check=False, timeout=60
    )
    assert (trusted.returncode, trusted.stderr) == (0, b"")
