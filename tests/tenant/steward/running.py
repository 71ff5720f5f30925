"""A Steward in processes of its own, as `enarx steward serve` runs it, and requests to it over TLS."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization

from enarx.tenant.steward.files import read_authority
from tests.tenant.keeps import authority, policy_text

SECONDS = 60
"""What no answer and no stop of a Steward takes, however busy the machine is."""
COMMAND = """
import argparse, sys
from enarx.cli import policy, steward
from enarx.cli.main import show_error
from enarx.errors import EnarxError
parser = argparse.ArgumentParser()
commands = parser.add_subparsers(required=True)
steward.add_parser(commands)
policy.add_parser(commands)
args = parser.parse_args()
try:
    sys.exit(args.run(args))
except EnarxError as error:
    show_error(error)
    sys.exit(error.exit_status)
"""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def prepare(directory: Path, text: str | None = None) -> Path:
    """A directory with the CA of `tests.tenant.keeps` and a policy for its Keeps, valid now."""
    private = authority()._key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "ca.key").write_bytes(private)
    (directory / "ca.key").chmod(0o600)
    (directory / "ca.pem").write_bytes(authority().certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "steward.toml").write_text(policy_text("[service]\nrate = 0\n") if text is None else text)
    read_authority(directory / "ca.pem", directory / "ca.key")
    return directory


class Running:
    """A Steward that answers; ``port`` is where."""

    def __init__(self, directory: Path, *options: str, killed: bool = False) -> None:
        """``killed`` says that it will not live to write down which lines it ran."""
        self.directory = directory
        self._errors = (directory / "stderr").open("ab")
        command = [sys.executable, "-c", COMMAND, "steward", "serve", "--directory", str(directory), "--port", "0"]
        environment = {k: v for k, v in os.environ.items() if not (killed and k.startswith("COVERAGE_"))}
        self.process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=self._errors, env=environment
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline().decode()
        if not self.line:
            self.process.wait(SECONDS)
            self.close()
            raise AssertionError((directory / "stderr").read_text())
        self.port = int(self.line.split("/ CA")[0].rpartition(":")[2])
        self.context = ssl.create_default_context(cafile=str(directory / "ca.pem"))

    def connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=SECONDS, context=self.context)

    def raw(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)
        return self.context.wrap_socket(plain, server_hostname="127.0.0.1")

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = self.connection()
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            got = connection.getresponse()
            return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        finally:
            connection.close()

    def attest(self, body: bytes) -> Answer:
        return self.ask("POST", "/v1/attest", body, content_type="application/json")

    def compatible(self, body: bytes, kind: str = "application/pkcs10") -> Answer:
        return self.ask("POST", "/", body, content_type=kind)

    def errors(self) -> str:
        return (self.directory / "stderr").read_text()

    def stop(self) -> int:
        """Ask it to stop, as a service manager does; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(SECONDS)
        self.close()
        return status

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)
        self.close()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._errors.close()


@contextmanager
def running(directory: Path, *options: str) -> Iterator[Running]:
    steward = Running(directory, *options)
    try:
        yield steward
        if steward.process.poll() is None:
            steward.stop()
    finally:
        steward.close()
