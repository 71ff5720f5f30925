"""A Keep that serves pages before a Steward, and a client's own policy for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import enarx as library
from enarx.manifest import digest_of
from tests import workloads
from tests.e2e.attested import Tenant, serving, tenant
from tests.e2e.command import enarx


@dataclass(frozen=True, slots=True)
class Served:
    """A Keep that serves before ``ours`` at ``port``, and the files of a client who knows what it should be."""

    ours: Tenant
    port: int
    policy: Path
    manifest: Path

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def demands(self, **changes: Any) -> dict[str, Any]:
        """The arguments of an attested client who accepts this Keep."""
        return {"policy": self.policy, "manifest": self.manifest} | changes

    def client(self, **changes: Any) -> library.Client:
        return library.Client(**self.demands(**changes))


@contextlib.contextmanager
def served(home: Path, example: str = "https-page") -> Iterator[Served]:
    """One Keep with the example, and its Steward."""
    module, text = workloads.example(example), workloads.example_config(example)
    with ExitStack() as stack:
        ours = stack.enter_context(tenant(home, module.read_bytes(), configured=text))
        keep = stack.enter_context(serving(ours, module, text))
        yield Served(ours, keep.port, client_policy(ours), expected_manifest(ours, module))


def client_policy(ours: Tenant, measurement: str = "", name: str = "client.toml") -> Path:
    """A policy without secrets that accepts this machine's Keeps (or those of ``measurement``)."""
    own = measurement or enarx("simulator", "measure", cwd=ours.home).stdout.decode().strip()
    path = ours.home / name
    path.write_text(f'[simulated]\nroot = "root.pem"\nmeasurement = ["{own}"]\n')
    return path


def expected_manifest(ours: Tenant, module: Path, *options: str) -> Path:
    """What was to be deployed."""
    path = ours.home / f"expected-{digest_of(module.read_bytes())[7:15]}{len(options)}.json"
    done = enarx(
        "manifest", module, "--wasmcfgfile", ours.home / "Enarx.toml", *ours.options(), "--out", path, *options,
        cwd=ours.home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return path
