"""Runs ``enarx`` as a user does: the installed command, in a process of its own, with an environment of the test's."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from tests import support

SECONDS = 60.0
"""What no command of the tests takes, however busy the machine is."""
STDIO = '[[files]]\nkind = "stdin"\n[[files]]\nkind = "stdout"\n[[files]]\nkind = "stderr"\n'


def environment(home: Path, **extra: str) -> dict[str, str]:
    """Nothing of ours, coverage's variables included (tests/cli measures the command), and a home, with the cache."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(home)} | extra


def enarx(
    *arguments: str | Path, cwd: Path, stdin: int | IO[Any] | None = subprocess.DEVNULL, data: bytes | None = None,
    env: dict[str, str] | None = None, prefix: Sequence[str] = (), seconds: float = SECONDS, **settings: Any,
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """Run ``enarx`` to its end, with its output captured. The home directory is ``cwd``."""
    done = subprocess.run(
        [*prefix, str(support.command()), *map(str, arguments)], cwd=cwd, env=env or environment(cwd), timeout=seconds,
        capture_output=True, check=False, **({"input": data} if data is not None else {"stdin": stdin}), **settings,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


def code_of(stderr: bytes) -> str:
    """The ``Code:`` of the error that was shown, which must have come with an ``Error:``."""
    lines = stderr.decode().splitlines()
    assert any(line.startswith("Error: ") for line in lines), stderr.decode()
    return next(line.removeprefix("Code: ") for line in lines if line.startswith("Code: "))


def module(directory: Path, content: bytes, name: str = "app.wasm") -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


def config(directory: Path, text: str) -> Path:
    path = directory / "Enarx.toml"
    path.write_text(text)
    return path


def wait_for(what: Callable[[], Any], message: str, seconds: float = SECONDS) -> Any:
    """The first true value of ``what``, asked again and again; fails with ``message`` when there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := what():
            return value
        time.sleep(0.005)
    raise AssertionError(message)


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


class Running:
    """``enarx`` while it runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def keep_pid(self) -> int:
        """The process of its Keep."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(wait_for(lambda: path.read_text().split(), "the Keep was not started")[0])

    def wait_until_ready(self) -> None:
        """Wait for the workload to print ``ready``."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line != b"ready\n":
            _, stderr = self.process.communicate(timeout=SECONDS)
            raise AssertionError(f"the workload did not start: {line!r} {stderr.decode()}")

    def finish(self) -> tuple[int, bytes]:
        """Wait for the end: (exit status, stderr)."""
        _, stderr = self.process.communicate(timeout=SECONDS)
        assert b"Traceback" not in stderr, stderr.decode()
        return self.process.returncode, stderr


@contextlib.contextmanager
def running(
    *arguments: str | Path, cwd: Path, env: dict[str, str] | None = None, prefix: Sequence[str] = (), **settings: Any
) -> Iterator[Running]:
    """``enarx`` in the background, with pipes for its standard streams, ended with the block."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [*prefix, str(support.command()), *map(str, arguments)]
    process = subprocess.Popen(command, cwd=cwd, env=env or environment(cwd), **pipes | settings)
    try:
        yield Running(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.communicate()
