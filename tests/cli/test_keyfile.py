"""Results written by commands: replaced as a whole, passed on to what is no file, and never half there."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from enarx.cli.keyfile import read_input, write_new, write_output
from enarx.errors import UsageError


def code_of_writing(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        write_output(str(path), b"new")
    return caught.value.code


def test_result_replaces_a_file_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_bytes(b"an older and longer result")
    before = path.open("rb")
    with before:
        write_output(str(path), b"new")
        assert before.read() == b"an older and longer result"  # another file took the name
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_result_goes_into_a_pipe_that_stands_there(tmp_path: Path) -> None:
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_output(str(pipe), b"new")
    reader.join(10)
    assert received == [b"new"]
    assert pipe.is_fifo()


def test_result_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result"
    path.write_bytes(b"old")

    def refuse(descriptor: int, mode: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fchmod", refuse)
    assert code_of_writing(path) == "file-unwritable"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_take_no_file_are_named(tmp_path: Path) -> None:
    assert code_of_writing(tmp_path / "missing" / "file") == "file-unwritable"
    assert code_of_writing(tmp_path) == "file-unwritable"
    assert code_of_writing(tmp_path / "nul\0byte") == "file-unwritable"
    with pytest.raises(UsageError) as caught:
        write_new(str(tmp_path / "nul\0byte"), b"")
    assert caught.value.code == "file-unwritable"


def test_input_of_the_longest_length_is_read(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(bytes(10))
    assert read_input(str(path), 10, "input") == bytes(10)
    with pytest.raises(UsageError) as caught:
        read_input(str(path), 9, "input")
    assert caught.value.code == "file-size"
