"""Another client of registries, oras-py, reads what we push and pushes what we read."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx.errors import RegistryError
from enarx.mediatype import PACKAGE, WASM
from enarx.registry import Store
from enarx.registry.layout import WASM_CONFIG
from enarx.registry.manifest import parse_manifest
from tests.registry.common import client, content, reference
from tests.registry.running import Running

MODULE = b"\0asm\1\0\0\0" + bytes(1000)


@pytest.fixture(autouse=True)
def _without_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It logs to the terminal, and reads the user's Docker configuration."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def other_client() -> object:
    from oras.client import OrasClient

    return OrasClient(insecure=True)


@pytest.mark.parametrize("wasm", [False, True])
def test_oras_pulls_what_we_push(plain_registry: Running, tmp_path: Path, wasm: bool) -> None:
    where, package = reference(plain_registry.host), content(tmp_path, 100_000)
    with client() as registry:
        if wasm:
            package.write_bytes(MODULE)
            registry.push_wasm(where, package)
        else:
            registry.push_package(where, package, PACKAGE)
    oras = other_client()
    target = str(where).removeprefix("oci://")
    (pulled,) = oras.pull(target=target, outdir=str(tmp_path / "out"))  # type: ignore[attr-defined]
    assert Path(pulled).read_bytes() == package.read_bytes()


def test_oras_and_we_read_a_manifest_alike(plain_registry: Running, tmp_path: Path) -> None:
    where, package = reference(plain_registry.host), content(tmp_path, 10)
    with client() as registry:
        registry.push_package(where, package, PACKAGE)
        ours = registry.fetch(where)
    theirs = other_client().get_manifest(str(where).removeprefix("oci://"))  # type: ignore[attr-defined]
    assert parse_manifest(json.dumps(theirs).encode()) == ours.document


def test_we_pull_a_module_that_oras_pushed(
    plain_registry: Running, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = reference(plain_registry.host)
    monkeypatch.chdir(tmp_path)  # it pushes nothing from elsewhere
    (tmp_path / "m.wasm").write_bytes(MODULE)
    digest = f"sha256:{hashlib.sha256(MODULE).hexdigest()}"
    config = {
        "created": "2024-05-01T12:00:00Z",
        "author": None,
        "architecture": "wasm",
        "os": "wasip1",
        "component": None,
    }
    (tmp_path / "config.json").write_text(json.dumps({**config, "layerDigests": [digest]}))
    other_client().push(  # type: ignore[attr-defined]
        target=str(where).removeprefix("oci://"),
        files=[f"m.wasm:{WASM}"],
        manifest_config=f"config.json:{WASM_CONFIG}",
        quiet=True,
    )
    with client() as registry:
        pulled = registry.pull(where, store)
    assert pulled.path.read_bytes() == MODULE
    assert (pulled.layer.media_type, pulled.layer.digest) == (WASM, digest)


def test_a_package_that_oras_pushed_without_its_type_is_none(
    plain_registry: Running, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = reference(plain_registry.host)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p").write_bytes(b"package")
    target = str(where).removeprefix("oci://")
    other_client().push(target=target, files=[f"p:{PACKAGE}"], quiet=True)  # type: ignore[attr-defined]
    with client() as registry, pytest.raises(RegistryError) as caught:
        registry.pull(where, store)
    assert caught.value.code == "registry-artifact"
