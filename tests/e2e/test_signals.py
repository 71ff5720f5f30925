"""Whatever the workload does, a signal ends it, its Keep and the command; and neither end outlives the other."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import programs
from tests.e2e.command import STDIO, Running, alive, code_of, config, module, running, wait_for

pytestmark = pytest.mark.usefixtures("both_links")
MODULES = {
    "loops": programs.LOOP,
    "waits for a clock": programs.WAIT_CLOCK,
    "waits for a connection": programs.WAIT_ACCEPT,
    "reads stdin": programs.WAIT_STDIN,
    "reads a socket": programs.WAIT_SOCKET,
}
LISTEN = STDIO + '[[files]]\nkind = "listen"\nname = "L"\nprot = "tcp"\naddr = "127.0.0.1"\nport = 0\n'
CONNECT = STDIO + '[[files]]\nkind = "connect"\nprot = "tcp"\nhost = "127.0.0.1"\nport = {port}\n'


@contextlib.contextmanager
def started(situation: str, directory: Path) -> Iterator[Running]:
    """``enarx run`` with a workload that is in ``situation`` now."""
    with contextlib.ExitStack() as stack:
        arguments: list[str | Path] = ["run", "--no-cache"]
        if situation == "waits for a connection":
            arguments += ["--wasmcfgfile", config(directory, LISTEN)]
        elif situation == "reads a socket":
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            arguments += ["--wasmcfgfile", config(directory, CONNECT.format(port=server.getsockname()[1]))]
        content = programs.slow_to_compile() if situation == "compiles" else MODULES[situation]
        run = stack.enter_context(running(*arguments, module(directory, content), cwd=directory))
        if situation == "compiles":
            tasks = f"/proc/{run.keep_pid()}/task"
            wait_for(lambda: len(os.listdir(tasks)) > 1, "compilation, which takes threads, did not begin")
        else:
            run.wait_until_ready()
        yield run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("situation", [*MODULES, "compiles"])
def test_a_signal_ends_the_workload_and_its_keep(situation: str, number: signal.Signals, tmp_path: Path) -> None:
    with started(situation, tmp_path) as run:
        keep = run.keep_pid()
        run.process.send_signal(number)
        status, stderr = run.finish()
        assert (status, stderr) == (128 + number, b"")
        assert not alive(keep)


@pytest.mark.parametrize("situation", ["loops", "compiles", "waits for a clock"])
def test_a_keep_does_not_outlive_its_host(situation: str, tmp_path: Path) -> None:
    with started(situation, tmp_path) as run:
        keep = run.keep_pid()
        run.process.kill()
        run.process.wait()
        wait_for(lambda: not alive(keep), "the Keep is still there")


@pytest.mark.parametrize("situation", ["loops", "compiles"])
def test_a_keep_that_is_killed_is_reported(situation: str, tmp_path: Path) -> None:
    with started(situation, tmp_path) as run:
        os.kill(run.keep_pid(), signal.SIGKILL)
        status, stderr = run.finish()
        assert (status, code_of(stderr)) == (1, "keep-died")
        assert b"by signal 9" in stderr
        assert b"Hint: " in stderr


def test_a_keep_that_does_not_answer_is_killed(tmp_path: Path) -> None:
    """SIGSTOP: the Keep reads nothing, not even the order to stop."""
    with started("loops", tmp_path) as run:
        keep = run.keep_pid()
        os.kill(keep, signal.SIGSTOP)
        run.process.terminate()
        assert run.finish() == (128 + signal.SIGTERM, b"")
        assert not alive(keep)


def test_a_second_signal_changes_nothing(tmp_path: Path) -> None:
    with started("loops", tmp_path) as run:
        run.process.send_signal(signal.SIGINT)
        with contextlib.suppress(ProcessLookupError):
            run.process.send_signal(signal.SIGTERM)
        status, stderr = run.finish()
        assert status in (128 + signal.SIGINT, 128 + signal.SIGTERM)
        assert stderr == b""


def test_a_signal_before_the_launch_leaves_no_keep(tmp_path: Path) -> None:
    """The module comes from a FIFO that nobody writes to, so the host is still reading it when the signal comes."""
    os.mkfifo(tmp_path / "app.wasm")
    with running("run", "app.wasm", cwd=tmp_path) as run:
        keep = run.keep_pid()
        wait_for(lambda: len(os.listdir(f"/proc/{keep}/fd")) >= 4, "the Keep did not start")
        run.process.send_signal(signal.SIGINT)
        status, stderr = run.finish()
        assert (status, stderr) == (130, b"")
        wait_for(lambda: not alive(keep), "the Keep is still there")
