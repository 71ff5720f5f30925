"""What a host may announce and send as a launch, and what it may not."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from enarx.errors import ConfigError, LimitError, LinkError, MalformedError, WorkloadError
from enarx.keep.link import Link
from enarx.keep.workload import (
    MAX_CA_BYTES,
    MAX_PACKAGE_BYTES,
    MAX_SIGNATURE_BYTES,
    MAX_SIGNATURES,
    MAX_TABLE_BYTES,
    Launch,
    check_module,
    encode_text,
    receive_launch,
    receive_objects,
)
from enarx.manifest import Manifest, Workload
from enarx.wire import Type, encode, encode_fields
from tests.archives import pack
from tests.keep.sealing import seal

MODULE = b"\0asm\x01\0\0\0"
MANIFEST = Manifest(Workload("sha256:" + "00" * 32))
FIELDS: dict[str, Any] = {
    "args": [], "env": [], "objects": [], "cache_key": "", "sandbox": "try", "engine": "fast",
}  # fmt: skip


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Link]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, Link(theirs, lambda: None)


def launch(pair: tuple[socket.socket, Link], **fields: Any) -> Launch:
    pair[0].sendall(encode(Type.LAUNCH, 0, json.dumps(FIELDS | fields).encode()))
    return receive_launch(pair[1])


def receive(
    pair: tuple[socket.socket, Link], *objects: tuple[str, str, bytes], manifest: Manifest | None = None
) -> Launch:
    announced = launch(pair, objects=[(kind, name, len(data)) for kind, name, data in objects])
    for _, _, data in objects:
        if data:
            pair[0].sendall(encode(Type.BLOB, 0, data))
    receive_objects(pair[1], announced, manifest)
    return announced


def test_a_launch_is_what_the_host_said(pair: tuple[socket.socket, Link]) -> None:
    found = launch(
        pair, args=["a", ""], env=[["A", "1"]], objects=[["module", "m", 8]], cache_key="00ff", sandbox="require",
        engine="checked",
    )  # fmt: skip
    assert (found.args, found.env, found.objects) == (["a", ""], [("A", "1")], [("module", "m", 8)])
    assert (found.cache_key, found.require_sandbox, found.checked_calls) == (b"\0\xff", True, True)
    assert not found.configured


@pytest.mark.parametrize(
    "fields",
    [
        {"args": [1]},
        {"args": [None]},
        {"args": ["a\0b"]},
        {"args": ["\ud800"]},
        {"env": ["A=1"]},
        {"env": [["A"]]},
        {"env": [["A", 1]]},
        {"env": [["A", "1", "2"]]},
        {"env": [["A\0", "1"]]},
        {"objects": ["module"]},
        {"objects": [["module", "m"]]},
        {"objects": [["module", "m", "8"]]},
        {"objects": [["module", "m", -1]]},
        {"objects": [["module", "m", 1.0]]},
        {"objects": [["module", "m", True]]},
        {"objects": [[1, "m", 1]]},
        {"cache_key": "0"},
        {"cache_key": "zz"},
        {"sandbox": ""},
        {"sandbox": "none"},
        {"engine": "slow"},
    ],
)
def test_a_malformed_launch_is_refused(fields: dict[str, Any], pair: tuple[socket.socket, Link]) -> None:
    with pytest.raises(LinkError):
        launch(pair, **fields)


def test_a_host_begins_with_a_launch(pair: tuple[socket.socket, Link]) -> None:
    pair[0].sendall(encode_fields(Type.STOP, reason=""))
    with pytest.raises(LinkError, match="did not begin"):
        receive_launch(pair[1])


def test_objects_arrive_in_their_order(pair: tuple[socket.socket, Link]) -> None:
    found = receive(
        pair, ("config", "Enarx.toml", b'args = ["x"]'), ("ca", "one.pem", b"one"), ("ca", "none.pem", b""),
        ("module", "main.wasm", MODULE), ("layer", "/", b"tar"), ("layer", "/b", b""),
    )  # fmt: skip
    assert (found.configured, found.config.args) == (True, ("x",))
    assert found.ca_files == {"one.pem": b"one", "none.pem": b""}
    assert bytes(found.module) == MODULE
    assert [(path, bytes(data)) for path, data in found.layers] == [("/", b"tar"), ("/b", b"")]


def test_package_brings_config_module_and_files(pair: tuple[socket.socket, Link]) -> None:
    parts = [("Enarx.toml", b'args = ["x"]'), ("main.wasm", MODULE), ("files", None), ("files/a", b"A")]
    found = receive(pair, ("package", "", pack(parts)), ("signature", "a", b"signed"), ("signature", "b", b"too"))
    assert (found.configured, found.config.args, bytes(found.module)) == (True, ("x",), MODULE)
    assert found.package is not None
    assert [entry.path for entry in found.package.files or ()] == ["files/a"]
    assert (found.sealed, found.signatures) == (None, [b"signed", b"too"])
    found.forget_bytes()
    assert bytes(found.module) == b""
    assert found.package is None


def test_package_without_a_config_has_the_standard_streams(pair: tuple[socket.socket, Link]) -> None:
    found = receive(pair, ("package", "", pack([("main.wasm", MODULE)])))
    assert (found.configured, len(found.config.files)) == (False, 3)


def test_encrypted_package_stays_shut_until_there_is_a_key(pair: tuple[socket.socket, Link]) -> None:
    sealed = seal(pack([("main.wasm", MODULE)]))
    found = receive(pair, ("package", "", sealed))
    assert (bytes(found.sealed or b""), bytes(found.module), found.package) == (sealed, b"", None)


TABLE = ("certificates", "", b"table")


def test_certificate_table_comes_with_a_manifest(pair: tuple[socket.socket, Link]) -> None:
    found = receive(pair, ("module", "m", MODULE), TABLE, manifest=MANIFEST)
    assert found.certificates == b"table"


@pytest.mark.parametrize(
    ("tables", "manifest"),
    [
        ([TABLE], None),
        ([TABLE, TABLE], MANIFEST),
        ([("certificates", "", b"")], MANIFEST),
        ([("certificates", "", bytes(MAX_TABLE_BYTES + 1))], MANIFEST),
    ],
)
def test_certificate_table_of_another_size_or_number_is_refused(
    tables: list[tuple[str, str, bytes]], manifest: Manifest | None, pair: tuple[socket.socket, Link]
) -> None:
    with pytest.raises(LinkError, match="malformed"):
        receive(pair, ("module", "m", MODULE), *tables, manifest=manifest)


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([("Enarx.toml", b"="), ("main.wasm", MODULE)], ConfigError),
        ([("main.wasm", b"no module")], WorkloadError),
        ([("Enarx.toml", b'[limits]\nmodule = "64 KiB"\n'), ("main.wasm", bytes(65537))], LimitError),
        ([("main.wasm", MODULE), ("extra", b"")], MalformedError),
    ],
)
def test_package_with_something_wrong_in_it_is_refused(
    parts: list[tuple[str, bytes | None]], error: type[Exception], pair: tuple[socket.socket, Link]
) -> None:
    with pytest.raises(error):
        receive(pair, ("package", "", pack(parts)))


def test_package_that_is_too_large_is_not_even_received(pair: tuple[socket.socket, Link]) -> None:
    with pytest.raises(LinkError):
        receive_objects(pair[1], launch(pair, objects=[["package", "p", MAX_PACKAGE_BYTES + 1]]))


@pytest.mark.parametrize(
    "objects",
    [
        [("package", "p", b""), ("module", "m", MODULE)],
        [("package", "p", b""), ("package", "p", b"")],
        [("config", "c", b""), ("package", "p", b"")],
        [("module", "m", MODULE), *[("signature", "s", b"")] * (MAX_SIGNATURES + 1)],
        [("module", "m", MODULE), ("signature", "s", bytes(MAX_SIGNATURE_BYTES + 1))],
        [("unknown", "x", b"")],
        [("module", "m", MODULE), ("config", "c", b"")],
        [("config", "c", b""), ("config", "c", b"")],
        [("ca", "c", bytes(MAX_CA_BYTES + 1))],
    ],
)
def test_objects_that_do_not_belong_are_refused(
    objects: list[tuple[str, str, bytes]], pair: tuple[socket.socket, Link]
) -> None:
    with pytest.raises(LinkError, match="malformed"):
        receive(pair, *objects)


def test_a_config_that_is_too_large_is_not_even_received(pair: tuple[socket.socket, Link]) -> None:
    with pytest.raises(LinkError):
        receive_objects(pair[1], launch(pair, objects=[["config", "c", 1 << 30]]))


def test_the_limits_of_the_config_hold_for_what_follows_it(pair: tuple[socket.socket, Link]) -> None:
    config = b'[limits]\nmodule = "64 KiB"\nfilesystem = "64 KiB"\n'
    with pytest.raises(LimitError) as caught:
        receive(pair, ("config", "c", config), ("module", "m", bytes(65537)))
    assert caught.value.code == "limit-module"


def test_files_beyond_the_limit_are_not_even_received(pair: tuple[socket.socket, Link]) -> None:
    pair[0].sendall(encode(Type.BLOB, 0, b"[limits]\nfilesystem = 0\n"))
    announced = launch_with(pair, [["config", "c", 24], ["layer", "/", 1]])
    with pytest.raises(LimitError) as caught:
        receive_objects(pair[1], announced)
    assert caught.value.code == "limit-filesystem"


def launch_with(pair: tuple[socket.socket, Link], objects: list[list[Any]]) -> Launch:
    """A launch whose objects are in the socket already."""
    return Launch([], [], b"", False, False, [(kind, name, size) for kind, name, size in objects])


def test_a_config_that_is_none_is_an_error_of_the_config(pair: tuple[socket.socket, Link]) -> None:
    with pytest.raises(ConfigError):
        receive(pair, ("config", "c", b"="))


def test_a_launch_without_a_module_is_refused(pair: tuple[socket.socket, Link]) -> None:
    with pytest.raises(WorkloadError):
        receive(pair)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "wasm-magic"),
        (b"\0asn\x01\0\0\0", "wasm-magic"),
        (b"\0asm", "wasm-version"),
        (b"\0asm\x01\0\0\x01", "wasm-version"),
        (b"\0asm\x0d\0\x01\0", "wasm-component"),
    ],
)
def test_only_a_core_module_is_one(data: bytes, code: str) -> None:
    check_module(MODULE)
    with pytest.raises(WorkloadError) as caught:
        check_module(data)
    assert caught.value.code == code


def test_text_becomes_the_bytes_that_it_was() -> None:
    assert encode_text("a\N{SNOWMAN}\udcff") == b"a\xe2\x98\x83\xff"
