"""The attested clients of httpx and requests: what they send where, and what they refuse before they send anything."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

import enarx
from enarx.errors import AuthenticityError, ConfigError, EnarxError, PolicyError, StreamError, UsageError
from tests.connect.keeps import Files, KeepServer, client_files
from tests.tenant.keeps import Keep, policy_text

Get = Callable[..., tuple[int, str]]


def get_httpx(url: str, demands: dict[str, Any], **settings: Any) -> tuple[int, str]:
    with enarx.Client(**demands, **settings) as client:
        answer = client.get(url)
        return answer.status_code, answer.text


def get_async(url: str, demands: dict[str, Any], **settings: Any) -> tuple[int, str]:
    async def get() -> tuple[int, str]:
        async with enarx.AsyncClient(**demands, **settings) as client:
            answer = await client.get(url)
            return answer.status_code, answer.text

    return asyncio.run(get())


def get_requests(url: str, demands: dict[str, Any], *, follow_redirects: bool = False) -> tuple[int, str]:
    with enarx.Session(**demands) as session:
        answer = session.get(url, timeout=60, allow_redirects=follow_redirects)
        return answer.status_code, answer.text


pytestmark = pytest.mark.usefixtures("keep_tls_env")
every_client = pytest.mark.parametrize("get", [get_httpx, get_async, get_requests])


@every_client
def test_a_request_reaches_the_keep_that_was_meant(get: Get, server: KeepServer, files: Files) -> None:
    assert get(f"{server.url}/page", files.demands()) == (200, "GET /page HTTP/1.1")
    assert len(server.processor.asked) == 1  # and there was evidence over this very session


@every_client
def test_without_fresh_evidence_the_certificate_alone_is_judged(get: Get, server: KeepServer, files: Files) -> None:
    assert get(server.url, files.demands(fresh=False))[0] == 200
    assert not server.processor.asked


@every_client
def test_a_keep_that_answers_no_challenges_gets_nothing(get: Get, files: Files) -> None:
    with KeepServer(challenged=False) as old:
        with pytest.raises(AuthenticityError) as caught:
            get(old.url, files.demands())
        assert caught.value.code == "challenge-unsupported"
        assert not old.received
        assert get(old.url, files.demands(fresh=False))[0] == 200


@every_client
def test_a_measurement_outside_the_policy_gets_nothing(get: Get, server: KeepServer, tmp_path: Path) -> None:
    other = policy_text().replace("ab" * 48, "cd" * 48)
    with pytest.raises(PolicyError) as caught:
        get(server.url, client_files(tmp_path, text=other).demands())
    assert caught.value.code == "measurement-mismatch"
    assert caught.value.hint
    assert (server.received, server.processor.asked) == ([], [])


@every_client
def test_another_manifest_than_the_expected_gets_nothing(get: Get, server: KeepServer, files: Files) -> None:
    known = Keep().manifest
    assert known is not None
    with pytest.raises(PolicyError) as caught:
        get(server.url, files.demands(manifest=known.encode().replace(b'"args":[]', b'"args":["-x"]')))
    assert caught.value.code == "manifest-mismatch"
    assert not server.received


@every_client
def test_a_processor_that_gives_no_evidence_means_no_request(get: Get, server: KeepServer, files: Files) -> None:
    server.processor.broken = True
    with pytest.raises(StreamError) as caught:
        get(server.url, files.demands())
    assert caught.value.code == "challenge-failed"
    assert not server.received


@every_client
def test_fresh_evidence_of_another_guest_means_no_request(get: Get, server: KeepServer, files: Files) -> None:
    server.processor.lies = {"report_id": b"\x22" * 32}
    with pytest.raises(PolicyError) as caught:
        get(server.url, files.demands())
    assert caught.value.code == "session-guest"
    assert not server.received


@every_client
def test_plain_http_is_refused(get: Get, files: Files) -> None:
    with pytest.raises(UsageError) as caught:
        get("http://localhost:1/", files.demands())
    assert caught.value.code == "usage-url"


@every_client
def test_nobody_there_is_an_error_of_ours(get: Get, files: Files) -> None:
    with pytest.raises(StreamError) as caught:
        get("https://localhost:1/", files.demands())
    assert caught.value.code == "keep-unreachable"


def redirecting(target: str) -> Callable[[ssl.SSLSocket, Callable[[bytes], None]], None]:
    def answer(tls: ssl.SSLSocket, remember: Callable[[bytes], None]) -> None:
        remember(tls.recv(65536))
        tls.sendall(b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % target.encode())
        tls.recv(1)

    return answer


@every_client
def test_a_redirect_to_another_host_is_verified_anew(get: Get, server: KeepServer, files: Files) -> None:
    with KeepServer(workload=redirecting(f"{server.url}/there")) as first:
        assert get(first.url, files.demands(), follow_redirects=True) == (200, "GET /there HTTP/1.1")
    assert len(server.processor.asked) == 1


@every_client
def test_a_redirect_to_a_keep_that_is_refused_leads_nowhere(get: Get, files: Files) -> None:
    with KeepServer(challenged=False) as old, KeepServer(workload=redirecting(old.url)) as first:
        with pytest.raises(AuthenticityError):
            get(first.url, files.demands(), follow_redirects=True)
        assert first.received
        assert not old.received


@every_client
def test_a_redirect_to_plain_http_leads_nowhere(get: Get, server: KeepServer, files: Files) -> None:
    plain = server.url.replace("https", "http")
    with KeepServer(workload=redirecting(plain)) as first, pytest.raises(UsageError):
        get(first.url, files.demands(), follow_redirects=True)
    assert server.connections == 0


def test_a_verified_connection_is_used_again(server: KeepServer, files: Files) -> None:
    with enarx.Client(**files.demands()) as client:
        for _ in range(3):
            assert client.get(server.url).status_code == 200
    with enarx.Session(**files.demands()) as session:
        for _ in range(3):
            assert session.get(server.url, timeout=60).status_code == 200

    async def many() -> None:
        async with enarx.AsyncClient(**files.demands()) as concurrent:
            for _ in range(3):
                assert (await concurrent.get(server.url)).status_code == 200

    asyncio.run(many())
    assert (server.connections, len(server.processor.asked)) == (3, 3)


def test_a_connection_is_not_used_beyond_its_certificate(server: KeepServer, files: Files) -> None:
    clock = [datetime.now(UTC)]
    with enarx.Client(**files.demands(now=lambda: clock[0])) as client:
        assert client.get(server.url).status_code == 200
        clock[0] += timedelta(hours=13)
        with pytest.raises(EnarxError) as caught:
            client.get(server.url)
    assert caught.value.code == "certificate-expired"
    assert server.connections == 2


def test_concurrent_requests_are_each_attested(server: KeepServer, files: Files) -> None:
    async def many() -> list[int]:
        async with enarx.AsyncClient(**files.demands(), timeout=60) as client:
            answers = await asyncio.gather(*(client.get(server.url) for _ in range(8)))
            return [answer.status_code for answer in answers]

    assert asyncio.run(many()) == [200] * 8
    assert server.connections == 8
    assert 1 <= len(server.processor.asked) <= 8  # one report may be over many sessions


def test_the_verdict_is_at_the_answer(server: KeepServer, files: Files) -> None:
    with enarx.Client(**files.demands()) as client:
        verdict = client.get(server.url).extensions["network_stream"].get_extra_info("enarx.verdict")
    assert verdict.accepted
    assert {"key-binding", "session-binding", "session-guest"} <= {rule.name for rule in verdict.rules}


@pytest.mark.parametrize("setting", ["proxy", "transport", "mounts", "verify", "cert", "trust_env", "http2"])
@pytest.mark.parametrize("kind", [enarx.Client, enarx.AsyncClient])
def test_a_client_is_told_of_no_other_way_to_connect(kind: Any, setting: str, files: Files) -> None:
    with pytest.raises(UsageError) as caught:
        kind(**files.demands(), **{setting: None})
    assert caught.value.code == "usage-client"


def test_the_environment_names_no_proxy(server: KeepServer, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for get in (get_httpx, get_async, get_requests):
        assert get(server.url, files.demands())[0] == 200


def test_a_session_refuses_proxies_and_ignores_verify(server: KeepServer, files: Files, tmp_path: Path) -> None:
    with enarx.Session(**files.demands()) as session:
        assert session.get(server.url, verify=False, timeout=60).status_code == 200
        with pytest.raises(UsageError):
            session.get(server.url, proxies={"https": "http://127.0.0.1:1"}, timeout=60)
    refusing = client_files(tmp_path, text=policy_text().replace("ab" * 48, "cd" * 48))
    with enarx.Session(**refusing.demands()) as session, pytest.raises(PolicyError):
        session.get(server.url, verify=False, timeout=60)


def test_a_stream_that_is_cut_off_is_an_error(files: Files) -> None:
    """Without Content-Length the end of the stream is the end of the answer: whoever carries the bytes could cut it."""

    def cut(tls: ssl.SSLSocket, remember: Callable[[bytes], None]) -> None:
        remember(tls.recv(65536))
        tls.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npay 100")
        with contextlib.suppress(OSError):
            tls.shutdown(2)  # TCP's end without TLS's

    with KeepServer(workload=cut) as server:
        with pytest.raises(httpx.ReadError):
            get_httpx(server.url, files.demands())
        with pytest.raises(httpx.ReadError):
            get_async(server.url, files.demands())
        with pytest.raises(requests.RequestException):
            get_requests(server.url, files.demands())


def test_a_client_certificate_that_cannot_be_read_is_named(server: KeepServer, files: Files, tmp_path: Path) -> None:
    for get in (get_httpx, get_async, get_requests):
        with pytest.raises(ConfigError) as caught:
            get(server.url, files.demands(certificate=(str(tmp_path / "none.pem"), None)))
        assert caught.value.code == "client-certificate"


def test_files_that_cannot_be_read_are_named(files: Files, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        enarx.Client(policy=tmp_path / "none.toml")
    with pytest.raises(UsageError):
        enarx.Client(**files.demands(ca="sha256:12"))


def test_transports_can_be_given_to_ordinary_clients(server: KeepServer, files: Files) -> None:
    attestor = enarx.make_attestor(files.policy, manifest=files.manifest)
    with httpx.Client(transport=enarx.Transport(attestor)) as client:
        assert client.get(server.url).status_code == 200
    with requests.Session() as session:
        session.mount("https://", enarx.Adapter(attestor))
        assert session.get(server.url, timeout=60).status_code == 200

    async def get() -> int:
        async with httpx.AsyncClient(transport=enarx.AsyncTransport(attestor)) as concurrent:
            return (await concurrent.get(server.url)).status_code

    assert asyncio.run(get()) == 200
    assert len(server.processor.asked) == 3
