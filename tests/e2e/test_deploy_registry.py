"""``enarx deploy`` from a real registry, from a server of files, and from a Drawbridge: encrypted and not."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from enarx.manifest import digest_of
from tests import programs, workloads
from tests.archives import Part, pack
from tests.e2e import peers
from tests.e2e.attested import SECRET, Tenant, tenant
from tests.e2e.command import STDIO, code_of, enarx, module
from tests.e2e.detached import user
from tests.keep.sealing import seal
from tests.registry.running import PASSWORD, USER, Running, htpasswd, registry

KEY = secrets.token_bytes(32)
SHOWS_SECRET: list[Part] = [
    ("Enarx.toml", f'{STDIO}[secret_env]\nPASSWORD = "password"\n'.encode()), ("main.wasm", programs.ENVIRON),
]  # fmt: skip
FILES_COMMAND = 'args = ["cat", "/page"]\n'
EXAMPLES = ("hello", "echo", "files")


def package_of(name: str) -> bytes:
    """An example as a package; its ports are any free ones."""
    text = workloads.example_config(name)
    parts: list[Part] = [("main.wasm", workloads.example(name).read_bytes())]
    if name == "files":
        text = FILES_COMMAND + text
        parts += [("files", None), ("files/page", b"a page\n")]
    return pack([("Enarx.toml", text.encode()), *parts])


@dataclass(frozen=True)
class Published:
    """A registry, and what a publisher with files in ``home`` has pushed there."""

    running: Running
    home: Path

    def reference(self, name: str, rest: str = ":1") -> str:
        return f"oci://{self.running.host}/test/{name}{rest}"

    def push(self, name: str, content: bytes, *options: str) -> str:
        """Push a package or a module: its pinned reference."""
        path = module(self.home, content, name)
        done = enarx("package", "push", path, self.reference(name), *options, cwd=self.home)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield Published(running, tmp_path_factory.mktemp("publisher"))


SEALED = seal(pack(SHOWS_SECRET), KEY)


@pytest.fixture(scope="module")
def sealed_examples() -> dict[str, bytes]:
    return {name: seal(package_of(name), KEY, chunk=1 << 16) for name in EXAMPLES}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory, sealed_examples: dict[str, bytes]) -> Iterator[Tenant]:
    accepted = (SEALED, *sealed_examples.values(), *map(package_of, EXAMPLES))
    with tenant(tmp_path_factory.mktemp("tenant"), *accepted, secrets={"package-key": KEY}) as found:
        yield found


# --- the examples


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_deployed_from_a_registry(
    name: str, encrypted: bool, published: Published, honest: Tenant, sealed_examples: dict[str, bytes]
) -> None:
    content = sealed_examples[name] if encrypted else package_of(name)
    pinned = published.push(f"{name}-{'sealed' if encrypted else 'plain'}", content)
    if name == "echo":
        serve_echo(pinned, honest)
        return
    done = enarx("deploy", pinned, *honest.options(), cwd=honest.home)
    expected = {"hello": b"Hello from inside a Keep!\n", "files": b"a page\n"}
    assert (done.returncode, done.stdout) == (0, expected[name]), done.stderr.decode()


def serve_echo(reference: str, honest: Tenant) -> None:
    """Detached, and with the certificate that the Steward gave."""
    with user(honest.home) as me:
        name = me.deploy(reference, *honest.options())
        facts = me.facts(name)
        assert (facts["resolved"], facts["evidence"]["source"]) == (reference, "simulated")
        tls, tcp = (int(endpoint.rpartition(":")[2]) for endpoint in facts["listening"])
        with peers.client(tcp, tls=False) as sock:
            assert peers.echoed(sock, b"hello") == b"hello"
        with peers.client(tls, tls=True) as sock:
            assert peers.echoed(sock, b"hello") == b"hello"
        assert me.enarx("stop", name).returncode == 0


def test_a_secret_arrives_from_a_registry_to_the_environment(published: Published, honest: Tenant) -> None:
    pinned = published.push("secret", SEALED)
    done = enarx("deploy", pinned, *honest.options(), cwd=honest.home)
    assert done.returncode == 0, done.stderr.decode()
    assert f"PASSWORD={SECRET}".encode() in done.stdout.split(b"\0")


def test_a_package_is_deployed_by_who_signed_it_and_not_unsigned(published: Published, tmp_path: Path) -> None:
    """Built, sealed, signed, published and deployed with the commands alone; the policy names no digest."""
    home = published.home
    (home / "app").mkdir()
    (home / "app" / "main.wasm").write_bytes(programs.ENVIRON)
    (home / "app" / "Enarx.toml").write_text(f'{STDIO}[secret_env]\nPASSWORD = "password"\n')

    def ours(*arguments: str) -> str:
        done = enarx(*arguments, cwd=home)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    ours("package", "build", "app", "-o", "app.package", "--encrypt", "--key-file", "app.key")
    ours("key", "package", "create", "--out", "signer.pem")
    ours("key", "package", "public", "signer.pem", "--out", "signer.pub")
    unsigned = ours("package", "push", "app.package", published.reference("unsigned")).strip()
    ours("package", "sign", "app.package", "--key", "signer.pem")
    signed = ours("package", "push", "app.package", published.reference("signed")).strip()
    with tenant(tmp_path, signer=home / "signer.pub", secrets={"app-key": (home / "app.key").read_bytes()}) as owner:
        refused = enarx("deploy", unsigned, *owner.options(), cwd=owner.home)
        assert (refused.returncode, code_of(refused.stderr), refused.stdout) == (1, "steward-refused", b"")
        assert b"sign" in refused.stderr
        done = enarx("deploy", signed, *owner.options(), cwd=owner.home)
    assert done.returncode == 0, done.stderr.decode()
    assert f"PASSWORD={SECRET}".encode() in done.stdout.split(b"\0")


def test_an_encrypted_package_without_a_steward_is_not_opened(published: Published, tmp_path: Path) -> None:
    done = enarx("deploy", published.push("shut", SEALED), cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr), done.stdout) == (1, "package-key", b"")


# --- references


def test_a_tag_is_resolved_to_a_digest_that_is_shown_and_can_be_deployed(published: Published, tmp_path: Path) -> None:
    content = pack([("main.wasm", programs.HELLO)])
    pinned = published.push("tagged", content)
    done = enarx("deploy", published.reference("tagged"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"ready\n")
    told = f"enarx: {published.reference('tagged')} -> {pinned} (package {digest_of(content)})\n"
    assert done.stderr.decode() == told
    again = enarx("deploy", "--require-digest", pinned, cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, b"ready\n")


def test_a_tag_is_refused_where_a_digest_is_required(published: Published, tmp_path: Path) -> None:
    published.push("untrusted", pack([("main.wasm", programs.HELLO)]))
    done = enarx("deploy", "--require-digest", published.reference("untrusted"), cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr), done.stdout) == (2, "digest-required", b"")


def test_a_module_in_the_layout_of_other_tools_is_deployed(published: Published, tmp_path: Path) -> None:
    pinned = published.push("bare.wasm", programs.HELLO, "--wasm")
    done = enarx("deploy", pinned, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"ready\n")
    assert "(WebAssembly module)" in done.stderr.decode()


@pytest.mark.parametrize("rest", ["/none:1", f"/test/tagged@sha256:{'0' * 64}"], ids=["repository", "digest"])
def test_what_is_not_there_is_said_to_be_missing(rest: str, published: Published, tmp_path: Path) -> None:
    done = enarx("deploy", f"oci://{published.running.host}{rest}", cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr)) == (1, "registry-manifest-missing")


def test_a_registry_that_is_not_there_fails_a_detached_command_too(tmp_path: Path) -> None:
    with user(tmp_path) as me:
        done = me.enarx("deploy", "-d", "--name", "x", "oci://127.0.0.1:1/test/none:1")
        assert (done.returncode, code_of(done.stderr)) == (1, "registry-unreachable")
        assert me.states() == {"x": "failed"}


def test_a_package_that_fits_the_tag_but_not_the_digest_of_the_policy_gets_no_key(
    published: Published, honest: Tenant
) -> None:
    """Whoever can push moves the tag; the Steward knows the digest, and the Keep never gets the key."""
    published.push("moved", SEALED)
    published.push("moved", seal(pack([("main.wasm", programs.HELLO)]), KEY))
    done = enarx("deploy", published.reference("moved"), *honest.options(), cwd=honest.home)
    assert (done.returncode, code_of(done.stderr), done.stdout) == (1, "steward-refused", b"")


def test_bytes_that_the_registry_changed_are_not_launched(published: Published, tmp_path: Path) -> None:
    content = pack([("main.wasm", programs.HELLO), ("files", None), ("files/x", b"changed")])
    pinned = published.push("changed", content)
    blob = published.running.blob_path(digest_of(content))
    blob.write_bytes(content[:-2000] + b"!" + content[-1999:])
    done = enarx("deploy", pinned, cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr), done.stdout) == (1, "registry-wrong-content", b"")


def test_a_second_deploy_takes_the_bytes_from_the_local_store(published: Published, tmp_path: Path) -> None:
    content = pack([("main.wasm", programs.HELLO), ("files", None), ("files/x", b"kept")])
    pinned = published.push("kept", content)
    assert enarx("deploy", pinned, cwd=tmp_path).returncode == 0
    published.running.blob_path(digest_of(content)).unlink()
    assert enarx("deploy", pinned, cwd=tmp_path).stdout == b"ready\n"
    shutil.rmtree(tmp_path / ".cache" / "enarx" / "blobs")
    assert enarx("deploy", pinned, cwd=tmp_path).returncode == 1


def test_a_private_registry_is_read_with_the_credentials_of_docker(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    path = module(tmp_path, pack([("main.wasm", programs.HELLO)]), "app.enarx")
    with registry(tmp_path / "registry", auth=htpasswd(tmp_path)) as running:
        reference = f"oci://{running.host}/test/x:1"
        done = enarx("deploy", reference, cwd=tmp_path)
        assert (done.returncode, code_of(done.stderr)) == (1, "registry-unauthorized")
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (tmp_path / ".docker").mkdir()
        (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {running.host: {"auth": token}}}))
        assert enarx("package", "push", path, reference, cwd=tmp_path).returncode == 0
        done = enarx("deploy", reference, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, b"ready\n"), done.stderr.decode()
        for secret in (PASSWORD, token):
            assert secret.encode() not in done.stdout + done.stderr


# --- URLs and Drawbridges


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A directory that is served over HTTP, on loopback, and its URL."""
    place = tmp_path_factory.mktemp("site")
    with serving(place) as url:
        yield place, url


