"""Path resolution on its own: what no guest can be made to show in one call."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.keep.wasi.abi import MAX_NAME, MAX_PATH, Errno, WasiError
from enarx.keep.wasi.paths import MAX_SYMLINKS, decode_path, resolve
from enarx.keep.wasi.tree import Directory, FileSystem
from tests.keep.wasi.guest import fails


def tree() -> tuple[FileSystem, Directory]:
    """A file system, and a directory two levels below its root."""
    fs = FileSystem(1 << 24, itertools.count().__next__)
    outer = fs.create_directory(fs.root, "outer")
    fs.create_file(fs.root, "secret", b"secret")
    return fs, fs.create_directory(outer, "inner")


def test_a_place_tells_parent_name_and_node() -> None:
    fs, inner = tree()
    place = resolve(fs.root, "outer//inner/./new", follow=True)
    assert (place.parent, place.name, place.node, place.slash) == (inner, "new", None, False)
    place = resolve(fs.root, "outer/inner/", follow=True)
    assert (place.parent.entries["inner"], place.name, place.node, place.slash) == (inner, "inner", inner, True)
    place = resolve(fs.root, "outer/inner/..", follow=True)
    assert place.name == ""
    assert place.node is fs.root.entries["outer"]


def test_what_is_needed_of_a_place() -> None:
    fs, inner = tree()
    with fails(Errno.NOENT):
        resolve(inner, "new", follow=True).existing()
    with fails(Errno.NOTDIR):
        resolve(fs.root, "secret/", follow=True).existing()
    with fails(Errno.EXIST):
        resolve(fs.root, "secret", follow=True).free()
    with fails(Errno.EXIST):
        resolve(fs.root, "outer/..", follow=True).free()
    resolve(inner, "new", follow=True).free()


def test_targets_as_long_as_a_path_do_not_make_resolution_slow() -> None:
    fs, inner = tree()
    for number in range(MAX_SYMLINKS + 1):
        fs.create_symlink(inner, f"{number}", "./" * (MAX_PATH // 2 - 4) + f"{number + 1}/x")
    with fails(Errno.LOOP):
        resolve(inner, "0/y", follow=True)


def test_a_name_of_the_longest_length_is_allowed_in_bytes_not_characters() -> None:
    _, inner = tree()
    assert resolve(inner, "é" * (MAX_NAME // 2), follow=True).node is None
    with fails(Errno.NAMETOOLONG):
        resolve(inner, "é" * (MAX_NAME // 2 + 1), follow=True)


@pytest.mark.parametrize("raw", [b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"])
def test_what_is_not_utf8_is_refused(raw: bytes) -> None:
    with fails(Errno.ILSEQ):
        decode_path(raw)


PARTS = st.sampled_from(["", ".", "..", "d", "e", "f", "up", "loop", "abs", "deep", "secret", "outer"])


@given(st.lists(PARTS, max_size=12).map("/".join), st.booleans(), st.booleans())
def test_no_path_and_no_links_ever_lead_above_the_base(path: str, follow: bool, entry: bool) -> None:
    fs, inner = tree()
    deep = fs.create_directory(fs.create_directory(inner, "d"), "e")
    fs.create_file(deep, "f")
    for parent in (inner, deep):
        fs.create_symlink(parent, "up", "../..")
        fs.create_symlink(parent, "loop", "./loop/x")
        fs.create_symlink(parent, "abs", "/secret")
        fs.create_symlink(parent, "deep", "d/e/up/d")
    try:
        place = resolve(inner, path, follow=follow, entry=entry)
    except WasiError as error:
        assert error.errno in (Errno.PERM, Errno.NOENT, Errno.NOTDIR, Errno.LOOP)
        return
    assert inner in place.parent.ancestors()
    assert place.node is not fs.root.entries["secret"]
