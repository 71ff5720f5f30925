"""`enarx package push` and `pull`, as a user runs them, against docker-registry with TLS and a password."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from enarx import archive
from tests.archives import pack
from tests.cli.command import error_code
from tests.registry.common import content
from tests.registry.running import PASSWORD, USER, Running, htpasswd, registry

ENARX = str(Path(sys.executable).parent / "enarx")
MODULE = b"\0asm\1\0\0\0"
HEAD = archive.header("main.wasm", 0)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a home of their own, and a Docker configuration in it."""

    directory: Path
    running: Running

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_") or name == "PATH"}
        return {**kept, "HOME": str(self.directory), "ENARX_CA_BUNDLE": str(self.running.ca)}

    def enarx(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ENARX, "package", *map(str, arguments)],
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def login(self, password: str) -> None:
        (self.directory / ".docker").mkdir(exist_ok=True)
        auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
        config = {"auths": {self.running.host: {"auth": auth}}}
        (self.directory / ".docker" / "config.json").write_text(json.dumps(config))

    def reference(self, name: str) -> str:
        return f"oci://{self.running.host}/{name}"


@pytest.fixture(scope="module")
def with_password(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("registry")
    with registry(directory, tls=True, auth=htpasswd(directory)) as running:
        yield running


@pytest.fixture
def user(with_password: Running, tmp_path: Path) -> User:
    found = User(tmp_path, with_password)
    found.login(PASSWORD)
    return found


def package(directory: Path, size: int) -> Path:
    path = content(directory, size)
    path.write_bytes(HEAD + path.read_bytes())
    return path


def test_a_package_goes_there_and_back(user: User) -> None:
    file = package(user.directory, 200_000)
    where = user.reference(f"team/{user.directory.name}".lower())
    pushed = user.enarx("push", file, f"{where}:1.0")
    assert (pushed.returncode, pushed.stderr) == (0, "")
    pinned = pushed.stdout.strip()
    assert pinned.startswith(f"{where}:1.0@sha256:")
    pulled = user.enarx("pull", f"{where}:1.0", "-o", "copy")
    assert (pulled.returncode, pulled.stderr) == (0, "")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert pulled.stdout.splitlines() == [
        pinned,
        f"copy: sha256:{digest}, {file.stat().st_size} bytes, application/vnd.enarx.package.v1+tar",
    ]
    assert (user.directory / "copy").read_bytes() == file.read_bytes()
    assert (user.directory / ".cache/enarx/blobs").stat().st_mode & 0o777 == 0o700
    assert user.enarx("pull", pinned, "-o", "copy", "--require-digest").returncode == 0
    refused = user.enarx("pull", f"{where}:1.0", "-o", "copy", "--require-digest")
    assert refused.returncode == 2
    assert "Code: digest-required" in refused.stderr


def test_a_module_goes_there_and_back(user: User) -> None:
    (user.directory / "m.wasm").write_bytes(MODULE)
    where = user.reference(f"wasm/{user.directory.name}".lower())
    assert user.enarx("push", "m.wasm", where, "--wasm").returncode == 0
    pulled = user.enarx("pull", where, "-o", "copy.wasm")
    assert ":latest@sha256:" in pulled.stdout
    assert pulled.stdout.endswith("8 bytes, application/wasm\n")
    assert (user.directory / "copy.wasm").read_bytes() == MODULE


@pytest.mark.parametrize("password", ["wr0ng-passw0rd", None])
def test_wrong_credentials_are_refused_and_never_shown(user: User, password: str | None) -> None:
    file = package(user.directory, 10)
    if password is None:
        (user.directory / ".docker" / "config.json").unlink()
    else:
        user.login(password)
    done = user.enarx("push", file, user.reference("team/refused"))
    assert done.returncode == 1
    expected = "registry-denied" if password else "registry-unauthorized"
    assert f"Code: {expected}" in done.stderr
    encoded = base64.b64encode(f"{USER}:{password}".encode()).decode()
    assert encoded not in done.stdout + done.stderr
    assert "wr0ng" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_there_stays_whole_when_a_pull_fails(user: User) -> None:
    kept = user.directory / "kept"
    kept.write_text("what was there before")
    done = user.enarx("pull", user.reference("team/absent"), "-o", kept)
    assert "Code: registry-manifest-missing" in done.stderr
    assert kept.read_text() == "what was there before"
    assert [one for one in os.listdir(user.directory) if one.startswith(".kept")] == []


def test_where_nothing_can_be_written_nothing_is_fetched(user: User) -> None:
    for target in ("absent/file", "."):
        done = user.enarx("pull", user.reference("team/absent"), "-o", target)
        assert "Code: file-unwritable" in done.stderr


def test_signatures_go_with_the_package_and_are_seen_where_it_is(user: User) -> None:
    file = user.directory / "app.package"
    file.write_bytes(pack([("main.wasm", MODULE)]))
    signed = user.directory / "key.pem"
    made = subprocess.run(
        [ENARX, "key", "package", "create", "--out", str(signed)], env=user.environment(), check=False
    )
    assert made.returncode == 0
    assert user.enarx("sign", file, "--key", signed).returncode == 0
    where = user.reference(f"signed/{user.directory.name}".lower())
    for _ in range(2):  # the second time there is nothing new
        pushed = user.enarx("push", file, where)
        assert (pushed.returncode, "1 signature beside it" in pushed.stderr) == (0, True), pushed.stderr
    pinned = pushed.stdout.strip()
    found = json.loads(user.enarx("inspect", where, "--json").stdout)
    assert [(one["kind"], one["fits"]) for one in found["signatures"]] == [("dsse", True)]
    shown = user.enarx("inspect", pinned, "--require-digest")
    name, what = shown.stdout.splitlines()[:2]
    assert name.endswith(pinned.partition("@")[2])
    assert what.startswith("  a package, not encrypted")
    assert user.enarx("inspect", where, "--require-digest").returncode == 2


def test_a_damaged_download_is_fetched_again(user: User) -> None:
    file = package(user.directory, 1000)
    where = user.reference(f"damaged/{user.directory.name}".lower())
    user.enarx("push", file, where)
    user.enarx("pull", where, "-o", "copy")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (user.directory / ".cache/enarx/blobs/sha256" / digest).write_bytes(b"x" * (1000 + len(HEAD)))
    assert user.enarx("pull", where, "-o", "again").returncode == 0
    assert (user.directory / "again").read_bytes() == file.read_bytes()


def test_a_bar_is_drawn_on_a_terminal(user: User) -> None:
    file = package(user.directory, 3_000_000)
    ours, theirs = pty.openpty()
    where = user.reference(f"bar/{user.directory.name}".lower())
    with subprocess.Popen(
        [ENARX, "package", "push", str(file), where],
        env={**user.environment(), "TERM": "xterm"}, stdout=subprocess.PIPE, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        drawn = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while block := os.read(ours, 4096):
                drawn += block
        os.close(ours)
        assert process.wait(60) == 0
    assert b"push sha256:" in drawn
    assert b"3.0/3.0 MB" in drawn
    assert drawn.endswith(b"\r\x1b[K")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["push", "module", "oci://127.0.0.1:1/a"], "package-file"),
        (["push", "package", "oci://127.0.0.1:1/a", "--wasm"], "package-file"),
        (["push", "other", "oci://127.0.0.1:1/a"], "package-file"),
        (["push", "empty", "oci://127.0.0.1:1/a"], "package-file"),
        (["push", "absent", "oci://127.0.0.1:1/a"], "file-unreadable"),
        (["push", "directory", "oci://127.0.0.1:1/a"], "file-unreadable"),
        (["push", "pipe", "oci://127.0.0.1:1/a"], "file-unreadable"),
        (["push", "package", "127.0.0.1:1/a"], "reference"),
        (["push", "package", "oci://127.0.0.1:1/a", "--plain-http", "http://x"], "plain-http"),
        (["push", "package", "oci://registry.example/a", "--ca-bundle", "absent"], "ca-bundle"),
        (["pull", "oci://127.0.0.1:1/a"], "usage"),
        (["pull", "oci://127.0.0.1:1/A", "-o", "x"], "reference"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(
    arguments: list[str], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module").write_bytes(MODULE)
    (tmp_path / "package").write_bytes(HEAD)
    (tmp_path / "other").write_bytes(b"something else")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert error_code("package", *arguments) == code
