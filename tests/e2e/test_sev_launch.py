"""SEV launches through the command line, approved by the tenant while they happen, on SIMULATED platforms."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from enarx.errors import HostError
from enarx.evidence import binding
from enarx.host.sev.approver import HttpApprover
from enarx.host.sev.launch import platform_certificates
from enarx.host.sev.monitor import query_capabilities
from enarx.host.sev.simulated import launch
from enarx.keep.secretarea import read_area
from enarx.manifest import Manifest, StewardPin, Workload, digest_of
from enarx.simulator.sev_firmware import SevFirmware
from enarx.simulator.sev_platform import Identity, make_identity, open_identity
from enarx.simulator.sev_qemu import SimulatedQemu
from tests import programs, support, workloads
from tests.e2e.command import SECONDS, code_of, config, enarx, environment, module
from tests.e2e.sevlaunch import SECRET, SevTenant, policy_of, serving, sev_tenant
from tests.tenant.sevlaunches import Files, changed


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SevTenant]:
    """Launches of this installation's process Keeps, and of the files of `tests.tenant.sevlaunches`."""
    home = tmp_path_factory.mktemp("tenant")
    measured = enarx("simulator", "measure", "--sev", cwd=home).stdout.decode().strip()
    digests = (measured, Files().digest())
    with sev_tenant(home, programs.CAT_FILE, programs.HELLO, digests=digests, table="require_es = false\n") as found:
        yield found


def client(tenant: SevTenant) -> HttpApprover:
    return HttpApprover.at(tenant.approver, bytes.fromhex(tenant.pin.removeprefix("sha256:")))


def identity(tenant: SevTenant) -> Identity:
    return open_identity(tenant.home / ".local/share/enarx/simulator-sev")


def manifest(tenant: SevTenant) -> bytes:
    pin = StewardPin(tenant.steward, tenant.pin)
    return Manifest(Workload(digest_of(programs.HELLO)), None, (), (), (), pin).encode()


def decisions(tenant: SevTenant, count: int) -> list[dict[str, Any]]:
    return [tenant.decision() for _ in range(count)]


# --- what an honest launch gives


def test_keep_proves_itself_by_what_was_injected_and_reads_its_secret(ours: SevTenant, tmp_path: Path) -> None:
    done = ours.run(module(tmp_path, programs.CAT_FILE), "--verbose", "--require-sandbox", args=["secrets/password"])
    assert (done.returncode, done.stdout.decode()) == (0, SECRET), done.stderr.decode()
    assert "enarx: evidence: SIMULATED: approved at launch" in done.stderr.decode()
    begun, approved = decisions(ours, 2)
    assert (begun["verdict"], approved["verdict"]) == ("begun", "approved")
    assert begun["launch"] == approved["launch"] != ""
    assert begun["simulated"] is approved["simulated"] is True
    entry = ours.log()[-1]
    assert (entry["outcome"], entry["technology"], entry["simulated"]) == ("issued", "sev", True)
    assert entry["facts"]["approval"] == approved["facts"]["approval"]
    assert entry["facts"]["measurement"] == approved["facts"]["launch_digest"]
    assert SECRET not in json.dumps([begun, approved, entry])


def test_certificate_carries_the_approval(ours: SevTenant, tmp_path: Path) -> None:
    done = ours.run(module(tmp_path, programs.CAT_FILE), args=["certificate.pem"])
    decisions(ours, 2)
    leaf = x509.load_pem_x509_certificates(done.stdout)[0]
    assert leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(binding.SEV_EVIDENCE_OID))
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(binding.SNP_EVIDENCE_OID))


def test_whole_protocol_over_https_with_firmware_image_and_kernel_hashes(ours: SevTenant) -> None:
    qemu = SimulatedQemu(SevFirmware(identity(ours)))
    area = launch(qemu, client(ours), Files().contents(), manifest(ours), ())
    assert len(read_area(area)) == 1
    assert [one["verdict"] for one in decisions(ours, 2)] == ["begun", "approved"]


