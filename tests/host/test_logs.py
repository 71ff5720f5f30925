"""Logs of detached workloads: bounded, complete as far as they go, and no reason for a workload to wait."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import HostError
from enarx.host.logs import Log, Pump, Reader
from tests.descriptors import nothing_left_open


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    with nothing_left_open():
        fd = os.open(tmp_path, os.O_RDONLY)
        yield fd
        os.close(fd)


def kept(place: Path, stream: str = "stdout") -> bytes:
    reader = Reader(place, stream)
    data = b"".join(reader.parts())
    reader.close()
    return data


def test_what_is_written_is_kept(directory: int, tmp_path: Path) -> None:
    log = Log(directory, "stdout")
    log.write(b"one\n")
    log.write(b"two\n")
    assert kept(tmp_path) == b"one\ntwo\n"
    assert kept(tmp_path, "stderr") == b""
    assert (tmp_path / "stdout.log").stat().st_mode & 0o777 == 0o600
    log.close()


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=20))
def test_the_end_is_kept_and_the_files_are_bounded(writes: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        directory = os.open(name, os.O_RDONLY)
        log = Log(directory, "stdout", limit=16)
        for data in writes:
            log.write(data)
            assert all(path.stat().st_size <= 16 for path in Path(name).iterdir())
        whole = b"".join(writes)
        found = kept(Path(name))
        assert whole.endswith(found)
        assert len(found) >= min(len(whole), 17)
        log.close()
        os.close(directory)


def test_a_reader_goes_on_where_it_was_across_rotations(directory: int, tmp_path: Path) -> None:
    log, reader = Log(directory, "stdout", limit=8), Reader(tmp_path, "stdout")
    seen = b""
    for number in range(100):
        log.write(f"{number:05},".encode())
        seen += b"".join(reader.parts())
    assert seen == b"".join(f"{number:05},".encode() for number in range(100))
    reader.close()
    log.close()


def test_a_reader_that_misses_a_rotation_has_what_is_kept(directory: int, tmp_path: Path) -> None:
    log, reader = Log(directory, "stdout", limit=4), Reader(tmp_path, "stdout")
    log.write(b"aaaa")
    assert b"".join(reader.parts()) == b"aaaa"
    log.write(b"bbbbcccc")
    assert b"".join(reader.parts()) == b"bbbbcccc"
    log.write(b"ddddeeeeffff")
    assert b"".join(reader.parts()) == b"eeeeffff"
    assert b"".join(reader.parts()) == b""
    reader.close()
    log.close()


def test_what_finds_no_room_is_lost_and_told_later(directory: int, tmp_path: Path) -> None:
    (tmp_path / "stdout.log").mkdir()  # nothing can be written there
    log = Log(directory, "stdout")
    log.write(b"lost")
    log.write(b"lost too")
    (tmp_path / "stdout.log").rmdir()
    log.write(b"kept")
    assert kept(tmp_path) == b"\n[12 bytes were lost: there was no room for them]\nkept"
    log.close()


def test_a_log_that_somebody_removes_begins_anew(directory: int, tmp_path: Path) -> None:
    log = Log(directory, "stdout", limit=4)
    log.write(b"aaaa")
    (tmp_path / "stdout.log").unlink()
    log.write(b"bb")
    assert kept(tmp_path) == b"bb"
    log.close()


def test_a_link_in_the_place_of_a_log_is_not_followed(directory: int, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "stdout.log").symlink_to("target")
    log = Log(directory, "stdout")
    log.write(b"x")
    assert (tmp_path / "target").read_bytes() == b""
    with pytest.raises(HostError) as caught:
        kept(tmp_path)
    assert caught.value.code == "file-unreadable"


def test_a_fifo_in_the_place_of_a_log_makes_nobody_wait(directory: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stderr.log")
    with pytest.raises(HostError) as caught:
        kept(tmp_path, "stderr")
    assert caught.value.code == "file-unreadable"


def test_a_pump_moves_everything_before_it_is_closed(directory: int, tmp_path: Path) -> None:
    pump = Pump(Log(directory, "stdout"))
    end = pump.end()
    data = os.urandom(300_000)
    with os.fdopen(end, "wb") as pipe:
        pipe.write(data)
    pump.close()
    assert kept(tmp_path) == data