@contextlib.contextmanager
def serving(place: Path, headers: Mapping[str, Mapping[str, str]] | None = None) -> Iterator[str]:
    """The URL of a server of files; ``headers`` are those for single paths, which then are all that there is."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(place))

        def do_GET(self) -> None:
            named = None if headers is None else headers.get(self.path)
            if named is None:
                super().do_GET()
                return
            body = (place / self.path.replace("/", "_")).read_bytes()
            self.send_response(200)
            for name, value in named.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("kind", ["module", "package"])
def test_a_url_of_a_file_is_deployed_and_can_be_pinned(kind: str, site: tuple[Path, str], tmp_path: Path) -> None:
    place, url = site
    content = programs.HELLO if kind == "module" else pack([("main.wasm", programs.HELLO)])
    name = "app.wasm" if kind == "module" else "app.enarx"
    module(place, content, name)
    pin = digest_of(content).replace(":", "=")
    for reference in (f"{url}/{name}", f"{url}/{name}#{pin}"):
        done = enarx("deploy", reference, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, b"ready\n"), done.stderr.decode()
        assert digest_of(content) in done.stderr.decode()
    done = enarx("deploy", f"{url}/{name}#sha256={'0' * 64}", cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr)) == (1, "registry-wrong-content")
    done = enarx("deploy", "--require-digest", f"{url}/{name}", cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr)) == (2, "digest-required")


def meta(content: bytes, media_type: str) -> dict[str, Any]:
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    return {"digest": {"sha-256": digest}, "length": len(content), "type": media_type}


def test_a_package_of_a_drawbridge_is_deployed_with_its_config(tmp_path: Path) -> None:
    """A tag, the tree below it, and in it a module and an Enarx.toml, as drawbridge 0.4.3 serves them."""
    top, place = "/api/v0.1.0/user/repo/_tag/1.0.0", tmp_path / "drawbridge"
    place.mkdir()
    text = f'args = ["from", "config"]\n{STDIO}'.encode()
    entries = {"Enarx.toml": meta(text, "application/toml"), "main.wasm": meta(programs.ARGS, "application/wasm")}
    tree = json.dumps(entries, separators=(",", ":")).encode()
    root = meta(tree, "application/vnd.drawbridge.directory.v1+json")
    bodies = {
        "": (json.dumps(root).encode(), "application/vnd.drawbridge.entry.v1+json"),
        "/tree": (tree, root["type"]), "/tree/main.wasm": (programs.ARGS, "application/wasm"),
        "/tree/Enarx.toml": (text, "application/toml"),
    }  # fmt: skip
    headers = {}
    for below, (body, media_type) in bodies.items():
        (place / f"{top}{below}".replace("/", "_")).write_bytes(body)
        digest = meta(body, "")["digest"]["sha-256"]
        headers[f"{top}{below}"] = {
            "Content-Type": media_type, "Content-Length": str(len(body)), "Content-Digest": f"sha-256=:{digest}:",
        }  # fmt: skip
    with serving(place, headers) as url:
        done = enarx("deploy", f"{url}{top}", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, b"main.wasm\0from\0config\0"), done.stderr.decode()
        (place / f"{top}/tree/main.wasm".replace("/", "_")).write_bytes(programs.ARGS[:-1] + b"x")
        shutil.rmtree(tmp_path / ".cache" / "enarx" / "blobs")
        done = enarx("deploy", f"{url}{top}", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, b"")
        assert "hash mismatch" in done.stderr.decode()


def test_a_slug_names_a_drawbridge_over_tls(tmp_path: Path) -> None:
    done = enarx("deploy", "127.0.0.1:1/user/repo:1.0.0", cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr)) == (1, "registry-unreachable")
