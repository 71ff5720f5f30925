"""Pushes to registries that break off, forget and lie."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from enarx.errors import EnarxError, RegistryError, UsageError
from enarx.mediatype import PACKAGE
from enarx.registry import Registry, Store, parse_reference
from enarx.registry.push import Content
from enarx.registry.retry import Patience
from tests.registry.common import Waits, client, content, reference
from tests.registry.fake import UploadRegistry
from tests.registry.proxy import proxying
from tests.registry.running import Running, registry
from tests.registry.serving import Exchange, serving

PART = 1 << 20
SIZE = 5 * PART + 17


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enarx.registry.push.PART_BYTES", PART)


def digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def push(fake: UploadRegistry, package: Path, waits: Waits | None = None) -> list[str]:
    """Push, see that the registry has it, and return the methods that were used on the upload."""
    with serving(fake) as server, client(waits=waits) as registry:
        registry.push_package(parse_reference(f"oci://{server.host}/a/b"), package, PACKAGE)
        methods = [one.split()[0] for one in server.seen if "/uploads/" in one]
    assert fake.blobs[digest(package)] == package.read_bytes()
    return methods[2:]  # without those of the empty config


def refusal(fake: UploadRegistry, package: Path, waits: Waits | None = None) -> EnarxError:
    with serving(fake) as server, client(waits=waits) as registry, pytest.raises(EnarxError) as caught:
        registry.push_package(parse_reference(f"oci://{server.host}/a/b"), package, PACKAGE)
    assert not fake.manifests
    return caught.value


@pytest.mark.parametrize(
    ("size", "methods"),
    [
        (0, ["POST", "PUT"]),
        (PART, ["POST", "PUT"]),
        (PART + 1, ["POST", "PATCH", "PUT"]),
        (2 * PART, ["POST", "PATCH", "PUT"]),
        (SIZE, ["POST", *["PATCH"] * 5, "PUT"]),
    ],
)
def test_a_blob_is_pushed_in_parts(tmp_path: Path, size: int, methods: list[str]) -> None:
    assert push(UploadRegistry(), content(tmp_path, size)) == methods


def test_a_push_to_a_real_registry_in_parts(plain_registry: Running, store: Store, tmp_path: Path) -> None:
    where, package = reference(plain_registry.host), content(tmp_path, SIZE)
    with client() as registry:
        registry.push_package(where, package, PACKAGE)
        assert registry.pull(where, store).path.read_bytes() == package.read_bytes()


def test_parts_are_no_smaller_than_the_registry_wants(tmp_path: Path) -> None:
    fake = UploadRegistry(headers={"OCI-Chunk-Min-Length": str(3 * PART)})
    assert push(fake, content(tmp_path, SIZE)) == ["POST", "PATCH", "PUT"]


@pytest.mark.parametrize("status", [400, 405, 411, 413, 416, 501])
def test_a_registry_that_takes_no_parts_gets_the_whole(tmp_path: Path, status: int) -> None:
    def before(exchange: Exchange) -> bool:
        if exchange.command == "PATCH":
            exchange.body()
            exchange.answer(status)
        return exchange.command == "PATCH"

    assert push(UploadRegistry(before), content(tmp_path, SIZE)) == ["POST", "PATCH", "POST", "PUT"]


# --- Broken off


def test_an_upload_that_breaks_off_within_a_part_goes_on_at_that_byte(tmp_path: Path) -> None:
    """As the specification has it: the registry is asked how much it has."""
    broken: list[int] = []

    def before(exchange: Exchange) -> bool:
        number = exchange.path.rpartition("/")[2]
        if exchange.command != "PATCH" or len(fake.uploads[number]) < 2 * PART or broken:
            return False
        fake.receive(exchange, fake.uploads[number], PART // 2)
        broken.append(len(fake.uploads[number]))
        exchange.hang_up()
        return True

    fake = UploadRegistry(before)
    methods = push(fake, content(tmp_path, SIZE))
    assert broken == [2 * PART + PART // 2]
    assert fake.received == SIZE + 2
    assert methods == ["POST", *["PATCH"] * 3, "GET", *["PATCH"] * 2, "PUT"]


def test_an_upload_that_breaks_off_in_its_last_request_goes_on(tmp_path: Path) -> None:
    broken: list[bool] = []

    def before(exchange: Exchange) -> bool:
        upload = fake.uploads.get(exchange.path.partition("?")[0].rpartition("/")[2], b"")
        if exchange.command != "PUT" or len(upload) < PART or broken:
            return False
        broken.append(True)
        assert isinstance(upload, bytearray)
        fake.receive(exchange, upload, 5)
        exchange.hang_up()
        return True

    fake = UploadRegistry(before)
    assert push(fake, content(tmp_path, SIZE))[-3:] == ["PUT", "GET", "PUT"]
    assert fake.received == SIZE + 2


def test_an_answer_that_got_lost_is_not_cause_to_send_again(tmp_path: Path) -> None:
    lost: list[bool] = []

    def before(exchange: Exchange) -> bool:
        if lost or exchange.command != "PUT" or "/manifests/" in exchange.path or len(fake.blobs) == 0:
            return False
        lost.append(True)
        fake.blobs[digest(package)] = package.read_bytes()
        exchange.body()
        exchange.hang_up()
        return True

    fake, package = UploadRegistry(before), content(tmp_path, 1000)
    assert push(fake, package) in (["POST", "PUT"], ["POST", "PUT", "GET"])


def test_an_upload_that_the_registry_forgot_begins_again(tmp_path: Path) -> None:
    forgot: list[bool] = []

    def before(exchange: Exchange) -> bool:
        number = exchange.path.rpartition("/")[2]
        if exchange.command == "PATCH" and len(fake.uploads[number]) >= 2 * PART and not forgot:
            forgot.append(True)
            fake.uploads[number] = bytearray()
            exchange.hang_up()
            return True
        if exchange.command == "GET" and forgot:
            exchange.answer(404)
            return True
        return False

    fake = UploadRegistry(before)
    methods = push(fake, content(tmp_path, SIZE))
    assert methods == ["POST", *["PATCH"] * 3, "GET", "POST", *["PATCH"] * 5, "PUT"]


def test_a_registry_that_has_less_of_a_part_than_was_sent_is_sent_the_rest(tmp_path: Path) -> None:
    def before(exchange: Exchange) -> bool:
        number = exchange.path.rpartition("/")[2]
        if exchange.command != "PATCH":
            return False
        upload = fake.uploads[number]
        body = exchange.body()
        upload += body[: PART // 2 + 1]
        exchange.answer(202, Location=exchange.path, Range=f"0-{len(upload) - 1}")
        return True

    fake = UploadRegistry(before)
    assert push(fake, content(tmp_path, SIZE)).count("PATCH") == 9


@pytest.mark.parametrize("claimed", [SIZE * 2, 0])
def test_a_registry_that_claims_to_have_what_it_was_not_sent_is_found_out(tmp_path: Path, claimed: int) -> None:
    parts: list[bool] = []

    def before(exchange: Exchange) -> bool:
        if exchange.command != "PATCH":
            return False
        exchange.body()
        parts.append(True)
        honest = len(parts) == 1
        exchange.answer(202, Location=exchange.path, Range=f"0-{PART - 1 if honest else claimed}")
        return True

    assert refusal(UploadRegistry(before), content(tmp_path, SIZE)).code == "registry-protocol"


@pytest.mark.parametrize("taken", [0, 2])
def test_a_registry_that_takes_next_to_nothing_of_each_part_is_given_up(tmp_path: Path, taken: int) -> None:
    def before(exchange: Exchange) -> bool:
        if exchange.command != "PATCH":
            return False
        upload = fake.uploads[exchange.path.rpartition("/")[2]]
        upload += exchange.body()[:taken]
        exchange.answer(202, Location=exchange.path, Range=f"0-{max(0, len(upload) - 1)}")
        return True

    waits = Waits()
    fake = UploadRegistry(before)
    assert refusal(fake, content(tmp_path, SIZE), waits).code == "registry-unreachable"
    assert len(waits.seconds) == 5


def test_a_registry_that_never_gets_any_further_is_given_up(tmp_path: Path) -> None:
    def before(exchange: Exchange) -> bool:
        if exchange.command == "PATCH":
            exchange.hang_up()
        return exchange.command == "PATCH"

    waits = Waits()
    assert refusal(UploadRegistry(before), content(tmp_path, SIZE), waits).code == "registry-unreachable"
    assert len(waits.seconds) == 5


def test_a_registry_that_keeps_forgetting_is_given_up(tmp_path: Path) -> None:
    def before(exchange: Exchange) -> bool:
        if exchange.command == "PUT" and "uploads" in exchange.path and len(fake.blobs):
            exchange.body()
            exchange.answer(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"upload unknown"}]}')
            return True
        return False

    fake = UploadRegistry(before)
    error = refusal(fake, content(tmp_path, 1000))
    assert error.code == "registry-unreachable"
    assert "BLOB_UPLOAD_UNKNOWN" in error.message


def test_a_registry_that_received_something_else_ends_the_push(tmp_path: Path) -> None:
    def before(exchange: Exchange) -> bool:
        if exchange.command == "PUT" and "uploads" in exchange.path and len(fake.blobs):
            exchange.body()
            exchange.answer(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"digest invalid"}]}')
            return True
        return False

    waits = Waits()
    fake = UploadRegistry(before)
    assert refusal(fake, content(tmp_path, 1000), waits).code == "registry-refused"
    assert waits.seconds == []


@pytest.mark.parametrize(
    ("location", "code"),
    [(None, "registry-protocol"), ("ftp://x/", "registry-url"), ("http://registry.example/u", "registry-insecure")],
)
def test_an_upload_goes_nowhere_where_nothing_may_be_sent(tmp_path: Path, location: str | None, code: str) -> None:
    def before(exchange: Exchange) -> bool:
        if exchange.command == "POST":
            exchange.answer(202, Location=location or "")
        return exchange.command == "POST"

    assert refusal(UploadRegistry(before), content(tmp_path, 10)).code == code


@pytest.mark.parametrize("status", [301, 307, 403, 413])
def test_a_refused_upload_is_not_tried_again(tmp_path: Path, status: int) -> None:
    def before(exchange: Exchange) -> bool:
        if exchange.command == "PUT":
            exchange.body()
            exchange.answer(status, Location="/elsewhere")
        return exchange.command == "PUT"

    waits = Waits()
    error = refusal(UploadRegistry(before), content(tmp_path, 10), waits)
    assert error.code in ("registry-refused", "registry-denied")
    assert waits.seconds == []


def test_a_registry_that_refuses_before_it_has_read_is_heard(tmp_path: Path) -> None:
    """It answers and hangs up while the body is still being sent."""

    def before(exchange: Exchange) -> bool:
        if exchange.command == "PUT" and int(exchange.headers["Content-Length"]) > 2:
            exchange.answer(403, b'{"errors":[{"code":"DENIED","message":"quota exceeded"}]}', Connection="close")
            exchange.close_connection = True
        return exchange.command == "PUT" and int(exchange.headers["Content-Length"]) > 2

    fake = UploadRegistry(before)
    error = refusal(fake, content(tmp_path, PART))
    # A reset may overtake the answer: then there is nothing to hear, and the push is tried again in vain.
    assert error.code in ("registry-denied", "registry-unreachable")


def test_a_stored_manifest_of_another_digest_is_found_out(tmp_path: Path) -> None:
    def before(exchange: Exchange) -> bool:
        if "/manifests/" in exchange.path:
            exchange.body()
            exchange.answer(201, Docker_Content_Digest="sha256:" + "0" * 64)
        return "/manifests/" in exchange.path

    assert refusal(UploadRegistry(before), content(tmp_path, 10)).code == "registry-wrong-digest"


# --- A real registry that dies


def test_a_push_whose_connection_breaks_between_parts_goes_on(
    plain_registry: Running, store: Store, tmp_path: Path
) -> None:
    where, package = reference(plain_registry.host), content(tmp_path, SIZE)

    def up(data: bytes) -> bool:
        return proxy.requests.count("PATCH") == 4 and data.startswith(b"PATCH ") and not proxy.broken

    with proxying(plain_registry.host, up=up) as proxy, client() as registry:
        registry.push_package(parse_reference(f"oci://{proxy.host}/{where.repository}:v1"), package, PACKAGE)
        assert registry.pull(where, store).path.read_bytes() == package.read_bytes()
    assert proxy.broken == 1
    assert proxy.sent < SIZE + 20_000  # each part went over once
    assert proxy.requests.count("POST") == 2


def test_a_push_whose_connection_breaks_within_a_part_can_be_repeated(
    plain_registry: Running, store: Store, tmp_path: Path
) -> None:
    """docker-registry 2.8 forgets an upload that broke off within a part: it begins again, by itself."""
    where, package = reference(plain_registry.host), content(tmp_path, SIZE)

    def up(data: bytes) -> bool:
        return not proxy.broken and proxy.sent > 2 * PART + PART // 2

    with proxying(plain_registry.host, up=up) as proxy, client() as registry:
        registry.push_package(parse_reference(f"oci://{proxy.host}/{where.repository}:v1"), package, PACKAGE)
        assert registry.pull(where, store).path.read_bytes() == package.read_bytes()
    assert proxy.broken == 1


def test_a_push_goes_on_when_the_registry_was_killed_and_is_back(store: Store, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    package = content(tmp_path, SIZE)
    revived: list[Running] = []
    with ExitStack() as stack:
        first = stack.enter_context(registry(tmp_path / "r"))

        def up(data: bytes) -> bool:
            if proxy.requests.count("PATCH") == 3 and first.process.poll() is None:
                first.process.kill()
                first.process.wait()
                return True
            return False

        def sleep(_: float) -> None:
            if not revived:
                revived.append(stack.enter_context(registry(tmp_path / "r")))
                proxy.target = revived[0].host

        proxy = stack.enter_context(proxying(first.host, up=up))
        where = parse_reference(f"oci://{proxy.host}/a/b:v1")
        with Registry(patience=Patience(sleep, lambda: 0.5)) as pusher:
            pusher.push_package(where, package, PACKAGE)
            assert pusher.pull(where, store).path.read_bytes() == package.read_bytes()
    assert len(revived) == 1


def test_a_push_that_was_interrupted_can_be_repeated(plain_registry: Running, store: Store, tmp_path: Path) -> None:
    where, package = reference(plain_registry.host), content(tmp_path, SIZE)

    def interrupt(what: str, done: int, total: int) -> None:
        if done > 2 * PART:
            raise KeyboardInterrupt

    with client(progress=interrupt) as registry, pytest.raises(KeyboardInterrupt):
        registry.push_package(where, package, PACKAGE)
    with client() as registry:
        with pytest.raises(RegistryError) as caught:
            registry.resolve(where)
        assert caught.value.code == "registry-manifest-missing"
        registry.push_package(where, package, PACKAGE)
        assert registry.pull(where, store).path.read_bytes() == package.read_bytes()


# --- What is pushed


@pytest.mark.parametrize("name", ["missing", "", "directory", "pipe", "nul\0"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError) as caught, Content(f"{tmp_path}/{name}", PACKAGE):
        pass
    assert caught.value.code == "file-unreadable"


def test_a_file_that_becomes_shorter_meanwhile_is_refused(tmp_path: Path) -> None:
    package = content(tmp_path, 10_000)
    with Content(package, PACKAGE) as opened:
        package.write_bytes(b"short")
        with pytest.raises(UsageError) as caught:
            list(opened.blocks(0, opened.size))
    assert caught.value.code == "file-unreadable"


def test_a_file_that_is_changed_meanwhile_is_not_pushed(plain_registry: Running, tmp_path: Path) -> None:
    where, package = reference(plain_registry.host), content(tmp_path, SIZE)

    def change(what: str, done: int, total: int) -> None:
        if total == SIZE and done == PART:
            with package.open("r+b") as file:
                file.seek(SIZE - 1)
                file.write(b"x" if package.read_bytes()[-1:] != b"x" else b"y")

    with client(progress=change) as registry:
        with pytest.raises(RegistryError) as caught:
            registry.push_package(where, package, PACKAGE)
        assert caught.value.code == "registry-refused"
        assert "DIGEST_INVALID" in caught.value.message
