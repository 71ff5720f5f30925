"""A VM Keep before a real Steward, on the simulated processor: what an honest launch gives, and each way to cheat."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import enarx
from enarx.errors import PolicyError
from enarx.evidence.reference import parse_reference_values
from tests import programs, support, workloads
from tests.e2e.attested import SECRET, Tenant, tenant
from tests.e2e.attestedclient import client_policy
from tests.e2e.command import code_of, config, module
from tests.e2e.vms import SECONDS, hostile_qemu, own_image, run_vm, vm_environment

pytestmark = pytest.mark.timeout(900)


def measurement_of(image: Path, vcpus: int = 1) -> str:
    values = parse_reference_values((image / "reference-values.toml").read_bytes())
    return next(one.measurement.hex() for one in values if (one.technology, one.vcpus) == ("snp", vcpus))


@dataclass(frozen=True, slots=True)
class Host:
    """A host with an image, before a tenant who accepts the one that was built."""

    tenant: Tenant
    image: Path

    def run(
        self, workload: bytes, *args: str, options: tuple[str, ...] = (), path: str = ""
    ) -> subprocess.CompletedProcess[bytes]:
        home = self.tenant.home
        env = vm_environment(home, self.image) | ({"PATH": path} if path else {})
        return run_vm(
            module(home, workload), "--", *args, home=home, image=self.image, env=env,
            options=(*self.tenant.options(), *options),
        )  # fmt: skip


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory, built_image: Path) -> Iterator[Tenant]:
    with contextlib.ExitStack() as stack:
        home = tmp_path_factory.mktemp("tenant")
        modules = (programs.CAT_FILE, programs.HELLO)
        yield stack.enter_context(tenant(home, *modules, measurement=measurement_of(built_image)))


def refused(done: subprocess.CompletedProcess[bytes], code: str, *words: str) -> None:
    assert (done.returncode, done.stdout, code_of(done.stderr)) == (1, b"", code), done.stderr.decode()
    for word in words:
        assert word in done.stderr.decode()


def test_keep_of_the_built_image_gets_its_secret_in_256_mib(honest: Tenant, image: Path) -> None:
    done = Host(honest, image).run(programs.CAT_FILE, "secrets/password", options=("--memory", "256M", "--verbose"))
    assert (done.returncode, done.stdout.decode()) == (0, SECRET), done.stderr.decode()
    assert "enarx: evidence: SIMULATED: " in done.stderr.decode()
    assert SECRET not in honest.log()


def test_image_with_a_changed_byte_is_refused(honest: Tenant, built_image: Path, tmp_path: Path) -> None:
    """In the command line, where it changes nothing that happens; for the other files see tests/host/kinds."""
    at = (built_image / "cmdline").read_text().index("quiet")
    changed = own_image(built_image, tmp_path, "cmdline", at)
    refused(Host(honest, changed).run(programs.HELLO), "steward-refused", "measurement")


def test_extra_vcpu_is_refused(honest: Tenant, image: Path) -> None:
    refused(Host(honest, image).run(programs.HELLO, options=("--cpus", "2")), "steward-refused", "measurement")


def test_swapped_manifest_is_refused_by_the_keep(honest: Tenant, image: Path) -> None:
    options = ("--simulator-misbehave", "wrong-host-data")
    refused(Host(honest, image).run(programs.HELLO, options=options), "manifest-not-attested")


def test_replayed_report_is_refused_by_the_keep(honest: Tenant, image: Path) -> None:
    refused(Host(honest, image).run(programs.HELLO, options=("--simulator-misbehave", "replayed")), "attester-failed")


def test_report_of_another_keep_is_refused(honest: Tenant, image: Path) -> None:
    options = ("--simulator-misbehave", "other-keep")
    done = Host(honest, image).run(programs.HELLO, options=options)
    assert (done.returncode, done.stdout) == (1, b"")
    assert code_of(done.stderr) in ("steward-refused", "manifest-not-attested"), done.stderr.decode()


@pytest.mark.parametrize("clock", ["1999-12-31T23:59:59", "2061-07-28"])
def test_keep_whose_clock_is_years_off_gets_nothing_and_says_why(
    clock: str, honest: Tenant, image: Path, tmp_path: Path
) -> None:
    """It takes the Steward's certificate for one of another time. What time it is for others, it does not decide."""
    path = hostile_qemu(tmp_path, f"arguments += ['-rtc', 'base={clock}']")
    done = Host(honest, image).run(programs.CAT_FILE, "secrets/password", path=path)
    refused(done, "steward-time", f"the Keep's clock says {'2000' if clock < '2000' else '2061'}-")


def test_client_has_fresh_evidence_of_a_vm_keep_before_it_sends_anything(
    image: Path, built_image: Path, tmp_path: Path
) -> None:
    """Over the exporter of a session that ends in the guest, by OpenSSL's log in a guest without files."""
    echo, text = workloads.example("echo"), workloads.example_config("echo")
    measured = measurement_of(built_image)
    command = [str(support.command()), "run", "--backend", "vm", "--wasmcfgfile", str(config(tmp_path, text))]
    with tenant(tmp_path, echo.read_bytes(), configured=text, measurement=measured) as ours:
        process = subprocess.Popen(
            [*command, "--verbose", *ours.options(), str(echo)], cwd=tmp_path, env=vm_environment(tmp_path, image),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        server = workloads.Server(process, text.count('kind = "listen"'))
        try:
            server.wait_until_it_listens()
            url, sent = f"https://localhost:{server.port}", b"through the same session\n"
            demands: dict[str, Any] = {"ca": ours.pin, "seconds": SECONDS}
            with enarx.open_socket(url, policy=client_policy(ours, measured), **demands) as tls:
                tls.settimeout(SECONDS)
                tls.sendall(sent)
                assert tls.recv(100) == sent
            with pytest.raises(PolicyError):
                enarx.open_socket(url, policy=client_policy(ours, "cd" * 48, "strict.toml"), **demands)
        finally:
            server.stop()
            process.communicate()
