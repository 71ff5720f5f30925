"""``enarx deploy`` of files: modules, directories and packages, with the examples as workloads."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx.manifest import digest_of
from tests import programs, workloads
from tests.archives import Part, pack
from tests.e2e import peers
from tests.e2e.attested import SECRET, Tenant, tenant
from tests.e2e.command import STDIO, code_of, config, enarx, environment, module, running
from tests.e2e.detached import user
from tests.keep.sealing import seal

PACKAGE: list[Part] = [("Enarx.toml", STDIO.encode()), ("main.wasm", programs.HELLO)]
KEY = secrets.token_bytes(32)


def directory(place: Path, content: bytes, text: str = STDIO) -> Path:
    found = place / "package"
    found.mkdir()
    module(found, content, "main.wasm")
    config(found, text)
    return found


@pytest.mark.parametrize("status", [0, 7])
def test_a_module_is_run_and_its_digest_is_shown(status: int, tmp_path: Path) -> None:
    content = programs.exiting(status)
    path = module(tmp_path, content)
    done = enarx("deploy", path.as_uri(), cwd=tmp_path)
    assert done.returncode == status
    told = f"enarx: {path.as_uri()} -> {digest_of(content)} (WebAssembly module)\n"
    assert done.stderr.decode() == told


def test_a_module_has_the_standard_streams_and_no_config_of_its_neighbourhood(tmp_path: Path) -> None:
    config(tmp_path, 'args = ["from", "config"]\n')
    done = enarx("deploy", module(tmp_path, programs.CAT).as_uri(), cwd=tmp_path, data=b"through")
    assert (done.returncode, done.stdout) == (0, b"through")


def test_a_directory_is_run_with_its_config_and_its_files(tmp_path: Path) -> None:
    found = directory(tmp_path, programs.CAT_FILE, f'args = ["below/page"]\n{STDIO}')
    (found / "files" / "below").mkdir(parents=True)
    (found / "files" / "below" / "page").write_text("a page")
    done = enarx("deploy", found.as_uri(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"a page"), done.stderr.decode()


def test_a_package_is_run_with_what_is_in_it(tmp_path: Path) -> None:
    parts: list[Part] = [
        ("Enarx.toml", f'args = ["page"]\n{STDIO}'.encode()), ("main.wasm", programs.CAT_FILE), ("files", None),
        ("files/page", b"a page of the package"),
    ]  # fmt: skip
    path = module(tmp_path, pack(parts), "app.enarx")
    done = enarx("deploy", path.as_uri(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"a page of the package"), done.stderr.decode()
    assert f"{digest_of(path.read_bytes())} (package)" in done.stderr.decode()


def test_a_path_in_a_url_may_be_relative_and_escaped(tmp_path: Path) -> None:
    module(tmp_path, programs.HELLO, "a name%20.wasm")
    assert enarx("deploy", "file://./a%20name%2520.wasm", cwd=tmp_path).stdout == b"ready\n"


@pytest.mark.parametrize("missing", ["main.wasm", "Enarx.toml"])
def test_a_directory_without_module_or_config_is_no_package(missing: str, tmp_path: Path) -> None:
    found = directory(tmp_path, programs.HELLO)
    (found / missing).unlink()
    done = enarx("deploy", found.as_uri(), cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr), done.stdout) == (1, "package-not-found", b"")
    assert f"no Enarx package or WASM module found at {found}: there is no {missing} in it" in done.stderr.decode()


@pytest.mark.parametrize("content", [b"", b"\0as", b"#!/bin/sh\n", b"main.wasm" + bytes(503), b"PK\3\4" + bytes(600)])
def test_a_file_that_is_nothing_of_ours_is_not_handed_to_a_keep(content: bytes, tmp_path: Path) -> None:
    done = enarx("deploy", module(tmp_path, content).as_uri(), cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr)) == (1, "package-not-found")


@pytest.mark.parametrize("kind", ["nothing", "fifo", "device", "loop"])
def test_what_is_no_regular_file_is_no_package_and_nobody_waits_for_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "app.wasm"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    done = enarx("deploy", path.as_uri(), cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr)) == (1, "package-not-found")


def test_a_path_is_a_slug_with_a_hint_for_those_who_meant_the_file(tmp_path: Path) -> None:
    path = module(tmp_path, programs.HELLO)
    done = enarx("deploy", "app.wasm", cwd=tmp_path)
    assert done.returncode == 2
    assert f"enarx deploy {path.as_uri()}" in done.stderr.decode()


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("ftp://example.com/app.wasm", "unsupported scheme: ftp"),
        ("data:/x", "unsupported scheme: data"),
        ("file://other.example.com/app.wasm", "does not name a file of this machine"),
        ("file:///app.wasm?x", "does not name a file of this machine"),
        ("file:///app.wasm#x", "not a digest"),
        ("oci://example.com", "no repository"),
        ("", "no reference"),
        ("app.wasm", "Missing `:` in tag specification: app.wasm"),
        ("repo:1.0.0", "Missing `/` in repository specification: repo"),
    ],
)
def test_a_reference_that_names_nothing_is_wrong_usage(reference: str, said: str, tmp_path: Path) -> None:
    done = enarx("deploy", reference, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr.decode()


@pytest.mark.parametrize(
    "options",
    [["--require-digest"], ["--name", "web"], ["--backend", "none"], ["--allow", "listen:1"], ["-d", "--name", "-"]],
)
def test_options_that_do_not_fit_are_wrong_usage(options: list[str], tmp_path: Path) -> None:
    path = module(tmp_path, programs.HELLO)
    done = enarx("deploy", path.as_uri(), *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b""), done.stderr.decode()


def test_a_signature_that_is_too_large_to_be_one_is_named(tmp_path: Path) -> None:
    path = module(tmp_path, pack(PACKAGE), "app.enarx")
    (tmp_path / "app.enarx.sig").write_bytes(bytes((64 << 10) + 1))
    done = enarx("deploy", path.as_uri(), cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr)) == (1, "file-too-large")
    assert b"app.enarx.sig" in done.stderr


def test_a_signature_beside_a_package_goes_with_it(tmp_path: Path) -> None:
    path = module(tmp_path, pack(PACKAGE), "app.enarx")
    (tmp_path / "app.enarx.sig").write_bytes(b"{}")
    (tmp_path / "app.enarx.sigstore.json").write_bytes(b"{}")
    done = enarx("deploy", path.as_uri(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"ready\n"), done.stderr.decode()


# --- the examples


def example(name: str, place: Path) -> Path:
    """An example as the directory that is deployed; every port is any free one."""
    return directory(place, workloads.example(name).read_bytes(), workloads.example_config(name))


def test_the_hello_example_is_deployed(tmp_path: Path) -> None:
    done = enarx("deploy", example("hello", tmp_path).as_uri(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"Hello from inside a Keep!\n")


def test_the_files_example_is_deployed_with_files(tmp_path: Path) -> None:
    found = example("files", tmp_path)
    text = (found / "Enarx.toml").read_text()
    (found / "Enarx.toml").write_text(f'args = ["cat", "/page"]\n{text}')
    (found / "files").mkdir()
    (found / "files" / "page").write_text("a page\n")
    done = enarx("deploy", found.as_uri(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"a page\n"), done.stderr.decode()


def test_the_echo_example_is_deployed(tmp_path: Path) -> None:
    with running("deploy", "--verbose", example("echo", tmp_path).as_uri(), cwd=tmp_path) as run:
        assert run.process.stderr is not None
        ports: list[int] = []
        while len(ports) < 2:
            line = run.process.stderr.readline().decode()
            assert line, "the Keep ended"
            if line.startswith("enarx: listening on "):
                ports.append(int(line.rpartition(":")[2]))
        with peers.client(ports[1], tls=False) as sock:
            assert peers.echoed(sock, b"hello") == b"hello"
        with peers.client(ports[0], tls=True) as sock:
            assert peers.echoed(sock, b"hello") == b"hello"
        run.process.terminate()
        assert run.finish()[0] == 143


# --- before a Steward


SHOWS_SECRET: list[Part] = [
    ("Enarx.toml", f'{STDIO}[secret_env]\nPASSWORD = "password"\n'.encode()), ("main.wasm", programs.ENVIRON),
]  # fmt: skip
WAITS: list[Part] = [("Enarx.toml", STDIO.encode()), ("main.wasm", programs.WAIT_CLOCK)]
SEALED = {"secret": seal(pack(SHOWS_SECRET), KEY), "waits": seal(pack(WAITS), KEY)}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    with tenant(tmp_path_factory.mktemp("tenant"), *SEALED.values(), secrets={"package-key": KEY}) as found:
        yield found


def test_an_encrypted_package_is_opened_in_a_keep_that_proves_itself(honest: Tenant, tmp_path: Path) -> None:
    path = module(tmp_path, SEALED["secret"], "app.enarx")
    done = enarx("deploy", path.as_uri(), *honest.options(), cwd=tmp_path, env=environment(honest.home))
    assert done.returncode == 0, done.stderr.decode()
    assert f"PASSWORD={SECRET}".encode() in done.stdout.split(b"\0")
    assert f"{digest_of(SEALED['secret'])} (encrypted package)" in done.stderr.decode()


def test_an_encrypted_package_without_a_steward_is_not_opened(tmp_path: Path) -> None:
    done = enarx("deploy", module(tmp_path, SEALED["secret"]).as_uri(), cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr), done.stdout) == (1, "package-key", b"")


def test_a_package_that_the_steward_does_not_know_gets_no_key(honest: Tenant, tmp_path: Path) -> None:
    path = module(tmp_path, seal(pack(PACKAGE), KEY), "app.enarx")
    done = enarx("deploy", path.as_uri(), *honest.options(), cwd=tmp_path, env=environment(honest.home))
    assert (done.returncode, code_of(done.stderr), done.stdout) == (1, "steward-refused", b"")


def test_a_detached_keep_that_proves_itself_by_a_simulator_says_so_everywhere(honest: Tenant, tmp_path: Path) -> None:
    path = module(tmp_path, SEALED["waits"], "app.enarx")
    with user(honest.home) as me:
        name = me.deploy(path, *honest.options())
        facts = me.facts(name)
        assert facts["workload"]["digest"] == digest_of(SEALED["waits"])
        assert facts["steward"] == {"url": honest.url, "ca": honest.pin}
        assert facts["manifest"].startswith("sha256:")
        assert facts["evidence"]["source"] == "simulated"
        assert facts["evidence"]["meaning"].startswith("SIMULATED: ")
        assert "SIMULATED" in me.enarx("ps").stdout.decode()
        assert "SIMULATED: " in me.enarx("inspect", name).stdout.decode()
        assert me.enarx("stop", name).returncode == 0


def test_a_detached_launch_that_the_steward_refuses_fails_the_command(honest: Tenant, tmp_path: Path) -> None:
    path = module(tmp_path, seal(pack(PACKAGE), KEY), "app.enarx")
    with user(honest.home) as me:
        done = me.enarx("deploy", "-d", "--name", "no", path.as_uri(), *honest.options())
        assert (done.returncode, code_of(done.stderr), done.stdout) == (1, "steward-refused", b"")
        assert me.states() == {"no": "failed"}