def test_client_verifies_a_keep_that_serves(tmp_path: Path) -> None:
    echo, text = workloads.example("echo"), workloads.example_config("echo")
    with sev_tenant(tmp_path, echo.read_bytes()) as tenant:
        words = [echo, "--wasmcfgfile", config(tmp_path, text), "--verbose", *tenant.options()]
        process = subprocess.Popen(
            [str(support.command()), "run", *map(str, words)], env=environment(tmp_path), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        server = workloads.Server(process, text.count('kind = "listen"'))
        try:
            server.wait_until_it_listens()
            url, policy = f"https://localhost:{server.port}", tenant.directory / "steward.toml"
            done = enarx("verify", url, "--policy", policy, "--ca", tenant.pin, cwd=tmp_path)
            other = enarx("verify", url, "--policy", policy, "--ca", f"sha256:{'0' * 64}", "--json", cwd=tmp_path)
        finally:
            server.stop()
            process.communicate()
    assert done.returncode == 0, done.stdout.decode()
    assert "SIMULATED: the evidence is a simulator's." in done.stdout.decode()
    assert "PASS  enrolment-signature" in done.stdout.decode()
    assert "PASS  launch-digest" in done.stdout.decode()
    assert json.loads(other.stdout)["code"] == "untrusted-approver"


# --- what must be refused


def test_changed_kernel_is_refused_and_says_why(ours: SevTenant) -> None:
    qemu = SimulatedQemu(SevFirmware(identity(ours)))
    with pytest.raises(HostError) as raised:
        launch(qemu, client(ours), changed(Files(), "kernel").contents(), manifest(ours), ())
    assert raised.value.code == "approver-refused"
    assert "bad-measurement" in raised.value.message
    assert "do not inject" in raised.value.hint
    assert qemu.execute("query-sev")["state"] == "launch-secret"  # stopped, and without a secret
    assert decisions(ours, 2)[1]["error"]["code"] == "bad-measurement"


def test_platform_of_an_unknown_root_is_refused(ours: SevTenant) -> None:
    qemu = SimulatedQemu(SevFirmware(make_identity()))
    with pytest.raises(HostError) as raised:
        launch(qemu, client(ours), Files().contents(), manifest(ours), ())
    assert "untrusted-chain" in raised.value.message
    assert decisions(ours, 1)[0]["error"]["code"] == "untrusted-chain"


def test_workload_that_the_policy_does_not_name_is_not_launched(ours: SevTenant, tmp_path: Path) -> None:
    done = ours.run(module(tmp_path, programs.HELLO + b"\0\x02\x01x"))
    assert done.returncode == 1
    assert code_of(done.stderr) == "approver-refused"
    assert "workload-mismatch" in done.stderr.decode()
    assert "workload: expected" in done.stderr.decode()
    assert decisions(ours, 1)[0]["error"]["code"] == "workload-mismatch"


def test_launch_is_measured_once(ours: SevTenant) -> None:
    qemu, approver = SimulatedQemu(SevFirmware(identity(ours))), client(ours)
    session = approver.begin("sev-es", platform_certificates(query_capabilities(qemu)), manifest(ours), ())
    for code in ("bad-measurement", "launch-unknown"):
        with pytest.raises(HostError, match=code):
            approver.finish(session.launch, (1, 55, 21), bytes(48))
    decisions(ours, 2)


def test_host_that_names_another_ca_speaks_to_nobody(ours: SevTenant, tmp_path: Path) -> None:
    path = module(tmp_path, programs.HELLO)
    done = ours.run(path, "--approver-ca", f"sha256:{'11' * 32}")
    assert code_of(done.stderr) == "approver-unreachable"
    assert "does not end in the CA" in done.stderr.decode()
    named = replace(client(ours), host="localhost")
    with pytest.raises(HostError, match="not valid for localhost"):
        named.finish("x", (0, 0, 0), bytes(48))


def test_approver_that_is_not_there_is_an_error_with_a_hint(ours: SevTenant, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        gone = replace(ours, approver=f"https://127.0.0.1:{port}")
        done = gone.run(module(tmp_path, programs.HELLO))
    assert code_of(done.stderr) == "approver-unreachable"
    assert "Hint: " in done.stderr.decode()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--approver", "https://localhost"], "--approver needs --steward"),
        (["--approver-ca", "sha256:00"], "--approver-ca goes with --approver"),
        (
            ["--approver", "http://localhost", "--steward", "https://s", "--steward-ca", f"sha256:{'0' * 64}"],
            "https://",
        ),
    ],
)
def test_options_that_do_not_belong_together_are_refused(tmp_path: Path, options: list[str], word: str) -> None:
    done = enarx("run", module(tmp_path, programs.HELLO), *options, cwd=tmp_path)
    assert done.returncode == 2
    assert word in done.stderr.decode()


# --- the approver as a service


