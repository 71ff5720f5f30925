"""The process that a Keep is started as."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.host import process
from enarx.host.process import KeepProcess, code_directories
from tests.descriptors import nothing_left_open


@pytest.fixture
def keep() -> Iterator[KeepProcess]:
    with nothing_left_open():
        keep = KeepProcess()
        yield keep
        keep.link.close()
        keep.kill()
        keep.wait()


def test_the_code_of_a_keep_is_in_the_directories_it_is_given() -> None:
    directories = [Path(directory) for directory in code_directories()]
    for package in ("enarx", "wasmtime", "cryptography"):
        assert any((directory / package).is_dir() for directory in directories)
    assert len(set(directories)) == len(directories)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "find_spec", lambda name: None)
    with pytest.raises(HostError) as caught:
        code_directories()
    assert caught.value.code == "host-install"


def test_a_keep_ends_when_its_host_hangs_up(keep: KeepProcess) -> None:
    keep.link.close()
    assert keep.wait() == 1
    assert keep.wait() == 1  # the status is kept
    keep.kill()  # and there is nobody left to kill


def test_a_keep_can_be_killed(keep: KeepProcess) -> None:
    keep.kill()
    assert keep.wait() == -signal.SIGKILL


def test_a_status_that_the_kernel_did_not_keep_is_no_error(keep: KeepProcess) -> None:
    keep.kill()
    os.waitpid(keep.pid, 0)  # as the kernel does by itself where SIGCHLD is ignored
    assert keep.wait() == 0


def test_a_process_that_cannot_be_started_is_an_error_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with nothing_left_open(), pytest.raises(HostError) as caught:
        KeepProcess()
    assert caught.value.code == "host-spawn"
