"""A user with detached Keeps, each test's own: nothing of another test's, or of the machine's, is seen or touched."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests import support
from tests.e2e.command import SECONDS, alive, enarx, environment, wait_for


@dataclass(frozen=True, slots=True)
class User:
    """``runtime`` is the user's runtime directory, and everything else is below ``home``."""

    home: Path
    runtime: Path

    def environment(self) -> dict[str, str]:
        return environment(self.home, XDG_RUNTIME_DIR=str(self.runtime))

    def enarx(self, *arguments: str | Path, **settings: Any) -> subprocess.CompletedProcess[bytes]:
        settings = {"env": self.environment()} | settings
        return enarx(*arguments, cwd=self.home, **settings)

    def start(self, *arguments: str | Path, **settings: Any) -> subprocess.Popen[bytes]:
        """A command in the background."""
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [str(support.INSTALLED), *map(str, arguments)], cwd=self.home, env=self.environment(), **pipes | settings
        )

    def deploy(self, reference: str | Path, *options: str | Path) -> str:
        """Deploy detached: the name."""
        url = reference if isinstance(reference, str) else reference.as_uri()
        done = self.enarx("deploy", "--detach", url, *options)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().removesuffix("\n")

    def ps(self, *options: str) -> list[dict[str, Any]]:
        done = self.enarx("ps", "--json", *options)
        assert done.returncode == 0, done.stderr.decode()
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def states(self) -> dict[str, str]:
        """Of all deployments, those that have ended too."""
        return {one["name"]: one["state"] for one in self.ps("--all")}

    def facts(self, name: str) -> dict[str, Any]:
        done = self.enarx("inspect", "--json", name)
        assert done.returncode == 0, done.stderr.decode()
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def wait_for_state(self, name: str, *states: str) -> dict[str, Any]:
        wait_for(lambda: self.states().get(name) in states, f"{name} is not {states}: {self.states()}")
        return self.facts(name)

    def directory(self, name: str) -> Path:
        return self.runtime / "enarx" / "deployments" / name

    def processes(self, name: str) -> tuple[int, int]:
        """Supervisor and Keep."""
        facts = self.facts(name)
        return facts["supervisor"]["pid"], facts["keep"]["pid"]


@contextlib.contextmanager
def user(home: Path) -> Iterator[User]:
    """A user, whose deployments are all stopped at the end; none may be left."""
    with tempfile.TemporaryDirectory(prefix="enarx-test-") as runtime:
        found = User(home, Path(runtime))
        try:
            yield found
        finally:
            if (found.runtime / "enarx").is_dir():
                found.runtime.joinpath("enarx").chmod(0o700)
                living = [one["name"] for one in found.ps()]
                if living:
                    found.enarx("stop", "--timeout", "1", *living)
                assert found.ps() == []


@dataclass(frozen=True, slots=True)
class Gate:
    """A URL whose answer comes when the gate is opened: a deployment of it is ``starting`` until then."""

    url: str
    _asked: threading.Event
    _opened: threading.Event

    def wait(self) -> None:
        """Until somebody has asked: its Keep's process has been started by then."""
        assert self._asked.wait(SECONDS), "nobody asks"

    def open(self) -> None:
        self._opened.set()


@contextlib.contextmanager
def gate(content: bytes) -> Iterator[Gate]:
    """Serves ``content`` behind a gate, on loopback; opened at the end in any case."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found._asked.set()
            found._opened.wait(SECONDS)
            with contextlib.suppress(OSError):  # whoever asked may be gone
                self.send_response(200)
                self.send_header("Content-Type", "application/wasm")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Gate(f"http://127.0.0.1:{server.server_port}/app.wasm", threading.Event(), threading.Event())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        found.open()
        server.shutdown()
        thread.join()
        server.server_close()


__all__ = ["Gate", "User", "alive", "gate", "user"]