def request(tenant: SevTenant, path: str, body: bytes, kind: str = "application/json") -> tuple[int, dict[str, Any]]:
    context = ssl.create_default_context(cafile=str(tenant.directory / "ca.pem"))
    asked = urllib.request.Request(tenant.approver + path, body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(asked, timeout=SECONDS, context=context) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "code"),
    [
        ("/v1/launch", b"{}", "application/json", 400, "request-malformed"),
        ("/v1/launch", b"\xff", "application/json", 400, "request-malformed"),
        ("/v1/launch", b"{}", "text/plain", 415, "media-type"),
        ("/v1/measurement", b"[]", "application/json", 400, "request-malformed"),
        (
            "/v1/measurement",
            json.dumps({"launch": "0" * 32, "firmware": [1, 55, 21], "measurement": "A" * 64}).encode(),
            "application/json", 403, "launch-unknown",
        ),
    ],
)  # fmt: skip
def test_what_is_no_request_is_a_problem_with_a_code(
    ours: SevTenant, path: str, body: bytes, kind: str, status: int, code: str
) -> None:
    found, problem = request(ours, path, body, kind)
    assert (found, problem["code"]) == (status, code)
    assert problem["hint"]


def test_body_that_is_announced_too_long_is_not_read(ours: SevTenant) -> None:
    host, _, port = ours.approver.removeprefix("https://").partition(":")
    context = ssl.create_default_context(cafile=str(ours.directory / "ca.pem"))
    with contextlib.closing(http.client.HTTPSConnection(host, int(port), timeout=SECONDS, context=context)) as asked:
        asked.putrequest("POST", "/v1/launch")
        asked.putheader("Content-Type", "application/json")
        asked.putheader("Content-Length", str(2 * 1024 * 1024 + 1))
        asked.endheaders()
        with asked.getresponse() as answer:
            assert (answer.status, json.loads(answer.read())["code"]) == (413, "too-long")


@contextlib.contextmanager
def once(ours: SevTenant, *options: str) -> Iterator[tuple[subprocess.Popen[str], HttpApprover]]:
    with serving(ours.directory, ours.home, "launch", "approve", "--once", *options) as (process, address, ca):
        yield process, HttpApprover.at(address, bytes.fromhex(ca.removeprefix("sha256:")))


def test_approver_for_one_launch_ends_with_it(ours: SevTenant) -> None:
    with once(ours) as (process, approver):
        launch(SimulatedQemu(SevFirmware(identity(ours))), approver, Files().contents(), manifest(ours), ())
        assert process.wait(SECONDS) == 0
        assert process.stdout is not None
        said = process.stdout.read()
    assert "approved: measurement of launch " in said
    assert "SIMULATED: " in said
    assert "PASS  launch-digest" in said
    assert Files().digest() in said


def test_approver_for_one_launch_says_that_it_was_refused(ours: SevTenant) -> None:
    with once(ours) as (process, approver):
        qemu = SimulatedQemu(SevFirmware(identity(ours)))
        with pytest.raises(HostError):
            launch(qemu, approver, changed(Files(), "initrd").contents(), manifest(ours), ())
        assert process.wait(SECONDS) == 5
        assert process.stdout is not None
        said = process.stdout.read()
    assert "refused: measurement of launch " in said
    assert "Code: bad-measurement" in said
    assert "Hint: " in said


def test_approver_without_a_table_for_sev_does_not_start(tmp_path: Path) -> None:
    enarx("steward", "init", tmp_path / "steward", cwd=tmp_path)
    done = enarx("launch", "approve", "--directory", tmp_path / "steward", "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert code_of(done.stderr) == "policy-no-table"
    done = enarx("launch", "approve", "--directory", tmp_path / "steward", "--port", "99999", cwd=tmp_path)
    assert done.returncode == 2


def test_policy_is_reloaded_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    import signal

    from tests.e2e.command import wait_for

    enarx("simulator", "sev-root", "--out", tmp_path / "sev.root", cwd=tmp_path)
    directory = tmp_path / "steward"
    enarx("steward", "init", directory, "--name", "127.0.0.1", cwd=tmp_path)
    policy = directory / "steward.toml"
    plain = policy.read_text()
    policy.write_text(plain + policy_of(tmp_path, [programs.HELLO], ["ab" * 32]))
    with serving(directory, tmp_path, "launch", "approve") as (process, address, ca):
        approver = HttpApprover.at(address, bytes.fromhex(ca.removeprefix("sha256:")))
        tenant = SevTenant(tmp_path, directory, "https://127.0.0.1", address, ca, process)

        def outcome() -> str:
            qemu = SimulatedQemu(SevFirmware(identity(tenant)))
            try:
                launch(qemu, approver, Files().contents(), manifest(tenant), ())
            except HostError as error:
                return error.message
            return "approved"

        assert "bad-measurement" in outcome()
        policy.write_text("[sev]\nmisspelt = 1\n")
        process.send_signal(signal.SIGHUP)
        assert "bad-measurement" in outcome()
        policy.write_text(plain + policy_of(tmp_path, [programs.HELLO], [Files().digest()]))
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: outcome() == "approved", "the new policy was not adopted")
