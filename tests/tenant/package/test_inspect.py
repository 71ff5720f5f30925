"""What a package is found to hold, and why a Keep would not run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from enarx import archive
from enarx.config import Config
from enarx.tenant.package import inspect as inspection
from enarx.tenant.package.inspect import Facts, inspect
from enarx.tenant.package.reader import open_package
from enarx.tenant.package.seal import seal
from tests import programs
from tests.archives import Part, pack
from tests.tenant.package.modules import CONFIG, HELLO, RULES


def facts_of(tmp_path: Path, data: bytes, key: bytes | None = None) -> Facts | None:
    (tmp_path / "package").write_bytes(data)
    with open_package(tmp_path / "package", key) as package:
        return inspect(package, RULES)


def facts(tmp_path: Path, *parts: Part) -> Facts:
    found = facts_of(tmp_path, pack(parts))
    assert found is not None
    return found


def codes(found: Facts) -> list[str]:
    return [problem.code for problem in found.problems]


def test_a_good_package_has_no_problems(tmp_path: Path) -> None:
    found = facts(tmp_path, ("Enarx.toml", CONFIG.encode()), ("main.wasm", HELLO), ("files", None), ("files/a", b"a"))
    assert found.configured
    assert found.has_files
    assert found.config is not None
    assert found.config.files[0].name == "stdout"
    assert found.module is not None
    assert "wasi_snapshot_preview1::fd_write" in found.module.imports
    assert found.problems == ()


def test_a_module_alone_has_the_standard_streams(tmp_path: Path) -> None:
    found = facts_of(tmp_path, HELLO)
    assert found is not None
    assert (found.configured, found.has_files, found.config) == (False, False, Config.default())


def test_nothing_is_known_without_the_key(tmp_path: Path) -> None:
    plain, key = pack([("main.wasm", HELLO)]), bytes(32)
    sealed = b"".join(seal([plain], len(plain), key))
    assert facts_of(tmp_path, sealed) is None
    found = facts_of(tmp_path, sealed, key)
    assert found is not None
    assert found.module is not None


def test_wrong_config_is_a_problem_and_the_rest_is_told(tmp_path: Path) -> None:
    found = facts(tmp_path, ("Enarx.toml", b"a = 1"), ("main.wasm", programs.assemble("(module)")))
    assert found.config is None
    assert found.module is not None
    assert codes(found) == ["config-unknown-key", "wasm-entry"]
    found = facts(tmp_path, ("Enarx.toml", b"#" * 2_000_000), ("main.wasm", HELLO))
    assert codes(found) == ["config-too-large"]


def test_what_is_no_module_is_a_problem(tmp_path: Path) -> None:
    found = facts(tmp_path, ("main.wasm", b"text"))
    assert (found.module, codes(found)) == (None, ["wasm-magic"])
    found = facts(tmp_path, ("Enarx.toml", b"="), ("main.wasm", b"text"))
    assert codes(found) == ["config-syntax", "wasm-magic"]


def test_every_problem_is_told(tmp_path: Path) -> None:
    config = b'[[files]]\nkind = "connect"\nhost = "h"\nca = ["x.pem"]\n[limits]\nfilesystem = 1\nmemory = "64 KiB"\n'
    module = programs.assemble('(module (import "env" "f" (func)) (memory (export "memory") 2))')
    found = facts(tmp_path, ("Enarx.toml", config), ("main.wasm", module), ("files", None), ("files/a", b""))
    assert codes(found) == ["package-ca", "wasm-import", "wasm-entry", "limit-memory", "limit-filesystem"]


def test_package_that_is_too_large_for_a_keep_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    assert codes(facts(tmp_path, ("main.wasm", HELLO))) == ["limit-package"]


def test_module_that_is_too_large_to_read_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MAX_MODULE_BYTES", 100)
    found = facts(tmp_path, ("main.wasm", HELLO))
    assert (found.module, codes(found)) == (None, ["limit-module"])
