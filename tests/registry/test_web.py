"""Workloads at URLs, on plain servers and on a Drawbridge over TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from enarx.errors import EnarxError, RegistryError, UsageError
from enarx.mediatype import ENCRYPTED, PACKAGE, WASM
from enarx.registry import Access, Store
from enarx.registry.digest import digest_of
from enarx.registry.web import Web, Workload, parse_location
from tests.archives import pack
from tests.registry import drawbridges
from tests.registry.certificates import authority, make_authority
from tests.registry.common import Waits
from tests.registry.drawbridges import DIRECTORY, ENTRY, Drawbridge, Node
from tests.registry.serving import Exchange, Server, serving

MODULE = b"\0asm\1\0\0\0" + bytes(50_000)
CONFIG = b'args = ["a"]\n'
TAR = pack([("main.wasm", b"")])
SEALED = b"ENARXPKG" + bytes(100)
SLUG = "user/repo:1.0.0"
TAG = "/api/v0.1.0/user/repo/_tag/1.0.0"


@contextmanager
def over_tls(behaviour: Callable[[Exchange], None], directory: Path) -> Iterator[tuple[Server, Web]]:
    (directory / "ca.pem").write_bytes(authority().pem)
    access = Access(directory / "ca.pem")
    with serving(behaviour, directory) as server, Web(access, patience=Waits().patience()) as web:
        yield server, web


@pytest.fixture
def bridge() -> Drawbridge:
    drawbridge = Drawbridge()
    drawbridge.publish(SLUG, {"main.wasm": MODULE, "Enarx.toml": CONFIG})
    return drawbridge


def fetch(bridge: Callable[[Exchange], None], store: Store, directory: Path, path: str = "") -> Workload:
    with over_tls(bridge, directory) as (server, web):
        return web.fetch(f"{server.url}{path}" if path else f"{server.host}/{SLUG}", store)


def refusal(bridge: Callable[[Exchange], None], store: Store, directory: Path, path: str = "") -> EnarxError:
    with pytest.raises(EnarxError) as caught:
        fetch(bridge, store, directory, path)
    assert caught.value.hint
    return caught.value


# --- A Drawbridge


def test_a_slug_is_a_package_of_a_drawbridge(bridge: Drawbridge, store: Store, tmp_path: Path) -> None:
    found = fetch(bridge, store, tmp_path)
    assert found.path.read_bytes() == MODULE
    assert (found.media_type, found.digest, found.size, found.config) == (WASM, digest_of(MODULE), len(MODULE), CONFIG)


@pytest.mark.parametrize("path", [TAG, f"{TAG}/tree", f"{TAG}/tree/"])
def test_a_url_is_the_same(bridge: Drawbridge, store: Store, tmp_path: Path, path: str) -> None:
    bridge.nodes[f"{TAG}/tree/"] = bridge.nodes[f"{TAG}/tree"]
    assert fetch(bridge, store, tmp_path, path).config == CONFIG


def test_the_config_is_optional(store: Store, tmp_path: Path) -> None:
    bridge = Drawbridge()
    bridge.publish(SLUG, {"main.wasm": MODULE})
    assert fetch(bridge, store, tmp_path).config is None


def test_a_url_of_the_module_alone_has_no_config(bridge: Drawbridge, store: Store, tmp_path: Path) -> None:
    assert fetch(bridge, store, tmp_path, f"{TAG}/tree/main.wasm").config is None


def test_a_tag_may_be_of_a_module_alone(store: Store, tmp_path: Path) -> None:
    bridge = Drawbridge()
    bridge.nodes[TAG] = Node(drawbridges.encode(drawbridges.meta(MODULE, WASM)), ENTRY)
    bridge.nodes[f"{TAG}/tree"] = Node(MODULE, WASM)
    assert fetch(bridge, store, tmp_path).path.read_bytes() == MODULE


def test_a_drawbridge_whose_ca_was_not_named_is_refused(bridge: Drawbridge, store: Store, tmp_path: Path) -> None:
    (tmp_path / "other.pem").write_bytes(make_authority("another").pem)
    with (
        serving(bridge, tmp_path) as server,
        Web(Access(tmp_path / "other.pem")) as web,
        pytest.raises(RegistryError) as caught,
    ):
        web.fetch(f"{server.host}/{SLUG}", store)
    assert caught.value.code == "registry-certificate"
    assert server.seen == []


def test_only_what_is_public_is_asked_for(bridge: Drawbridge, store: Store, tmp_path: Path) -> None:
    with over_tls(bridge, tmp_path) as (server, web):
        web.fetch(f"{server.host}/{SLUG}", store)
        assert [one.split()[0] for one in server.seen] == ["GET"] * 4
        assert set(server.authorizations) == {None}
        with pytest.raises(RegistryError) as caught:
            web.fetch(f"{server.host}/user/private:1.0.0", store)
    assert caught.value.code == "registry-missing"


@pytest.mark.parametrize("path", [TAG, f"{TAG}/tree", f"{TAG}/tree/Enarx.toml", f"{TAG}/tree/main.wasm"])
def test_a_flipped_bit_is_a_hash_mismatch(bridge: Drawbridge, store: Store, tmp_path: Path, path: str) -> None:
    node = bridge.nodes[path]
    node.content_digest = drawbridges.content_digest(node.body)
    node.body = node.body[:-2] + bytes([node.body[-2] ^ 1]) + node.body[-1:]
    assert refusal(bridge, store, tmp_path).message.startswith("hash mismatch")
    assert not list((store.directory / "sha256").iterdir())


@pytest.mark.parametrize("algorithm", range(4))
def test_one_wrong_digest_of_four_is_a_hash_mismatch(
    bridge: Drawbridge, store: Store, tmp_path: Path, algorithm: int
) -> None:
    node = bridge.nodes[TAG]
    right, wrong = (drawbridges.content_digest(one).split(",") for one in (node.body, b"something else"))
    right[algorithm] = wrong[algorithm]
    node.content_digest = ",".join(right)
    assert refusal(bridge, store, tmp_path).code == "drawbridge-hash-mismatch"


def test_another_root_than_the_tags_is_refused(bridge: Drawbridge, store: Store, tmp_path: Path) -> None:
    other = Drawbridge()
    other.publish(SLUG, {"main.wasm": MODULE + b"x"})
    bridge.nodes[f"{TAG}/tree"] = other.nodes[f"{TAG}/tree"]
    bridge.nodes[f"{TAG}/tree/main.wasm"] = other.nodes[f"{TAG}/tree/main.wasm"]
    assert refusal(bridge, store, tmp_path).message == "tree root metadata does not match tag entry metadata"


@pytest.mark.parametrize("name", ["main.wasm", "Enarx.toml"])
def test_another_file_than_the_directorys_is_refused(
    bridge: Drawbridge, store: Store, tmp_path: Path, name: str
) -> None:
    bridge.nodes[f"{TAG}/tree/{name}"].body += b"\n"
    assert refusal(bridge, store, tmp_path).message == f"`{name}` metadata does not match directory entry metadata"


def test_fewer_digests_than_the_entry_has_are_refused(bridge: Drawbridge, store: Store, tmp_path: Path) -> None:
    node = bridge.nodes[f"{TAG}/tree/main.wasm"]
    node.content_digest = drawbridges.content_digest(node.body).split(",")[1]
    assert refusal(bridge, store, tmp_path).code == "drawbridge-metadata"


def test_a_directory_without_a_module_is_refused(store: Store, tmp_path: Path) -> None:
    bridge = Drawbridge()
    bridge.publish(SLUG, {"Enarx.toml": CONFIG})
    assert refusal(bridge, store, tmp_path).message == "directory does not contain `main.wasm`"


@pytest.mark.parametrize(("name", "media_type"), [("main.wasm", "text/plain"), ("Enarx.toml", "text/plain")])
def test_a_file_of_another_type_is_refused(store: Store, tmp_path: Path, name: str, media_type: str) -> None:
    bridge = Drawbridge()
    files = {"main.wasm": MODULE, "Enarx.toml": CONFIG}
    types = {"main.wasm": WASM, "Enarx.toml": "application/toml", name: media_type}
    root = drawbridges.encode({one: drawbridges.meta(files[one], types[one]) for one in sorted(files)})
    bridge.nodes[TAG] = Node(drawbridges.encode(drawbridges.meta(root, DIRECTORY)), ENTRY)
    bridge.nodes[f"{TAG}/tree"] = Node(root, DIRECTORY)
    for one in files:
        bridge.nodes[f"{TAG}/tree/{one}"] = Node(files[one], types[one])
    assert refusal(bridge, store, tmp_path).message == f"invalid `{name}` media type `text/plain`"


def test_a_tag_of_something_else_is_refused(store: Store, tmp_path: Path) -> None:
    bridge = Drawbridge()
    bridge.nodes[TAG] = Node(drawbridges.encode(drawbridges.meta(b"x", "text/plain")), ENTRY)
    assert refusal(bridge, store, tmp_path).code == "drawbridge-media-type"


def test_signed_tags_are_refused(bridge: Drawbridge, store: Store, tmp_path: Path) -> None:
    bridge.nodes[TAG].media_type = "application/jose+json"
    assert refusal(bridge, store, tmp_path).message == "signed tags are not currently supported"


@pytest.mark.parametrize("path", [TAG, f"{TAG}/tree", f"{TAG}/tree/Enarx.toml", f"{TAG}/tree/main.wasm"])
@pytest.mark.parametrize("header", ["Content_Digest", "Content_Type", "Content_Length"])
def test_an_answer_without_a_header_is_refused(
    bridge: Drawbridge, store: Store, tmp_path: Path, path: str, header: str
) -> None:
    def without(exchange: Exchange) -> None:
        if exchange.path == path:
            bridge.nodes[path].headers = {header: "", "Connection": "close"}
            exchange.close_connection = True
        bridge(exchange)

    assert refusal(without, store, tmp_path).code == "drawbridge-entry"


@pytest.mark.parametrize("digest", ["sha-256=:AAAA:", "md5=:AAAA:", "nonsense", "sha-512/256=:AAAA:"])
def test_an_answer_with_a_digest_that_is_none_is_refused(
    bridge: Drawbridge, store: Store, tmp_path: Path, digest: str
) -> None:
    bridge.nodes[TAG].content_digest = digest
    assert refusal(bridge, store, tmp_path).code == "drawbridge-digest"


@pytest.mark.parametrize(("name", "limit"), [("main.wasm", 100_000_000), ("Enarx.toml", 1_000_000)])
def test_what_is_said_to_be_too_large_is_not_asked_for(store: Store, tmp_path: Path, name: str, limit: int) -> None:
    bridge = Drawbridge()
    bridge.publish(SLUG, {"main.wasm": MODULE, "Enarx.toml": CONFIG})
    entries = {
        "Enarx.toml": drawbridges.meta(CONFIG, "application/toml"),
        "main.wasm": drawbridges.meta(MODULE, WASM),
    }
    entries[name]["length"] = limit + 1
    root = drawbridges.encode(entries)
    bridge.nodes[TAG] = Node(drawbridges.encode(drawbridges.meta(root, DIRECTORY)), ENTRY)
    bridge.nodes[f"{TAG}/tree"] = Node(root, DIRECTORY)
    with over_tls(bridge, tmp_path) as (server, web), pytest.raises(RegistryError) as caught:
        web.fetch(f"{server.host}/{SLUG}", store)
    assert caught.value.code == "registry-too-large"
    assert f"GET {TAG}/tree/{name}" not in server.seen


@pytest.mark.parametrize("path", [TAG, f"{TAG}/tree"])
def test_a_huge_document_is_refused(bridge: Drawbridge, store: Store, tmp_path: Path, path: str) -> None:
    bridge.nodes[path].body += b" " * 1_000_000
    code = refusal(bridge, store, tmp_path).code
    assert code in ("registry-too-large", "drawbridge-metadata")


def test_a_module_that_is_cut_is_fetched_again(bridge: Drawbridge, store: Store, tmp_path: Path) -> None:
    cut: list[bool] = []

    def once(exchange: Exchange) -> None:
        if exchange.path.endswith("main.wasm") and not cut:
            cut.append(True)
            exchange.send_response(200)
            for name, value in (
                ("Content-Length", str(len(MODULE))),
                ("Content-Type", WASM),
                ("Content-Digest", drawbridges.content_digest(MODULE)),
            ):
                exchange.send_header(name, value)
            exchange.end_headers()
            exchange.wfile.write(MODULE[:1000])
            exchange.close_connection = True
        else:
            bridge(exchange)

    assert fetch(once, store, tmp_path).path.read_bytes() == MODULE
    assert not list((store.directory / "partial").iterdir())


# --- Any server


@pytest.mark.parametrize(
    ("body", "said", "expected"),
    [
        (MODULE, "application/wasm", WASM),
        (MODULE, "application/wasm; charset=binary", WASM),
        (MODULE, "application/octet-stream", WASM),
        (TAR, "application/x-tar", PACKAGE),
        (TAR, "application/octet-stream", PACKAGE),
        (TAR, PACKAGE, PACKAGE),
        (SEALED, "application/octet-stream", ENCRYPTED),
        (SEALED, ENCRYPTED, ENCRYPTED),
    ],
)
def test_a_file_on_any_server_is_what_its_bytes_say(
    store: Store, tmp_path: Path, body: bytes, said: str, expected: str
) -> None:
    found = fetch(lambda e: e.answer(200, body, Content_Type=said), store, tmp_path, "/file")
    assert (found.media_type, found.digest, found.size) == (expected, digest_of(body), len(body))
    assert found.path.read_bytes() == body


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (TAR, "application/wasm"), (MODULE, PACKAGE), (TAR, ENCRYPTED), (b"", "application/wasm"),
        (b"<html>", "application/octet-stream"), (b"\0asn", "application/wasm"), (bytes(1024), "application/x-tar"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_it_is_said_to_be_is_refused(
    store: Store, tmp_path: Path, body: bytes, said: str
) -> None:
    error = refusal(lambda e: e.answer(200, body, Content_Type=said), store, tmp_path, "/file")
    assert error.code == "registry-artifact"
    assert not list(store.directory.glob("*/*"))


def test_a_page_is_no_workload(store: Store, tmp_path: Path) -> None:
    error = refusal(lambda e: e.answer(200, b"<html>", Content_Type="text/html"), store, tmp_path, "/file")
    assert error.code == "drawbridge-entry"


def test_a_file_without_a_length_is_read_to_its_end(store: Store, tmp_path: Path) -> None:
    def unbounded(exchange: Exchange) -> None:
        exchange.answer(200, MODULE, Content_Type=WASM, Content_Length="", Connection="close")
        exchange.close_connection = True

    assert fetch(unbounded, store, tmp_path, "/file").size == len(MODULE)


def test_a_file_without_an_end_is_left(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enarx.registry.drawbridge.MODULE_MAX_BYTES", 200_000)

    def endless(exchange: Exchange) -> None:
        exchange.answer(200, b"\0asm", Content_Type=WASM, Content_Length="", Connection="close")
        while True:
            exchange.wfile.write(bytes(65536))

    assert refusal(endless, store, tmp_path, "/file").code == "registry-too-large"
    assert not list(store.directory.glob("*/*"))


def test_a_file_with_a_wrong_digest_is_refused(store: Store, tmp_path: Path) -> None:
    digest = drawbridges.content_digest(b"something else")
    error = refusal(lambda e: e.answer(200, MODULE, Content_Type=WASM, Content_Digest=digest), store, tmp_path, "/file")
    assert error.code == "drawbridge-hash-mismatch"


def test_a_url_can_be_pinned(store: Store, tmp_path: Path) -> None:
    with over_tls(lambda e: e.answer(200, MODULE, Content_Type=WASM), tmp_path) as (server, web):
        pin = digest_of(MODULE).replace(":", "=")
        assert web.fetch(f"{server.url}/m.wasm#{pin}", store, require_digest=True).size == len(MODULE)
        with pytest.raises(RegistryError) as wrong:
            web.fetch(f"{server.url}/m.wasm#sha256={'0' * 64}", store)
        assert wrong.value.code == "registry-wrong-content"
        with pytest.raises(UsageError) as missing:
            web.fetch(f"{server.url}/m.wasm", store, require_digest=True)
        assert missing.value.code == "digest-required"
        with pytest.raises(UsageError):
            web.fetch(f"{server.host}/{SLUG}", store, require_digest=True)


def test_redirects_are_followed_but_not_away_from_tls(store: Store, tmp_path: Path) -> None:
    with serving(lambda e: e.answer(200, MODULE, Content_Type=WASM)) as plain:

        def redirect(exchange: Exchange) -> None:
            if exchange.path == "/here":
                exchange.answer(200, MODULE, Content_Type=WASM)
            else:
                exchange.answer(302, Location="/here" if exchange.path == "/there" else f"{plain.url}/here")

        assert fetch(redirect, store, tmp_path, "/there").size == len(MODULE)
        assert refusal(redirect, store, tmp_path, "/away").code == "registry-insecure"
        assert plain.seen == []


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("ftp://x/y", "scheme"), ("file:///x", "scheme"), ("oci://x/y", "scheme"),
        ("https://x/#sha256=00", "reference"),
        ("https://x/#", "reference"), ("https://u:p@x/", "reference"), ("https:///x", "reference"), ("x", "slug"),
        ("http://registry.example/x", "registry-insecure"),
    ],
)  # fmt: skip
def test_what_cannot_be_fetched_from_is_refused(store: Store, location: str, code: str) -> None:
    with Web() as web, pytest.raises(EnarxError) as caught:
        web.fetch(location, store)
    assert caught.value.code == code


def test_an_unsupported_scheme_is_said_as_it_always_was() -> None:
    with pytest.raises(UsageError) as caught:
        parse_location("ftp://x/y")
    assert caught.value.message == "unsupported scheme: ftp"
