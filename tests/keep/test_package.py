"""What a Keep takes out of a package: config, module and a file system of its own."""

from __future__ import annotations

import pytest

from enarx import archive
from enarx.config import MAX_CONFIG_BYTES
from enarx.errors import ConfigError, LimitError, MalformedError
from enarx.keep.package import contents, unpack
from enarx.keep.wasi.tree import Directory, File, FileSystem
from tests.archives import pack

MODULE = b"\0asm\1\0\0\0"
TREE: dict[str, bytes | None] = {
    "files": None,
    "files/a": b"A",
    "files/b": None,
    "files/b/c": b"",
    "files/d": b"D" * 600,
}


def test_config_and_module_are_taken_out() -> None:
    found = contents(bytearray(pack({"Enarx.toml": b"[env]\n", "main.wasm": MODULE}.items())))
    assert (found.config, bytes(found.module), found.files) == (b"[env]\n", MODULE, None)


def test_package_may_have_no_config() -> None:
    found = contents(bytearray(pack({"main.wasm": MODULE}.items())))
    assert (found.config, bytes(found.module)) == (None, MODULE)


def test_files_become_a_tree_of_time_zero() -> None:
    found = contents(bytearray(pack({"main.wasm": MODULE, **TREE}.items())))
    fs = FileSystem(1 << 20, lambda: 12345)
    unpack(found, fs, fs.root)
    below = fs.root.entries["b"]
    assert isinstance(below, Directory)
    assert sorted(fs.root.entries) == ["a", "b", "d"]
    named = [*fs.root.entries.items(), *below.entries.items()]
    texts = {name: node.data for name, node in named if isinstance(node, File)}
    assert texts == {"a": b"A", "c": b"", "d": b"D" * 600}
    assert all(isinstance(text, bytes) for text in texts.values())  # the read-only layer
    nodes = [fs.root, *fs.root.entries.values(), *below.entries.values()]
    assert {(node.atim, node.mtim, node.ctim) for node in nodes} == {(0, 0, 0)}


def test_files_past_the_limit_are_refused() -> None:
    found = contents(bytearray(pack({"main.wasm": MODULE, **TREE}.items())))
    fs = FileSystem(1500, lambda: 0)
    with pytest.raises(LimitError) as caught:
        unpack(found, fs, fs.root)
    assert caught.value.code == "limit-filesystem"


def test_config_that_is_too_long_is_refused() -> None:
    text = b"#" * (MAX_CONFIG_BYTES + 1)
    with pytest.raises(ConfigError) as caught:
        contents(bytearray(pack({"Enarx.toml": text, "main.wasm": MODULE}.items())))
    assert caught.value.code == "config-limit"


@pytest.mark.parametrize("change", [slice(0, 512), slice(0, -512), slice(512, None)], ids=["one block", "cut", "later"])
def test_damaged_archive_is_refused(change: slice) -> None:
    whole = pack({"main.wasm": MODULE, **TREE}.items())
    with pytest.raises(MalformedError) as caught:
        contents(bytearray(whole[change]))
    assert caught.value.code.startswith("package-")
    assert archive.END in whole
