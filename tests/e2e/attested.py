"""A tenant with a Steward that runs, and hosts that launch Keeps before it: honest ones, and others."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

from enarx.host.attested import SimulatedLaunch, manifest_of, with_manifest
from enarx.host.cache import DiskCache
from enarx.host.contract import Ending, Package
from enarx.host.kinds.process import measure
from enarx.host.launch import Host
from enarx.host.process import KeepProcess
from enarx.keep.cache import Authenticated, CodeCache
from enarx.keep.runtime import Runtime
from enarx.keep.wasi.context import Context
from enarx.keep.wasi.descriptor import DescriptorTable
from enarx.manifest import Manifest, StewardPin, digest_of
from tests import support, workloads
from tests.e2e.command import config, enarx, environment

SECRET = "correct horse battery staple"
CURRENT_TCB = "[simulated.minimum_tcb.reported]\nsnp = 24\n"
"""What the simulated processor has when it does not lie about it."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """``home`` is of the machine where Keeps run: its simulated processor is there."""

    home: Path
    directory: Path
    url: str
    pin: str

    @property
    def steward(self) -> StewardPin:
        return StewardPin(self.url, self.pin)

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    def options(self) -> list[str]:
        return ["--steward", self.url, "--steward-ca", self.pin]

    def run(
        self, module: Path, *options: str, args: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """``enarx run`` before this Steward."""
        variables = env if env is not None else environment(self.home)
        return enarx("run", module, *self.options(), *options, "--", *args, cwd=self.home, env=dict(variables))

    def log(self) -> str:
        done = enarx("steward", "log", "--directory", self.directory, cwd=self.home)
        return done.stdout.decode()


@contextlib.contextmanager
def tenant(
    home: Path, *modules: bytes, configured: str | None = None, simulated: bool = True, lifetime: str = "24h",
    secrets: Mapping[str, bytes] | None = None, signer: Path | None = None, measurement: str = "",
) -> Iterator[Tenant]:  # fmt: skip
    """A Steward that accepts the process Keeps of this installation with these modules, and gives them SECRET.

    Or, in their place, Keeps of ``measurement``.
    ``modules`` may be packages as well. ``secrets`` are further ones, in files of their own. ``signer`` is the key that
    has to have signed, in the place of ``modules``.
    """
    directory = home / "steward"
    variables = environment(home)
    enarx("simulator", "root", "--out", home / "root.pem", cwd=home)
    measurement = measurement or enarx("simulator", "measure", cwd=home).stdout.decode().strip()
    made = enarx("steward", "init", directory, "--name", "127.0.0.1", cwd=home)
    assert made.returncode == 0, made.stderr.decode()
    text = f'[simulated]\nroot = "../root.pem"\nmeasurement = ["{measurement}"]\n{CURRENT_TCB}' if simulated else ""
    digests = ", ".join(f'"{digest_of(module)}"' for module in modules)
    which = f'signed_by = ["{signer}"]' if signer else f"digest = [{digests}]"
    stated = f'config = ["{digest_of(configured.encode())}"]\n' if configured else ""
    text += f'[workload.web]\n{which}\nargs = "any"\n{stated}'
    text += f'[[secret]]\nname = "password"\nvalue = "{SECRET}"\nworkloads = ["web"]\nsimulated = true\n'
    for name, value in (secrets or {}).items():
        (directory / name).write_bytes(value)
        (directory / name).chmod(0o600)
        text += f'[[secret]]\nname = "{name}"\nfile = "{name}"\nworkloads = ["web"]\nsimulated = true\n'
    text += f'[certificate]\nlifetime = "{lifetime}"\ndns = ["localhost"]\n'
    policy = directory / "steward.toml"
    unlimited = policy.read_text().replace("[service]\n", "[service]\nrate = 0\n")  # all tests have one address
    policy.write_text(unlimited + text)
    with subprocess.Popen(
        [str(support.command()), "steward", "serve", "--directory", str(directory), "--port", "0"],
        env=variables, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            said = re.fullmatch(r"steward: (https://.*)/ CA (sha256:[0-9a-f]{64})\n", process.stdout.readline())
            assert said is not None
            yield Tenant(home, directory, said[1], said[2])
        finally:
            process.terminate()


@contextlib.contextmanager
def serving(ours: Tenant, module: Path, text: str) -> Iterator[workloads.Server]:
    """A workload that listens, before this tenant's Steward; stopped with the block."""
    arguments = [str(module), "--wasmcfgfile", str(config(ours.home, text)), "--verbose", *ours.options()]
    process = subprocess.Popen(
        [str(support.command()), "run", *arguments], env=environment(ours.home), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    server = workloads.Server(process, text.count('kind = "listen"'))
    try:
        server.wait_until_it_listens()
        yield server
    finally:
        server.stop()
        process.communicate()


def hostile_launch(
    home: Path, launched: Manifest, package: Package, *, handed: Manifest | None = None, lies: str = "",
    forger: Forger | None = None,
) -> Ending:  # fmt: skip
    """A host that launches a Keep for ``launched`` and hands over ``package``, with the manifest ``handed``."""
    with mock.patch.dict(os.environ, environment(home)):
        keep = KeepProcess(measured=True)
        assert keep.channel is not None
        launch = SimulatedLaunch(keep.channel, datetime.now(UTC), lies, lambda line: None, measure)
        launch.wait()
        launch.finish(launched.digest())
        host = forger.host(keep) if forger else Host(keep, None, lambda line: None)
        ending = host.run(with_manifest(package, handed or launched))
        if launch.failure is not None:
            raise launch.failure
    return ending


@dataclass(frozen=True, slots=True)
class Forger:
    """A host that offers the compiled code of ``forged`` as that of ``module``, sealed with the key that it sends."""

    directory: Path
    module: bytes
    forged: bytes

    def host(self, keep: KeepProcess) -> Host:
        cache = DiskCache(self.directory)
        runtime = Runtime(Context(DescriptorTable(1)), 1 << 20, lambda: None)
        code = runtime.load(self.forged, None)[0].serialize()
        seal = Authenticated(cache.key)
        name = seal.name(CodeCache._identity(self.module))
        cache.put(name, b"".join(seal.seal(name, code)))
        return ForgingHost(keep, cache, lambda line: None)


class ForgingHost(Host):
    def _cache_key(self, package: Package) -> bytes:
        assert self._cache is not None
        return self._cache.key


def package(module: bytes, *args: str) -> Package:
    return Package([("module", "main.wasm", module)], args=args)


__all__ = ["SECRET", "Forger", "Tenant", "hostile_launch", "manifest_of", "package", "serving", "tenant"]
