"""Debian's docker-registry, run for a test on loopback with a configuration of the test's own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.registry.certificates import authority, server
from tests.support import require_tool

SECONDS = 60
USER, PASSWORD = "tester", "correct horse"
HTPASSWD = f"{USER}:$2b$04$u508FUhdloa32IjKpA1QlePckIb6nu.qxBq5T9Q./PQGWMjeimJA2\n"
"""bcrypt of PASSWORD with its least cost."""
SERVICE, ISSUER = "test-registry", "test-issuer"
_LISTENING = re.compile(r"listening on (127\.0\.0\.1:[0-9]+)")


@dataclass(frozen=True, slots=True)
class Running:
    """A registry that answers. ``host`` is what references say."""

    host: str
    directory: Path
    process: subprocess.Popen[str]

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    def blob_path(self, digest: str) -> Path:
        """Where the registry keeps a blob's bytes."""
        hexadecimal = digest.removeprefix("sha256:")
        return self.directory / f"data/docker/registry/v2/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data"


@contextlib.contextmanager
def registry(directory: Path, *, tls: bool = False, auth: Mapping[str, object] | None = None) -> Iterator[Running]:
    """A registry whose data is below ``directory``, until the block ends. It listens on loopback only."""
    program = require_tool("docker-registry", "docker-registry")
    http: dict[str, object] = {"addr": "127.0.0.1:0", "secret": "not a secret"}
    if tls:
        certificate, key = server().write(directory, "registry")
        (directory / "ca.pem").write_bytes(authority().pem)
        http["tls"] = {"certificate": str(certificate), "key": str(key)}
    configuration: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": http,
    }
    if auth:
        configuration["auth"] = auth
    path = directory / "registry.yml"
    path.write_text(json.dumps(configuration))  # JSON is YAML
    environment = {"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"}
    process = subprocess.Popen(
        [program, "serve", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, text=True
    )
    assert process.stderr is not None
    drain: threading.Thread | None = None
    try:
        host, log = "", ""
        for line in process.stderr:
            log += line
            found = _LISTENING.search(line)
            if found:
                host = found[1]
                break
        assert host, log
        drain = threading.Thread(target=_drain, args=(process,), daemon=True)
        drain.start()
        yield Running(host, directory, process)
    finally:
        process.kill()
        process.wait(SECONDS)
        if drain is not None:
            drain.join()
        process.stderr.close()


def _drain(process: subprocess.Popen[str]) -> None:
    """Read its log, so that it never waits for somebody to."""
    assert process.stderr is not None
    for _ in process.stderr:
        pass


def htpasswd(directory: Path) -> Mapping[str, object]:
    """Configuration for one user with a password."""
    path = directory / "htpasswd"
    path.write_text(HTPASSWD)
    return {"htpasswd": {"realm": "test", "path": str(path)}}
