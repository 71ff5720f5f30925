"""The host's part of an attested launch: manifests, allow-lists, bytecode, and what a launch that fails says."""

from __future__ import annotations

import socket
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enarx.errors import MalformedError, UsageError
from enarx.host.attested import SimulatedLaunch, manifest_of, parse_allow, with_manifest
from enarx.host.contract import Package
from enarx.host.filebytes import parts_of
from enarx.host.kinds.process import measure
from enarx.host.process import private_bytecode
from enarx.manifest import Allow, ManifestFile, StewardPin, digest_of
from enarx.manifest import parse as parse_manifest

PIN = StewardPin("https://steward.example", "sha256:" + 64 * "0")


def test_manifest_names_everything_that_is_handed_over_in_its_order() -> None:
    objects: list[tuple[str, str, bytes | bytearray | memoryview]] = [
        ("config", "Enarx.toml", b"config"),
        ("ca", "ca.pem", b"ca"),
        ("module", "main.wasm", b"module"),
        ("layer", "/data", memoryview(b"layer")),
    ]
    package = Package(objects, args=["a"], env=[("B", "c")])
    manifest = manifest_of(package, PIN, Allow((443,), ()))
    assert (manifest.workload.digest, manifest.config) == (digest_of(b"module"), digest_of(b"config"))
    assert manifest.files == (
        ManifestFile("ca", "ca.pem", digest_of(b"ca")),
        ManifestFile("layer", "/data", digest_of(b"layer")),
    )
    assert (manifest.args, manifest.env) == (("a",), (("B", "c"),))
    assert (manifest.steward, manifest.allow) == (PIN, Allow((443,), ()))
    handed = with_manifest(package, manifest)
    kind, name, data = handed.objects[0]
    assert (kind, name, parse_manifest(b"".join(parts_of(data)))) == ("manifest", "", manifest)
    assert handed.objects[1:] == objects


def test_argument_that_is_not_unicode_has_no_manifest() -> None:
    with pytest.raises(MalformedError, match="not Unicode"):
        manifest_of(Package([("module", "main.wasm", b"")], args=["\udcff"]), PIN)


def test_allow_list_is_read_in_its_one_form() -> None:
    entries = ["listen:443", "connect:DB.example.com.:5432", "connect:[0:0::1]:80", "connect:::1:80", "listen:443"]
    assert parse_allow(entries) == Allow((443,), ("db.example.com:5432", "[::1]:80"))
    assert parse_allow([]) is None


@pytest.mark.parametrize(
    "entry",
    [
        "", "listen", "listen:", "listen:x", "listen:65536", "listen:-1", "listen:a:1", "connect:1", "connect::1",
        "connect:a:0", "connect:a:65536", "connect:a", "bind:a:1", "listen:\u0661",
    ],
)  # fmt: skip
def test_allow_entry_of_another_form_is_refused(entry: str) -> None:
    with pytest.raises(UsageError, match="--allow"):
        parse_allow([entry])


def test_bytecode_of_a_measured_keep_is_its_users_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    directory = tmp_path / "enarx" / "bytecode"
    assert private_bytecode() == ["-X", f"pycache_prefix={directory}"]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("how", ["exposed", "a link", "a file", "no home"])
def test_bytecode_that_others_could_write_is_not_used(
    how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    directory = tmp_path / "enarx" / "bytecode"
    directory.parent.mkdir()
    if how == "exposed":
        directory.mkdir()
        directory.chmod(0o770)
    elif how == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        directory.symlink_to(tmp_path / "elsewhere")
    elif how == "a file":
        directory.touch(0o600)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert private_bytecode() == ["-B", "-X", "pycache_prefix=/dev/null"]


def test_launch_that_fails_says_why_and_closes_the_channel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "enarx" / "simulator").mkdir(parents=True, mode=0o755)
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.settimeout(120)
        launch = SimulatedLaunch(ours, datetime.now(UTC), "", lambda line: None, measure)
        assert theirs.recv(1) == b""
        assert getattr(launch.failure, "code", "") == "simulator-permissions"


def test_launch_that_is_abandoned_closes_the_channel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    ours, theirs = socket.socketpair()
    said: list[str] = []
    with theirs:
        theirs.settimeout(120)
        launch = SimulatedLaunch(ours, datetime.now(UTC), "", said.append, measure)
        launch.wait()
        launch.abandon()
        assert theirs.recv(1) == b""
        assert launch.failure is None
    assert ["SIMULATED" in line for line in said] == [True]
