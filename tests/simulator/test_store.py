"""Directories that only their owner can read, filled whole or not at all."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.simulator.store import FILE_MAX_BYTES, Store


def code(store: Store, name: str = "key") -> str:
    with pytest.raises(HostError) as caught:
        store.check()
        store.read(name)
    assert caught.value.hint
    return caught.value.code


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "below" / "store")
    made.create(lambda: {"key": b"secret", "certificate": b"public"})
    return made


def test_what_was_made_is_private_whatever_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        store = Store(tmp_path / "below" / "store")
        store.create(lambda: {"key": b"secret"})
        store.write("more", b"later")
    finally:
        os.umask(previous)
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in store.directory.iterdir()] == [0o600, 0o600]
    assert store.read("key") == b"secret"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_file_that_others_can_use_is_refused(store: Store, mode: int) -> None:
    (store.directory / "key").chmod(mode)
    assert code(store) == "simulator-permissions"
    assert store.read("certificate") == b"public"


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o720, 0o702, 0o710, 0o701])
def test_directory_that_others_can_use_is_refused(store: Store, mode: int) -> None:
    store.directory.chmod(mode)
    assert code(store) == "simulator-permissions"
    with pytest.raises(HostError):
        store.create(dict)
    with pytest.raises(HostError):
        store.remove()
    assert store.directory.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_somebody_else_are_refused(store: Store) -> None:
    os.chown(store.directory / "key", 12345, -1)
    assert code(store) == "simulator-permissions"
    os.chown(store.directory / "key", 0, -1)
    os.chown(store.directory, 12345, -1)
    assert code(store) == "simulator-permissions"


def test_symbolic_links_are_not_followed(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"not ours")
    (store.directory / "key").unlink()
    (store.directory / "key").symlink_to(elsewhere)
    assert code(store) == "simulator-broken"
    link = tmp_path / "link"
    link.symlink_to(store.directory)
    assert code(Store(link)) == "simulator-permissions"


def test_pipe_and_endless_file_are_refused(store: Store) -> None:
    (store.directory / "key").unlink()
    os.mkfifo(store.directory / "key", 0o600)
    assert code(store) == "simulator-permissions"
    (store.directory / "key").unlink()
    store.write("key", bytes(FILE_MAX_BYTES + 1))
    assert code(store) == "simulator-broken"


def test_makers_that_meet_make_once(tmp_path: Path) -> None:
    made: list[int] = []
    start = threading.Barrier(8)

    def run(number: int) -> None:
        def make() -> Mapping[str, bytes]:
            made.append(number)
            return {"key": bytes([number])}

        start.wait()
        Store(tmp_path / "store").create(make)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert Store(tmp_path / "store").read("key") == bytes(made)


def test_maker_that_fails_leaves_nothing_and_the_next_one_succeeds(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")

    def fail() -> Mapping[str, bytes]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.create(fail)
    assert not store.check()
    stale = tmp_path / ".store.0123456789abcdef.new"
    stale.mkdir()
    (stale / "key").write_bytes(b"half a key")
    store.create(lambda: {"key": b"whole"})
    assert store.read("key") == b"whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".store.lock", "store"]


def test_replaced_file_is_whole_and_removed_directory_is_gone(store: Store) -> None:
    store.write("key", b"another")
    assert store.read("key") == b"another"
    assert sorted(path.name for path in store.directory.iterdir()) == ["certificate", "key"]
    assert store.remove()
    assert not store.remove()
    assert not store.check()


def test_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(HostError) as caught:
        Store(tmp_path / "file" / "store").create(dict)
    assert caught.value.code == "simulator-directory"
