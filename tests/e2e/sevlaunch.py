"""A tenant with a Steward and an approver that run, before which hosts launch Keeps on SIMULATED SEV platforms."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enarx.manifest import digest_of
from tests import support
from tests.e2e.command import SECONDS, enarx, environment

SECRET = "correct horse battery staple"


@dataclass(frozen=True, slots=True)
class SevTenant:
    """``home`` is of the machine where Keeps run: its simulated SEV platform is there."""

    home: Path
    directory: Path
    steward: str
    approver: str
    pin: str
    process: subprocess.Popen[str]

    def options(self) -> list[str]:
        return ["--steward", self.steward, "--steward-ca", self.pin, "--approver", self.approver]

    def run(self, module: Path, *options: str, args: Sequence[str] = ()) -> subprocess.CompletedProcess[bytes]:
        return enarx("run", module, *self.options(), *options, "--", *args, cwd=self.home)

    def decision(self) -> dict[str, Any]:
        """The approver's next decision."""
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def log(self) -> list[dict[str, Any]]:
        """What the Steward has decided."""
        done = enarx("steward", "log", "--directory", self.directory, cwd=self.home)
        return [json.loads(line.split(" ", 2)[2]) for line in done.stdout.decode().splitlines()]


def policy_of(home: Path, modules: Sequence[bytes], digests: Sequence[str] = (), *, table: str = "") -> str:
    """A policy for this installation's process Keeps (or for ``digests``), launched on SEV, with these modules.

    ``table`` is more of the table; one that includes the values of an image is for that image alone.
    """
    if not digests and "include" not in table:
        measured = enarx("simulator", "measure", "--sev", cwd=home)
        digests = [measured.stdout.decode().strip()]
        table += "require_es = false\n"
    listed = ", ".join(f'"{one}"' for one in digests)
    named = ", ".join(f'"{digest_of(module)}"' for module in modules)
    return (
        f'[simulated_sev]\nroot = "../sev.root"\nlaunch_digests = [{listed}]\n{table}'
        f'[workload.web]\ndigest = [{named}]\nargs = "any"\nconfig = "any"\n'
        f'[[secret]]\nname = "password"\nvalue = "{SECRET}"\nworkloads = ["web"]\nsimulated = true\n'
        '[certificate]\ndns = ["localhost"]\n'
    )


@contextlib.contextmanager
def serving(directory: Path, home: Path, *command: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """``enarx COMMAND`` for a tenant's directory: the process, and the address and CA that it says."""
    with subprocess.Popen(
        [str(support.command()), *command, "--directory", str(directory), "--port", "0"],
        env=environment(home), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            said = re.fullmatch(r"(?:steward|approver): (https://.*)/ CA (sha256:[0-9a-f]{64})\n", line)
            assert said is not None, line + process.stdout.read()
            yield process, said[1], said[2]
        finally:
            process.terminate()
            process.wait(SECONDS)


@contextlib.contextmanager
def sev_tenant(home: Path, *modules: bytes, digests: Sequence[str] = (), table: str = "") -> Iterator[SevTenant]:
    """A Steward, and an approver that prints its decisions as JSON, for SIMULATED SEV launches of these modules."""
    directory = home / "steward"
    for command in (
        ("simulator", "sev-root", "--out", str(home / "sev.root")),
        ("steward", "init", str(directory), "--name", "127.0.0.1"),
    ):
        done = enarx(*command, cwd=home)
        assert done.returncode == 0, done.stderr.decode()
    policy = directory / "steward.toml"
    policy.write_text(policy.read_text() + policy_of(home, modules, digests, table=table))
    with (
        serving(directory, home, "steward", "serve") as (_, steward, pin),
        serving(directory, home, "launch", "approve", "--json") as (process, approver, ca),
    ):
        assert ca == pin
        yield SevTenant(home, directory, steward, approver, pin, process)
