"""A listening socket without a name: reached by who made it, by nobody else, and gone with it."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.host.qemu.ports import NamelessListener
from tests.descriptors import nothing_left_open


def test_connections_are_made_again_and_again_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with nothing_left_open(10):
        listener = NamelessListener()
        assert list(tmp_path.iterdir()) == []
        theirs = socket.socket(fileno=os.dup(listener.socket.fileno()))
        listener.release()
        for _ in range(3):
            with listener.connect() as near, theirs.accept()[0] as far:
                far.sendall(b"x")
                assert near.recv(1) == b"x"
        theirs.close()
        with pytest.raises(OSError, match="refused"):
            listener.connect()
        listener.close()
        listener.close()


def test_without_a_place_for_it_there_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with nothing_left_open(10), pytest.raises(HostError) as caught:
        NamelessListener()
    assert caught.value.code == "runtime-directory"
