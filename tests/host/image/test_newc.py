"""The archive of the initial RAM disk: one for one content, and what other readers make of it."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.host.image.newc import Directory, Entry, File, Node, pack
from tests.images import read_newc

NAMES = st.from_regex(r"[a-z]{1,5}(/[a-z]{1,5}){0,3}", fullmatch=True)
FILES = st.builds(File, st.binary(max_size=40), st.booleans())


def archive(entries: dict[str, Entry]) -> bytes:
    return b"".join(pack(entries))


@given(st.dictionaries(NAMES, FILES, max_size=8))
def test_what_is_packed_is_read_back_in_the_order_of_names(files: dict[str, File]) -> None:
    if any(name.startswith(f"{other}/") for name in files for other in files):
        with pytest.raises(ValueError, match="is no directory"):
            archive(dict(files))
        return
    found = read_newc(archive(dict(files)))
    assert list(found) == sorted(found)
    regular = {name: data for name, (mode, data) in found.items() if stat.S_ISREG(mode)}
    assert regular == {name: file.data for name, file in files.items()}
    assert all(parent in found for name in files for parent in map(str, Path(name).parents) if parent != ".")


def test_order_in_which_entries_are_named_does_not_matter() -> None:
    one: dict[str, Entry] = {"b/c": File(b"1"), "a": File(b"2", executable=True), "dev/console": Node(5, 1)}
    assert archive(one) == archive(dict(reversed(one.items())))


def test_an_independent_reader_finds_the_same(require_tool: Callable[[str, str], Path], tmp_path: Path) -> None:
    cpio = require_tool("cpio", "cpio")
    data = archive(
        {"usr/bin/x": File(b"program", executable=True), "etc/y": File(b"data"), "mnt": Directory(), "c": Node(5, 1)}
    )
    listed = subprocess.run([cpio, "-tvn", "--quiet"], input=data, capture_output=True, check=True).stdout.decode()
    lines = {line.split()[-1]: line.split()[:4] for line in listed.splitlines()}
    assert {name: (words[0], words[2], words[3]) for name, words in lines.items()} == {
        "c": ("crw-------", "0", "0"),
        "etc": ("dr-xr-xr-x", "0", "0"),
        "etc/y": ("-r--r--r--", "0", "0"),
        "mnt": ("dr-xr-xr-x", "0", "0"),
        "usr": ("dr-xr-xr-x", "0", "0"),
        "usr/bin": ("dr-xr-xr-x", "0", "0"),
        "usr/bin/x": ("-r-xr-xr-x", "0", "0"),
    }
    subprocess.run([cpio, "-im", "--quiet", "--nonmatching", "c"], input=data, cwd=tmp_path, check=True)
    assert (tmp_path / "usr/bin/x").read_bytes() == b"program"
    assert (tmp_path / "etc/y").stat().st_mtime == 0


@pytest.mark.parametrize("name", ["", ".", "/a", "a/", "a//b", "../a", "a/../b", "./a", "TRAILER!!!"])
def test_what_is_no_path_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no path"):
        archive({name: File(b"")})
