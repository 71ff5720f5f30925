"""A client who verifies a Keep that serves, with what `enarx manifest` said before anything was launched."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from enarx.manifest import digest_of
from tests import workloads
from tests.e2e.attested import Tenant, serving, tenant
from tests.e2e.command import SECONDS, enarx


@dataclass(frozen=True, slots=True)
class Served:
    """A Keep that serves the echo example before ``ours``, and where."""

    ours: Tenant
    port: int

    def verify(self, *options: str | Path, host: str = "localhost") -> tuple[int, dict[str, object]]:
        """Exit status and verdict of ``enarx verify`` by the Steward's own policy."""
        url, policy = f"https://{host}:{self.port}", self.ours.directory / "steward.toml"
        done = enarx("verify", url, "--policy", policy, "--json", *options, cwd=self.ours.home)
        return done.returncode, json.loads(done.stdout)

    def manifest(self, module: Path, *options: str) -> Path:
        """What was to be deployed."""
        path = self.ours.home / "expected.json"
        done = enarx(
            "manifest", module, "--wasmcfgfile", self.ours.home / "Enarx.toml", *self.ours.options(), "--out", path,
            *options, cwd=self.ours.home,
        )  # fmt: skip
        assert done.stdout.decode().strip() == digest_of(path.read_bytes()), done.stderr.decode()
        return path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    echo, text = workloads.example("echo"), workloads.example_config("echo")
    home = tmp_path_factory.mktemp("served")
    with ExitStack() as stack:
        ours = stack.enter_context(tenant(home, echo.read_bytes(), configured=text))
        yield Served(ours, stack.enter_context(serving(ours, echo, text)).port)


def test_client_accepts_the_launch_that_was_to_be_deployed(served: Served) -> None:
    status, found = served.verify("--manifest", served.manifest(workloads.example("echo")))
    assert (status, found["accepted"], found["workload"]) == (0, True, "web"), found["error"]
    assert found["simulated"] is True
    assert found["authority_checked"] is True  # by the CA that the manifest pins


def test_client_accepts_what_the_steward_that_he_trusts_certified(served: Served) -> None:
    status, found = served.verify("--ca", served.ours.ca)
    assert (status, found["code"]) == (0, "accepted")


def test_client_refuses_another_workload_than_he_expects(served: Served, tmp_path: Path) -> None:
    swapped = tmp_path / "app.wasm"
    swapped.write_bytes(workloads.example("echo").read_bytes() + b"\0\x02\x01x")
    status, found = served.verify("--manifest", served.manifest(swapped))
    assert (status, found["code"]) == (5, "manifest-mismatch")


def test_client_refuses_another_argument_than_he_expects(served: Served) -> None:
    status, found = served.verify("--manifest", served.manifest(workloads.example("echo"), "--", "--insecure"))
    assert (status, found["code"]) == (5, "manifest-mismatch")


def test_client_refuses_another_name_and_another_ca(served: Served) -> None:
    assert served.verify("--ca", served.ours.ca, host="127.0.0.1")[1]["code"] == "certificate-name"
    assert served.verify("--ca", "sha256:" + 64 * "0")[1]["code"] == "certificate-ca"


def test_client_who_knows_no_launch_refuses(served: Served) -> None:
    assert served.verify()[1]["code"] == "workload-unknown"


@pytest.mark.parametrize(
    ("at", "status", "code"),
    [
        ("2001-01-01T00:00:00Z", 4, "certificate-not-yet-valid"),  # the processor's, which is looked at first
        ("2099-01-01T00:00:00Z", 6, "certificate-expired"),
    ],
)
def test_clock_before_and_after_validity_refuses(at: str, status: int, code: str, served: Served) -> None:
    seen, found = served.verify("--ca", served.ours.ca, "--at", at)
    assert (seen, found["code"]) == (status, code)


def test_client_refuses_what_is_no_attested_keep(served: Served, tmp_path: Path) -> None:
    """The same workload without a Steward: its certificate proves nothing."""
    text = workloads.example_config("echo")
    with workloads.serving(workloads.example("echo"), text, cwd=tmp_path) as server:
        found = Served(served.ours, server.port).verify("--ca", served.ours.ca)
    assert (found[0], found[1]["code"]) == (3, "keep-certificate")


def test_client_refuses_a_certificate_that_the_steward_withdrew(served: Served, tmp_path: Path) -> None:
    facts = served.verify("--ca", served.ours.ca)[1]["facts"]
    assert isinstance(facts, dict)
    done = enarx("steward", "revoke", facts["serial"], "--directory", served.ours.directory, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    listed = tmp_path / "steward.crl"
    context = ssl.create_default_context(cafile=str(served.ours.ca))
    with urllib.request.urlopen(f"{served.ours.url}/v1/crl", context=context, timeout=SECONDS) as answer:
        listed.write_bytes(answer.read())
    status, found = served.verify("--ca", served.ours.ca, "--crl", listed)
    assert (status, found["code"]) == (4, "certificate-revoked")
