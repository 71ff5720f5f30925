"""Bills of materials: valid by the standard's own schema, complete, and the same each time."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

import enarx
from enarx.bom import encode
from enarx.errors import HostError
from enarx.tenant.package import components
from enarx.tenant.package.reader import open_package
from enarx.tenant.package.sbom import bill_of_materials
from enarx.tenant.package.seal import seal
from tests.archives import Part, pack
from tests.support import ROOT
from tests.tenant.package.modules import CONFIG, HELLO

PARTS: list[Part] = [
    ("Enarx.toml", CONFIG.encode()),
    ("main.wasm", HELLO),
    ("files", None),
    ("files/a \x1b é", b"a"),
    ("files/d", None),
    ("files/d/b", b"b"),
]
VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)


def bill(tmp_path: Path, data: bytes, key: bytes | None = None) -> dict[str, Any]:
    (tmp_path / "package").write_bytes(data)
    with open_package(tmp_path / "package", key) as package:
        text = encode(bill_of_materials(package)).decode()
    assert VALIDATOR.validate_str(text) is None
    found: dict[str, Any] = json.loads(text)
    return found


def all_components(value: Any) -> Iterator[dict[str, Any]]:
    for one in value.get("components", ()):
        yield one
        yield from all_components(one)


def named(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in all_components(found)}


def test_everything_in_the_package_is_listed_with_its_hash(tmp_path: Path) -> None:
    data = pack(PARTS)
    found = bill(tmp_path, data)
    listed = named(found)
    for path, content in PARTS:
        if content is not None:
            assert listed[path]["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}]
    whole = found["metadata"]["component"]
    assert whole["hashes"][0]["content"] == hashlib.sha256(data).hexdigest()
    assert whole["mime-type"] == "application/vnd.enarx.package.v1+tar"
    assert listed["main.wasm"]["mime-type"] == "application/wasm"


def test_the_keep_is_listed_with_versions_licences_and_names_for_scanners(tmp_path: Path) -> None:
    listed = named(bill(tmp_path, HELLO))
    for name in ("enarx", "cffi", "cryptography", "wasmtime"):
        purl = PackageURL.from_string(listed[name]["purl"])
        assert (purl.type, purl.name, purl.version) == ("pypi", name, metadata.version(name))
        assert listed[name]["licenses"][0]["expression"] == metadata.metadata(name)["License-Expression"]
        assert listed[name]["properties"][0]["name"] == "enarx:files:sha256"
    assert listed["CPython"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert listed["_libwasmtime.so"]["hashes"]


def test_both_openssl_libraries_are_listed(tmp_path: Path) -> None:
    """The one that ends TLS is Python's; the one that checks signatures and decrypts is a part of cryptography."""
    import ssl

    from cryptography.hazmat.backends.openssl.backend import backend

    found = [one for one in all_components(bill(tmp_path, HELLO)) if one["name"] == "OpenSSL"]
    texts = {"cpython": ssl.OPENSSL_VERSION, "cryptography": backend.openssl_version_text()}
    assert {one["bom-ref"].split("/")[0]: one["version"] for one in found} == {
        owner: text.split()[1] for owner, text in texts.items()
    }


def imported_by(root: Path) -> set[str]:
    """Every module that the sources below ``root`` name in an import, in functions too."""
    found: set[str] = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module or "")
    return found


def test_what_a_keep_imports_is_listed() -> None:
    """All that its sources import is imported in a process of its own: whatever that loads has a component."""
    root = Path(enarx.__file__).parent
    modules = sorted(
        name for name in imported_by(root / "keep") if name.startswith(("cryptography", "wasmtime", "enarx"))
    )
    script = "import importlib, sys\nbefore = set(sys.modules)\n"  # what site-packages starts with is not the Keep's
    script += "for name in sys.argv[1:]: importlib.import_module(name)\n"
    script += "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    done = subprocess.run([sys.executable, "-I", "-c", script, *modules], capture_output=True, text=True, check=True)
    by_module = metadata.packages_distributions()
    loaded = {name for one in done.stdout.split() for name in by_module.get(one, ())}
    assert loaded - {"enarx"} == set(components.DISTRIBUTIONS)


def test_hash_of_a_distribution_is_that_of_sha256sum(tmp_path: Path) -> None:
    """As docs/packages.md says how to check it."""
    listed = named(bill(tmp_path, HELLO))
    script = r"find enarx -type f ! -name '*.pyc' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    done = subprocess.run(["/bin/sh", "-c", script], cwd=ROOT / "src", capture_output=True, text=True, check=True)
    assert listed["enarx"]["properties"][0]["value"] == done.stdout.split()[0]


def test_encrypted_package_is_listed_without_its_key_and_with_it(tmp_path: Path) -> None:
    plain, key = pack(PARTS), bytes(range(32))
    sealed = b"".join(seal([plain], len(plain), key))
    closed = bill(tmp_path, sealed)
    assert "main.wasm" not in named(closed)
    assert "wasmtime" in named(closed)
    assert len(closed["metadata"]["component"]["properties"][0]["value"]) == 64
    assert "files/d/b" in named(bill(tmp_path, sealed, key))


def test_the_same_package_gives_the_same_bill(tmp_path: Path) -> None:
    texts = set()
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(pack(PARTS))
        command = [str(Path(sys.executable).parent / "enarx"), "package", "sbom", name]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONHASHSEED": "1" if name == "a" else "2"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
        texts.add(done.stdout)
    assert len(texts) == 1
    (text,) = texts
    assert str(ROOT).encode() not in text
    assert str(tmp_path).encode() not in text


def test_every_reference_is_there_once(tmp_path: Path) -> None:
    found = bill(tmp_path, pack(PARTS))
    refs = ["package", *(one["bom-ref"] for one in all_components(found))]
    assert len(refs) == len(set(refs))
    for one in found["dependencies"]:
        assert {one["ref"], *one["dependsOn"]} <= set(refs)


def test_installation_that_is_broken_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "DISTRIBUTIONS", ("not-installed-anywhere",))
    with pytest.raises(HostError) as caught:
        components.keep()
    assert caught.value.code == "sbom-installation"
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(HostError):
        components.keep()
