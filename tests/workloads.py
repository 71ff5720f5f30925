"""Workloads that tests compile and run: the examples, and guests written for a test. Compiled once, for all workers."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

from examples import build
from tests import support

SECONDS = 60.0
"""What no step of a test takes, however busy the machine is."""
START_SECONDS = 240.0
"""What no workload takes to start: one of many megabytes is compiled first."""
ADDRESS = "127.0.0.1"
CACHE = build.ROOT / "build" / "test-code"
"""Compiled code of all tests that use this module: a large workload takes seconds to compile."""
_COMPILERS: dict[str, Callable[[Path, Path], None]] = {".c": build.compile_c, ".wat": build.assemble_wat}


@cache
def example(name: str) -> Path:
    """The module of an example; the test is skipped where its compiler is not installed (in CI it fails)."""
    try:
        return build.build(name)
    except build.MissingToolError as error:
        support.missing(f"{error.tool} is not installed", error.package)


@cache
def guest(source: Path, *included: Path) -> Path:
    """The module of a source file (.c or .wat) beside the tests, and of the files that it includes."""
    try:
        return build.build_sources(f"test-{source.stem}", _COMPILERS[source.suffix], [source, *included])
    except build.MissingToolError as error:
        support.missing(f"{error.tool} is not installed", error.package)


def example_config(name: str) -> str:
    """The ``Enarx.toml`` of an example, with every port that it listens on replaced by any free one."""
    text = (build.EXAMPLES_DIRECTORY / name / "Enarx.toml").read_text(encoding="utf-8")
    return re.sub(r"^port = [0-9]+$", "port = 0", text, flags=re.MULTILINE)


def environment() -> dict[str, str]:
    """Nothing of ours but what coverage needs; the cache of compiled code is shared by the tests."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return kept | {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "ENARX_CACHE_DIR": str(CACHE)}


def command_line(module: Path, config: Path | None, arguments: Sequence[str], options: Sequence[str] = ()) -> list[str]:
    configured = ["--wasmcfgfile", str(config)] if config else []
    return [str(support.command()), "run", *options, str(module), *configured, "--verbose", "--", *arguments]


def run(
    module: Path, *arguments: str, cwd: Path, config: str | None = None, data: bytes = b"", options: Sequence[str] = (),
    prefix: Sequence[str] = (),
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """Run a workload to its end."""
    path = write_config(cwd, config)
    done = subprocess.run(
        [*prefix, *command_line(module, path, arguments, options)], cwd=cwd, env=environment(), input=data,
        capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


def write_config(directory: Path, text: str | None) -> Path | None:
    if text is None:
        return None
    path = directory / "Enarx.toml"
    path.write_text(text, encoding="utf-8")
    return path


class Server:
    """A workload that listens, while it runs."""

    def __init__(self, process: subprocess.Popen[bytes], listeners: int) -> None:
        self.process = process
        self.ports: list[int] = []
        self.stderr = ""
        self._wanted = listeners
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for raw in self.process.stderr:
            line = raw.decode(errors="replace")
            self.stderr += line
            if line.startswith("enarx: listening on "):
                self.ports.append(int(line.rpartition(":")[2]))
                if len(self.ports) == self._wanted:
                    self._listening.set()
        self._listening.set()

    @property
    def port(self) -> int:
        return self.ports[0]

    def wait_until_it_listens(self) -> None:
        assert self._listening.wait(START_SECONDS), f"the Keep does not listen: {self.stderr}"
        assert len(self.ports) == self._wanted, f"the Keep did not start: {self.stderr}"

    def finish(self) -> int:
        """Wait for the workload to end by itself: the exit status."""
        status = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        assert "Traceback" not in self.stderr, self.stderr
        return status

    def output(self) -> bytes:
        """What it wrote to standard output, once it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.read()

    def stop(self) -> int:
        """Stop it as Ctrl-C would: the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.finish()


@contextlib.contextmanager
def serving(module: Path, config: str, *arguments: str, cwd: Path) -> Iterator[Server]:
    """Run a workload that listens, as long as the block. It is stopped with the block if it still runs."""
    path = write_config(cwd, config)
    process = subprocess.Popen(
        command_line(module, path, arguments), cwd=cwd, env=environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    server = Server(process, len(re.findall(r'^kind = "listen"$', config, re.MULTILINE)))
    try:
        server.wait_until_it_listens()
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        process.kill()
        process.wait()
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        server._reader.join(SECONDS)
        process.stderr.close()
