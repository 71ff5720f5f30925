"""Pulls from registries that lie, and from those that die."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from enarx.errors import RegistryError
from enarx.mediatype import PACKAGE
from enarx.registry import Registry, Store, parse_reference
from enarx.registry.digest import digest_of
from enarx.registry.layout import package_manifest
from enarx.registry.manifest import MANIFEST, MANIFEST_MAX_BYTES, Descriptor
from enarx.registry.pull import BLOB_MAX_BYTES
from enarx.registry.retry import Patience
from tests.registry.common import Waits, client, content, reference
from tests.registry.fake import FakeRegistry
from tests.registry.proxy import proxying
from tests.registry.running import Running, registry
from tests.registry.serving import Exchange, serving

DATA = os.urandom(3_000_000)


def refusal(fake: Callable[[Exchange], None], store: Store, digest: str = "", waits: Waits | None = None) -> str:
    """The code of the error of a pull."""
    with serving(fake) as server, client(waits=waits) as registry:
        where = parse_reference(f"oci://{server.host}/a/b:v1{'@' + digest if digest else ''}")
        with pytest.raises(RegistryError) as caught:
            registry.pull(where, store)
    assert caught.value.hint
    return caught.value.code


def whole(store: Store) -> list[str]:
    return [entry.name for entry in (store.directory / "sha256").iterdir() if entry.stat().st_size > 10_000]


def test_an_honest_fake_is_pulled_from(store: Store) -> None:
    fake = FakeRegistry(DATA)
    with serving(fake) as server, client() as registry:
        pulled = registry.pull(parse_reference(f"oci://{server.host}/a/b"), store)
    assert pulled.path.read_bytes() == DATA
    assert str(pulled.reference) == f"oci://{server.host}/a/b:latest@{fake.digest}"


# --- Registries that lie


def test_registry_with_wrong_bytes_is_found_out(store: Store) -> None:
    wrong = DATA[:-1] + bytes([DATA[-1] ^ 1])
    assert refusal(FakeRegistry(DATA, blob_answer=lambda e: e.answer(200, wrong)), store) == "registry-wrong-content"
    assert not whole(store)
    assert not list((store.directory / "partial").iterdir())


def test_registry_that_always_cuts_is_given_up_and_nothing_counts_as_whole(store: Store) -> None:
    waits = Waits()
    fake = FakeRegistry(DATA)
    fake.blob_answer = lambda exchange: fake.cut_blob(exchange, 1000)
    assert refusal(fake, store, waits=waits) == "registry-unreachable"
    assert not whole(store)
    assert len(fake.ranges) == 6
    assert len(waits.seconds) == 5


def test_registry_with_a_truncated_blob_is_found_out(store: Store) -> None:
    assert refusal(FakeRegistry(DATA, blob_answer=lambda e: e.answer(200, DATA[:-1])), store) == "registry-protocol"


def test_registry_with_a_longer_blob_is_found_out(store: Store) -> None:
    assert refusal(FakeRegistry(DATA, blob_answer=lambda e: e.answer(200, DATA + b"x")), store) == "registry-protocol"


def chunked(exchange: Exchange, body: bytes, ending: bytes = b"0\r\n\r\n") -> None:
    exchange.send_response(200)
    exchange.send_header("Transfer-Encoding", "chunked")
    exchange.end_headers()
    exchange.wfile.write(b"%x\r\n%s\r\n%s" % (len(body), body, ending))


def test_a_blob_in_chunks_is_pulled(store: Store) -> None:
    fake = FakeRegistry(DATA, blob_answer=lambda e: chunked(e, DATA))
    with serving(fake) as server, client() as registry:
        assert registry.pull(parse_reference(f"oci://{server.host}/a/b"), store).path.read_bytes() == DATA


def test_registry_with_a_longer_blob_in_chunks_is_found_out(store: Store) -> None:
    fake = FakeRegistry(DATA, blob_answer=lambda e: chunked(e, DATA, b"1\r\nx\r\n0\r\n\r\n"))
    assert refusal(fake, store) == "registry-protocol"


def test_registry_with_an_endless_blob_is_left(store: Store) -> None:
    def endless(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.send_header("Transfer-Encoding", "chunked")
        exchange.end_headers()
        while True:
            exchange.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    assert refusal(FakeRegistry(DATA, blob_answer=endless), store) == "registry-protocol"


def test_registry_with_a_wrong_digest_header_is_found_out(store: Store) -> None:
    fake = FakeRegistry(DATA)
    fake.manifest_answer = lambda e: e.answer(200, fake.manifest, Docker_Content_Digest="sha256:" + "0" * 64)
    assert refusal(fake, store) == "registry-wrong-digest"


def test_a_package_that_fits_the_tag_but_not_the_digest_is_refused(store: Store) -> None:
    asked = FakeRegistry(b"the package that was asked for")
    given = FakeRegistry(DATA)
    given.manifest_answer = lambda e: e.answer(200, given.manifest)
    assert refusal(given, store, asked.digest) == "registry-wrong-digest"
    given.manifest_answer = lambda e: e.answer(200, given.manifest, Docker_Content_Digest=asked.digest)
    assert refusal(given, store, asked.digest) == "registry-wrong-digest"


def test_registry_with_a_huge_manifest_is_refused_before_it_is_read(store: Store) -> None:
    fake = FakeRegistry(DATA)
    fake.manifest_answer = lambda e: e.answer(200, b"", Content_Length=str(MANIFEST_MAX_BYTES + 1))
    assert refusal(fake, store) == "registry-too-large"


def test_registry_with_an_endless_manifest_is_left(store: Store) -> None:
    def endless(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.send_header("Transfer-Encoding", "chunked")
        exchange.end_headers()
        while True:
            exchange.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    assert refusal(FakeRegistry(DATA, manifest_answer=endless), store) == "registry-too-large"


def test_a_manifest_of_the_largest_size_is_read_and_one_byte_more_is_not(store: Store) -> None:
    fake = FakeRegistry(DATA)
    exact = fake.manifest + b" " * (MANIFEST_MAX_BYTES - len(fake.manifest))
    fake.manifest_answer = lambda e: e.answer(200, exact)
    with serving(fake) as server, client() as registry:
        assert registry.resolve(parse_reference(f"oci://{server.host}/a/b")).size == MANIFEST_MAX_BYTES
    fake.manifest_answer = lambda e: chunked(e, exact + b" ")
    assert refusal(fake, store) == "registry-too-large"


@pytest.mark.parametrize("size", [BLOB_MAX_BYTES + 1, 2**63 - 1])
def test_a_blob_of_absurd_size_is_not_even_asked_for(store: Store, size: int) -> None:
    layer = Descriptor(PACKAGE, digest_of(DATA), size)
    fake = FakeRegistry(DATA, manifest=package_manifest(layer).encode())
    assert refusal(fake, store) == "registry-too-large"
    assert fake.ranges == []


def test_a_blob_larger_than_the_store_may_be_is_not_asked_for(tmp_path: Path) -> None:
    fake = FakeRegistry(DATA)
    assert refusal(fake, Store(tmp_path / "store", max_bytes=len(DATA) - 1)) == "store-bound"
    assert fake.ranges == []


def test_registry_with_content_that_is_encoded_is_refused(store: Store) -> None:
    """A compressed answer would be a bomb, or other bytes than those of the digest."""
    bomb = gzip.compress(bytes(len(DATA)))
    fake = FakeRegistry(DATA, blob_answer=lambda e: e.answer(200, bomb, Content_Encoding="gzip", Content_Length=""))
    assert refusal(fake, store) == "registry-protocol"


def test_registry_with_endless_redirects_is_left(store: Store) -> None:
    fake = FakeRegistry(DATA)
    with serving(fake) as server, client() as registry:
        fake.blob_answer = lambda e: e.answer(307, Location=f"{e.path.partition('?')[0]}?{len(server.seen)}")
        fake_path = f"blobs/{fake.layer.digest}"
        server.behaviour = lambda e: fake.blob_answer(e) if fake_path in e.path and fake.blob_answer else fake(e)
        with pytest.raises(RegistryError) as caught:
            registry.pull(parse_reference(f"oci://{server.host}/a/b"), store)
        assert caught.value.code == "registry-redirect"
        assert sum(fake_path in one for one in server.seen) == 6


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("", "registry-redirect"),
        ("ftp://127.0.0.1/", "registry-url"),
        ("http://user:password@127.0.0.1/", "registry-url"),
        ("http://[::1/", "registry-url"),
        ("http://127.0.0.1:99999/", "registry-url"),
        ("http://registry.example/", "registry-insecure"),
        ("file:///etc/passwd", "registry-url"),
        ("http://127.0.0.1/#fragment", "registry-url"),
        ("/" + "x" * 9000, "registry-url"),
    ],
)
def test_a_redirect_to_where_nothing_may_be_asked_is_refused(store: Store, location: str, code: str) -> None:
    fake = FakeRegistry(DATA, blob_answer=lambda e: e.answer(302, Location=location))
    assert refusal(fake, store) == code


def test_a_redirect_to_another_host_is_followed(store: Store) -> None:
    fake = FakeRegistry(DATA)
    with serving(fake) as elsewhere:
        redirecting = FakeRegistry(DATA, blob_answer=lambda e: e.answer(307, Location=f"{elsewhere.url}{e.path}"))
        with serving(redirecting) as server, client() as registry:
            assert registry.pull(parse_reference(f"oci://{server.host}/a/b"), store).path.read_bytes() == DATA


@pytest.mark.parametrize("status", [200, 404, 418])
def test_a_page_where_a_registry_should_be_is_refused(store: Store, status: int) -> None:
    page = b"<html><body>Please log in to the network</body></html>"
    code = refusal(lambda e: e.answer(status, page, Content_Type="text/html"), store)
    assert code == {200: "registry-manifest", 404: "registry-manifest-missing", 418: "registry-refused"}[status]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
    ],
)
def test_what_is_not_http_is_given_up(store: Store, answer: bytes) -> None:
    code = refusal(lambda exchange: exchange.raw(answer), store)
    assert code in ("registry-unreachable", "registry-protocol")


def test_two_lengths_are_refused(store: Store) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde"
    assert refusal(lambda exchange: exchange.raw(answer), store) == "registry-protocol"


def test_endless_interim_answers_end(store: Store) -> None:
    def endless(exchange: Exchange) -> None:
        while True:
            exchange.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

    assert refusal(endless, store) == "registry-unreachable"


def test_endless_trailers_end(store: Store) -> None:
    def endless(exchange: Exchange) -> None:
        chunked(exchange, b"{}", b"0\r\n")
        while True:
            exchange.wfile.write(b"X: y\r\n" * 1000)

    assert refusal(endless, store) == "registry-unreachable"


def test_a_silent_registry_is_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enarx.registry.guard.IDLE_SECONDS", 0.2)

    def silent(exchange: Exchange) -> None:
        exchange.rfile.read()

    assert refusal(silent, store) == "registry-unreachable"


def test_a_registry_that_drips_is_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enarx.registry.guard.GRACE_SECONDS", 0.2)
    monkeypatch.setattr("enarx.registry.guard.SLOWEST_BYTES_PER_SECOND", 1 << 30)

    def drip(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.send_header("Content-Length", str(len(DATA)))
        exchange.end_headers()
        for start in range(len(DATA)):
            exchange.wfile.write(DATA[start : start + 1])

    assert refusal(FakeRegistry(DATA, blob_answer=drip), store) == "registry-unreachable"


def test_a_head_that_drips_is_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enarx.registry.transport.ANSWER_SECONDS", 0.3)

    def drip(exchange: Exchange) -> None:
        exchange.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            exchange.wfile.write(b"y")

    assert refusal(drip, store) == "registry-unreachable"


# --- Resuming


def test_a_pull_that_is_cut_goes_on_where_it_was(store: Store) -> None:
    fake = FakeRegistry(DATA)

    def cut(exchange: Exchange) -> None:
        if len(fake.ranges) <= 2:
            fake.cut_blob(exchange, 1_000_000)
        else:
            fake.honest_blob(exchange)

    fake.blob_answer = cut
    with serving(fake) as server, client() as registry:
        assert registry.pull(parse_reference(f"oci://{server.host}/a/b"), store).path.read_bytes() == DATA
    assert fake.ranges == [None, "bytes=1000000-", "bytes=2000000-"]


def test_a_registry_that_sends_a_little_at_a_time_is_given_up(store: Store) -> None:
    fake = FakeRegistry(DATA)

    def little(exchange: Exchange) -> None:
        if len(fake.ranges) == 1:
            return fake.cut_blob(exchange, 1000)
        start = 1000 + len(fake.ranges) - 2
        return exchange.answer(206, DATA[start : start + 1], Content_Range=f"bytes {start}-{start}/{len(DATA)}")

    fake.blob_answer = little
    assert refusal(fake, store) == "registry-unreachable"
    assert len(fake.ranges) == 6


def test_a_pull_that_failed_is_gone_on_with_by_the_next(store: Store) -> None:
    fake = FakeRegistry(DATA)
    fake.blob_answer = lambda e: fake.cut_blob(e, 100_000)
    assert refusal(fake, store) == "registry-unreachable"
    (partial,) = (store.directory / "partial").iterdir()
    assert DATA.startswith(partial.read_bytes())
    had = partial.stat().st_size
    assert had >= 100_000
    fake.blob_answer, fake.ranges = None, []
    with serving(fake) as server, client() as registry:
        assert registry.pull(parse_reference(f"oci://{server.host}/a/b"), store).path.read_bytes() == DATA
    assert fake.ranges == [f"bytes={had}-"]
    assert not list((store.directory / "partial").iterdir())


def test_a_partial_download_that_was_changed_is_thrown_away_and_fetched_anew(store: Store) -> None:
    fake = FakeRegistry(DATA)
    (store.directory / "partial" / fake.layer.digest.removeprefix("sha256:")).write_bytes(b"something else")
    with serving(fake) as server, client() as registry:
        assert registry.pull(parse_reference(f"oci://{server.host}/a/b"), store).path.read_bytes() == DATA
    assert fake.ranges == ["bytes=14-", None]


def test_a_partial_download_of_the_whole_size_is_not_taken_for_whole(store: Store) -> None:
    fake = FakeRegistry(DATA)
    (store.directory / "partial" / fake.layer.digest.removeprefix("sha256:")).write_bytes(bytes(len(DATA)))
    with serving(fake) as server, client() as registry:
        assert registry.pull(parse_reference(f"oci://{server.host}/a/b"), store).path.read_bytes() == DATA


def test_a_partial_download_that_is_too_long_is_not_gone_on_with(store: Store) -> None:
    fake = FakeRegistry(DATA)
    (store.directory / "partial" / fake.layer.digest.removeprefix("sha256:")).write_bytes(DATA + b"x")
    with serving(fake) as server, client() as registry:
        assert registry.pull(parse_reference(f"oci://{server.host}/a/b"), store).path.read_bytes() == DATA
    assert fake.ranges == [None]


@pytest.mark.parametrize("status", [200, 416])
def test_a_registry_without_ranges_is_asked_for_all_of_it(store: Store, status: int) -> None:
    fake = FakeRegistry(DATA)

    def without(exchange: Exchange) -> None:
        if len(fake.ranges) == 1:
            fake.cut_blob(exchange, 100_000)
        elif status == 416 and fake.ranges[-1]:
            exchange.answer(416)
        else:
            exchange.answer(200, DATA)

    fake.blob_answer = without
    with serving(fake) as server, client() as registry:
        assert registry.pull(parse_reference(f"oci://{server.host}/a/b"), store).path.read_bytes() == DATA


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 0-2999999/3000000",
        "bytes 99999-2999999/3000000",
        "bytes 100000-2999999/3000001",
        "bytes 100000-3000000/3000000",
        "bytes 100000-99999/3000000",
        "bytes */3000000",
        "lines 1-2/3",
        "",
    ],
)
def test_a_registry_that_goes_on_somewhere_else_is_found_out(store: Store, content_range: str) -> None:
    fake = FakeRegistry(DATA)

    def lie(exchange: Exchange) -> None:
        if len(fake.ranges) == 1:
            fake.cut_blob(exchange, 100_000)
        else:
            exchange.answer(206, DATA[100_000:], Content_Range=content_range)

    fake.blob_answer = lie
    assert refusal(fake, store) == "registry-protocol"


def test_other_bytes_after_a_cut_are_found_out(store: Store) -> None:
    fake = FakeRegistry(DATA)

    def lie(exchange: Exchange) -> None:
        if len(fake.ranges) == 1:
            return fake.cut_blob(exchange, 100_000)
        size = len(DATA)
        if fake.ranges[-1]:
            return exchange.answer(206, bytes(size - 100_000), Content_Range=f"bytes 100000-{size - 1}/{size}")
        return exchange.answer(200, bytes(size))

    fake.blob_answer = lie
    assert refusal(fake, store) == "registry-wrong-content"
    assert fake.ranges == [None, "bytes=100000-", None]


# --- Waiting


def test_a_busy_registry_is_asked_again_after_the_time_that_it_names(store: Store) -> None:
    waits = Waits()
    fake = FakeRegistry(DATA)
    answers = iter([(429, "7"), (503, ""), (502, "86400"), (500, "soon")])

    def busy(exchange: Exchange) -> None:
        status, after = next(answers, (0, ""))
        if status:
            exchange.answer(status, Retry_After=after)
        else:
            fake.honest_manifest(exchange)

    fake.manifest_answer = busy
    with serving(fake) as server, client(waits=waits) as registry:
        registry.pull(parse_reference(f"oci://{server.host}/a/b"), store)
    assert waits.seconds == [7.0, 0.375, 60.0, 1.5]


def test_waits_grow_and_are_bounded_and_then_it_is_over(store: Store) -> None:
    waits = Waits()
    assert refusal(lambda e: e.answer(503), store, waits=waits) == "registry-unreachable"
    assert waits.seconds == [0.1875, 0.375, 0.75, 1.5, 3.0]


def test_a_refusal_is_not_asked_again(store: Store) -> None:
    waits = Waits()
    assert refusal(lambda e: e.answer(403), store, waits=waits) == "registry-denied"
    assert waits.seconds == []


# --- A real registry that dies


def test_a_pull_through_a_connection_that_breaks_goes_on(plain_registry: Running, store: Store, tmp_path: Path) -> None:
    where, package = reference(plain_registry.host), content(tmp_path, 8 << 20)
    with client() as registry:
        pushed = registry.push_package(where, package, PACKAGE)
    passed = 0

    def down(data: bytes) -> bool:
        nonlocal passed
        passed += len(data)
        return proxy.broken < 3 and passed > (proxy.broken + 1) * (2 << 20)

    with proxying(plain_registry.host, down=down) as proxy, client() as registry:
        pulled = registry.pull(parse_reference(f"oci://{proxy.host}/{where.repository}:v1"), store)
    assert pulled.manifest.digest == pushed.digest
    assert pulled.path.read_bytes() == package.read_bytes()
    assert proxy.broken == 3
    assert proxy.received < (9 << 20)  # nothing was fetched twice but what was under way


def test_a_pull_goes_on_when_the_registry_was_killed_and_is_back(store: Store, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    package = content(tmp_path, 8 << 20)
    with registry(tmp_path / "r") as first, client() as pusher:
        where = reference(first.host)
        pusher.push_package(where, package, PACKAGE)
        passed = 0

        def down(data: bytes) -> bool:
            nonlocal passed
            passed += len(data)
            if passed > (3 << 20) and first.process.poll() is None:
                first.process.kill()
                first.process.wait()
                return True
            return False

        revived: list[Running] = []

        with ExitStack() as stack, proxying(first.host, down=down) as proxy:

            def sleep(_: float) -> None:
                if not revived:
                    revived.append(stack.enter_context(registry(tmp_path / "r")))
                    proxy.target = revived[0].host

            with Registry(patience=Patience(sleep, lambda: 0.5)) as puller:
                pulled = puller.pull(parse_reference(f"oci://{proxy.host}/{where.repository}:v1"), store)
    assert pulled.path.read_bytes() == package.read_bytes()
    assert len(revived) == 1
    assert proxy.received < (9 << 20)


def test_manifest_types_are_asked_for_by_name(store: Store) -> None:
    accepted: list[str | None] = []
    fake = FakeRegistry(DATA)

    def note(exchange: Exchange) -> None:
        accepted.append(exchange.headers.get("Accept"))
        fake.honest_manifest(exchange)

    fake.manifest_answer = note
    with serving(fake) as server, client() as registry:
        registry.resolve(parse_reference(f"oci://{server.host}/a/b"))
    assert accepted == [f"{MANIFEST}, application/vnd.oci.image.index.v1+json"]
