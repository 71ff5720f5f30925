"""The cache's files: private, bounded, whole or absent, and no trouble when they cannot be had."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from enarx.host import cache as module
from enarx.host.cache import KEY_BYTES, DiskCache, default_directory

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {"key"}


def test_what_is_stored_is_found(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "deep" / "cache")
    assert cache.get(A) is None
    cache.put(A, b"first")
    cache.put(A, bytearray(b"second"))
    assert (cache.get(A), cache.get(B), cache.reason) == (b"second", None, "")
    assert DiskCache(tmp_path / "deep" / "cache").key == cache.key
    assert len(cache.key) == KEY_BYTES


@pytest.mark.parametrize("name", ["", "key", "..", "../" + "a" * 61, "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n"])
def test_a_name_that_is_no_digest_is_no_file(name: str, tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache")
    cache.put(name, b"x")
    assert cache.get(name) is None
    assert names(tmp_path / "cache") == set()


def test_the_least_recently_used_entries_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CACHE_BYTES", 250)
    cache = DiskCache(tmp_path / "cache")
    for age, name in enumerate((A, B)):
        cache.put(name, bytes(100))
        os.utime(tmp_path / "cache" / name, (age, age))
    assert cache.get(A) is not None  # now B is the one that was not used for longest
    cache.put(C, bytes(100))
    assert names(tmp_path / "cache") == {A, C}


def test_what_a_writer_left_when_it_crashed_is_removed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CACHE_BYTES", 150)
    cache = DiskCache(tmp_path / "cache")
    draft = tmp_path / "cache" / ".0123.tmp"
    draft.write_bytes(bytes(100))
    os.utime(draft, (1, 1))
    cache.put(A, bytes(100))
    assert names(tmp_path / "cache") == {A}


def test_an_entry_larger_than_the_whole_cache_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CACHE_BYTES", 50)
    cache = DiskCache(tmp_path / "cache")
    cache.put(A, bytes(100))
    assert names(tmp_path / "cache") == set()
    assert cache.key


@pytest.mark.parametrize("content", [b"", b"short", bytes(KEY_BYTES + 1)])
def test_a_key_of_another_length_is_replaced(content: bytes, tmp_path: Path) -> None:
    key = DiskCache(tmp_path / "cache").key
    (tmp_path / "cache" / "key").write_bytes(content)
    assert DiskCache(tmp_path / "cache").key not in (content, key)


def test_those_who_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    barrier, keys = threading.Barrier(8), list[bytes]()

    def start() -> None:
        barrier.wait()
        keys.append(DiskCache(tmp_path / "cache").key)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1
    assert names(tmp_path / "cache") == set()


def test_a_reader_never_sees_part_of_an_entry(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache")
    contents = [bytes([number]) * 200_000 for number in range(1, 30)]
    cache.put(A, contents[0])

    def write() -> None:
        for content in contents:
            cache.put(A, content)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        assert cache.get(A) in contents
    writer.join()


def test_an_entry_that_no_keep_would_take_is_none(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache")
    with (tmp_path / "cache" / A).open("wb") as file:
        file.truncate(module.MAX_ENTRY_BYTES + 1)
    assert cache.get(A) is None


def test_without_a_directory_nothing_is_cached(tmp_path: Path) -> None:
    cache = DiskCache(None)
    cache.put(A, b"x")
    assert (cache.get(A), cache.key) == (None, b"")
    assert "--cache-dir" in cache.reason


def test_a_directory_that_goes_away_is_remembered_as_the_reason(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache")
    (tmp_path / "cache" / "key").unlink()
    (tmp_path / "cache").rmdir()
    cache.put(A, b"x")
    assert "No such file" in cache.reason
    assert cache.get(A) is None


def test_the_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENARX_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_directory() == Path("/home/somebody/.cache/enarx/code")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert default_directory() == Path("/cache/enarx/code")
    monkeypatch.setenv("ENARX_CACHE_DIR", "/mine")
    assert default_directory() == Path("/mine")


def test_a_user_without_a_home_has_no_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENARX_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_242_424)  # of whom the system knows nothing
    assert default_directory() is None
