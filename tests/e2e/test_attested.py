"""A Keep that proves itself to a real Steward, on the simulated processor, and everything that must stop it."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx.evidence import binding
from enarx.evidence.snp.enarx import parse_evidence, parse_manifest_digest
from enarx.host.process import KeepProcess
from enarx.manifest import digest_of
from enarx.manifest import parse as parse_manifest
from enarx.tenant.steward.files import read_authority
from tests import programs, workloads
from tests.e2e import peers, tampering
from tests.e2e.attested import SECRET, Forger, Tenant, hostile_launch, manifest_of, package, serving, tenant
from tests.e2e.command import SECONDS, STDIO, code_of, config, enarx, environment, module
from tests.keep.tenants import read_request, response

NOTCAPABLE = 76
both = pytest.mark.usefixtures("both_links")
"""Over a link that passes descriptors, and over one that carries bytes."""
LISTEN = '[[files]]\nkind = "listen"\nname = "web"\nprot = "tls"\naddr = "127.0.0.1"\nport = {port}\n'


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    with tenant(tmp_path_factory.mktemp("tenant"), programs.CAT_FILE, programs.WRITE_FILE, programs.HELLO) as found:
        yield found


def refused(done: subprocess.CompletedProcess[bytes], code: str, *words: str) -> None:
    assert done.returncode == 1, done.stderr.decode()
    assert done.stdout == b""
    assert code_of(done.stderr) == code
    for word in words:
        assert word in done.stderr.decode()


# --- what an honest launch gives


@both
def test_workload_reads_its_secret_which_the_steward_released(honest: Tenant, tmp_path: Path) -> None:
    done = honest.run(module(tmp_path, programs.CAT_FILE), args=["secrets/password"])
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, SECRET, b"")
    assert SECRET not in honest.log()


@both
def test_workload_reads_its_manifest_certificate_and_attestation_result(honest: Tenant, tmp_path: Path) -> None:
    path = module(tmp_path, programs.CAT_FILE)
    manifest = parse_manifest(honest.run(path, args=["manifest.json"]).stdout)
    assert manifest.workload.digest == digest_of(programs.CAT_FILE)
    assert (manifest.args, manifest.steward) == (("manifest.json",), honest.steward)
    leaf, *_, anchor = x509.load_pem_x509_certificates(honest.run(path, args=["certificate.pem"]).stdout)
    assert anchor == x509.load_pem_x509_certificate(honest.ca.read_bytes())
    named = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(binding.MANIFEST_DIGEST_OID)).value
    assert isinstance(named, x509.UnrecognizedExtension)
    assert parse_manifest_digest(named.value) == replace(manifest, args=("certificate.pem",)).digest()
    assert honest.run(path, args=["ear.jwt"]).stdout.count(b".") == 2


def test_workload_cannot_write_to_what_it_reads_of_itself(honest: Tenant, tmp_path: Path) -> None:
    done = honest.run(module(tmp_path, programs.WRITE_FILE), args=["new"])
    assert done.returncode == NOTCAPABLE


@both
def test_simulated_evidence_is_said_to_be_simulated(honest: Tenant, tmp_path: Path) -> None:
    done = honest.run(module(tmp_path, programs.HELLO), "--verbose", "--require-sandbox")
    assert (done.returncode, done.stdout) == (0, b"ready\n")
    assert "enarx: evidence: SIMULATED: " in done.stderr.decode()
    assert "enarx: sandbox: seccomp: applied" in done.stderr.decode()


def test_ca_may_be_given_as_its_certificate(honest: Tenant, tmp_path: Path) -> None:
    path = module(tmp_path, programs.HELLO)
    done = enarx("run", path, "--steward", honest.url, "--steward-ca", honest.ca, cwd=honest.home)
    assert (done.returncode, done.stdout) == (0, b"ready\n")


@both
def test_client_that_trusts_the_ca_alone_meets_the_workload_and_its_evidence(tmp_path: Path) -> None:
    echo, text = workloads.example("echo"), workloads.example_config("echo")
    with tenant(tmp_path, echo.read_bytes(), configured=text) as ours, serving(ours, echo, text) as server:
        context = ssl.create_default_context(cafile=str(ours.ca))
        with peers.client(server.port, tls=True, context=context) as sock:
            assert isinstance(sock, ssl.SSLSocket)
            assert peers.echoed(sock, b"hello") == b"hello"
            leaf = x509.load_der_x509_certificate(sock.getpeercert(binary_form=True) or b"")
        evidence = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(binding.SNP_EVIDENCE_OID)).value
        assert isinstance(evidence, x509.UnrecognizedExtension)
        key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert parse_evidence(evidence.value).report[0x50:0x90] == binding.report_data(key)


def test_every_version_that_the_signer_signed_is_accepted_and_no_other(tmp_path: Path) -> None:
    def ended(*words: str | Path) -> None:
        done = enarx(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()

    for name in ("release", "other"):
        ended("key", "package", "create", "--type", "p384", "--out", tmp_path / f"{name}.key")
    ended("key", "package", "public", tmp_path / "release.key", "--out", tmp_path / "release.pub")
    signature = tmp_path / "app.wasm.sig"
    with tenant(tmp_path, signer=tmp_path / "release.pub") as ours:
        for version in (programs.HELLO, programs.HELLO + b"\0\x02\x01x"):
            path = module(tmp_path, version)
            signature.unlink(missing_ok=True)
            ended("package", "sign", path, "--key", tmp_path / "release.key")
            done = ours.run(path)
            assert (done.returncode, done.stdout) == (0, b"ready\n"), done.stderr.decode()
        kept = signature.read_bytes()
        signature.unlink()
        refused(ours.run(path), "steward-refused", "workload")
        ended("package", "sign", path, "--key", tmp_path / "other.key")
        refused(ours.run(path), "steward-refused", "workload")
        signature.write_bytes(kept)  # of the second version
        refused(ours.run(module(tmp_path, programs.HELLO)), "steward-refused", "workload")


def test_without_a_steward_there_is_no_evidence(tmp_path: Path) -> None:
    done = enarx("run", module(tmp_path, programs.HELLO), "--verbose", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"ready\n")
    assert b"evidence" not in done.stderr
    assert not (tmp_path / ".local").exists()


# --- attacks by the host


def test_manifest_changed_after_the_launch_stops_the_keep(honest: Tenant) -> None:
    launched = manifest_of(package(programs.HELLO), honest.steward)
    handed = manifest_of(package(programs.HELLO, "--insecure"), honest.steward)
    ending = hostile_launch(honest.home, launched, package(programs.HELLO, "--insecure"), handed=handed)
    assert (ending.status, ending.code) == (1, "manifest-not-attested")


def test_code_that_the_host_compiled_is_not_run_for_the_workload(honest: Tenant, tmp_path: Path) -> None:
    forger = Forger(tmp_path / "cache", programs.HELLO, programs.exiting(7))
    unproved = forger.host(KeepProcess()).run(package(programs.HELLO))
    assert unproved.status == 7  # without a manifest that is what the host's own key is good for
    manifest = manifest_of(package(programs.HELLO), honest.steward)
    ending = hostile_launch(honest.home, manifest, package(programs.HELLO), forger=forger)
    assert (ending.status, ending.message) == (0, "")
    assert "compiled" in [step for step, _ in ending.timings]


def test_processor_that_has_the_digest_of_another_manifest_stops_the_keep(honest: Tenant, tmp_path: Path) -> None:
    done = honest.run(module(tmp_path, programs.HELLO), "--simulator-misbehave", "wrong-host-data")
    refused(done, "manifest-not-attested", "launched with")


def test_package_swapped_by_the_host_stops_the_keep(honest: Tenant) -> None:
    launched = manifest_of(package(programs.HELLO), honest.steward)
    ending = hostile_launch(honest.home, launched, package(programs.EMPTY))
    assert (ending.status, ending.code) == (1, "handover-module")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        (lambda found: replace(found, args=("--debug",)), "handover-args"),
        (lambda found: replace(found, env=[("LD_PRELOAD", "x")]), "handover-env"),
        (lambda found: replace(found, objects=[*found.objects, ("layer", "/", b"\0" * 1024)]), "handover-objects"),
        (
            lambda found: replace(found, objects=[("config", "Enarx.toml", STDIO.encode()), *found.objects]),
            "handover-objects",
        ),
    ],
)
def test_anything_else_than_the_manifest_names_stops_the_keep(honest: Tenant, changed: object, code: str) -> None:
    assert callable(changed)
    launched = manifest_of(package(programs.HELLO), honest.steward)
    assert hostile_launch(honest.home, launched, changed(package(programs.HELLO))).code == code


@both
def test_another_workload_is_refused_by_the_steward(honest: Tenant, tmp_path: Path) -> None:
    done = honest.run(module(tmp_path, programs.EMPTY))
    refused(done, "steward-refused", digest_of(programs.EMPTY))


@pytest.mark.parametrize("lie", ["replayed", "wrong-nonce", "truncated"])
def test_evidence_that_is_not_over_the_keeps_key_stops_the_keep(honest: Tenant, tmp_path: Path, lie: str) -> None:
    refused(honest.run(module(tmp_path, programs.HELLO), "--simulator-misbehave", lie), "attester-failed")


@pytest.mark.parametrize(
    ("lie", "word"),
    [
        ("debug", "debug"),
        ("old-tcb", "tcb"),
        ("revoked", "revoked"),
        ("other-keep", "measurement"),
        ("self-made-root", "self-made"),
    ],
)
def test_evidence_that_does_not_hold_is_refused_by_the_steward(
    honest: Tenant, tmp_path: Path, lie: str, word: str
) -> None:
    refused(honest.run(module(tmp_path, programs.HELLO), "--simulator-misbehave", lie), "steward-refused", word)


def test_simulator_that_the_policy_does_not_name_is_refused(honest: Tenant, tmp_path: Path) -> None:
    done = honest.run(module(tmp_path, programs.HELLO), env=environment(tmp_path))  # a machine of its own
    refused(done, "steward-refused")
    assert (tmp_path / ".local/share/enarx/simulator").is_dir()


def test_policy_that_names_no_simulator_accepts_none(tmp_path: Path) -> None:
    with tenant(tmp_path, programs.HELLO, simulated=False) as strict:
        refused(strict.run(module(tmp_path, programs.HELLO)), "steward-refused")


@pytest.mark.parametrize(
    ("act", "frame"),
    [(act, frame) for act in ("drop", "duplicate", "swap") for frame in range(3) if (act, frame) != ("swap", 2)],
)
def test_host_that_drops_reorders_or_duplicates_frames_runs_no_workload(
    honest: Tenant, act: tampering.Act, frame: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """LAUNCH, the manifest, the module, which is the last one."""
    issued = honest.log().count('"outcome":"issued"')
    launched = manifest_of(package(programs.HELLO), honest.steward)
    with tampering.tampering(act, frame):
        ending = hostile_launch(honest.home, launched, package(programs.HELLO))
    assert ending.status == 1
    assert ending.code in ("link-frame", "link-closed", "manifest-not-attested", "handover-module"), ending
    assert "ready" not in capfd.readouterr().out
    assert honest.log().count('"outcome":"issued"') == issued


@pytest.mark.parametrize("act", ["drop", "duplicate", "swap"])
@pytest.mark.parametrize("direction", ["request", "answer"])
def test_host_that_tampers_with_records_between_keep_and_steward_runs_no_workload(
    honest: Tenant, act: tampering.Act, direction: Literal["request", "answer"], tmp_path: Path
) -> None:
    """With the second that is encrypted: the head of the Keep's request, or the Steward's certificate."""
    with tampering.tampering_proxy(int(honest.url.rpartition(":")[2]), act, direction, 1) as port:
        path = module(tmp_path, programs.HELLO)
        done = enarx("run", path, "--steward", f"https://127.0.0.1:{port}", "--steward-ca", honest.pin, cwd=honest.home)
    refused(done, "steward-unreachable")


# --- attacks in the Steward's place


def test_steward_of_another_tenant_is_told_nothing(honest: Tenant, tmp_path: Path) -> None:
    path, pin = module(tmp_path, programs.HELLO), "sha256:" + 64 * "0"
    before = honest.log()
    done = enarx("run", path, "--steward", honest.url, "--steward-ca", pin, cwd=honest.home)
    refused(done, "steward-ca", "not the Steward that the manifest names")
    assert honest.log() == before


def test_certificate_that_is_not_the_stewards_is_refused(honest: Tenant, tmp_path: Path) -> None:
    """Somebody between Keep and Steward with a certificate of his own CA."""
    mine = peers.make_certificate("Enarx Steward 127.0.0.1")
    context = peers.server_context(tmp_path, peers.make_certificate("steward", ["127.0.0.1"], mine))
    asked: list[bytes] = []

    def serve(sock: object) -> None:
        assert isinstance(sock, ssl.SSLSocket)
        with contextlib.suppress(OSError):  # cut off, in whatever way
            asked.append(sock.recv(1))

    with peers.server(serve, context) as port:
        path = module(tmp_path, programs.HELLO)
        done = enarx("run", path, "--steward", f"https://127.0.0.1:{port}", "--steward-ca", honest.pin, cwd=honest.home)
    refused(done, "steward-ca")
    assert asked in ([], [b""])


def test_stewards_answer_for_another_key_stops_the_keep(honest: Tenant, tmp_path: Path) -> None:
    """By whoever has the very CA that is pinned: a whole honest answer, to another Keep with the same manifest."""
    ca = read_authority(honest.directory / "ca.pem", honest.directory / "ca.key")
    key, chain = ca.issue_service(("127.0.0.1",), datetime.now(UTC))
    (tmp_path / "service.pem").write_bytes(key + chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "service.pem")
    answers: list[bytes] = []

    def replay(sock: object) -> None:
        assert isinstance(sock, ssl.SSLSocket)
        _, _, body = read_request(sock)
        if not answers:
            answers.append(asked(honest, body))
        sock.sendall(response(answers[0]))

    path = module(tmp_path, programs.HELLO)
    with peers.server(replay, context, connections=2) as port:
        command = ("run", path, "--steward", f"https://127.0.0.1:{port}", "--steward-ca", honest.pin)
        first, second = (enarx(*command, cwd=honest.home) for _ in range(2))
    assert (first.returncode, first.stdout) == (0, b"ready\n"), first.stderr.decode()
    refused(second, "certificate-key", "it is for another key than this Keep's")


def asked(honest: Tenant, body: bytes) -> bytes:
    """What the Steward answers."""
    context = ssl.create_default_context(cafile=str(honest.ca))
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{honest.url}/v1/attest", body, headers)
    with urllib.request.urlopen(request, context=context, timeout=SECONDS) as answer:
        found: bytes = answer.read()
    return found


@both
def test_steward_that_is_not_there_is_named(honest: Tenant, tmp_path: Path) -> None:
    path = module(tmp_path, programs.HELLO)
    done = enarx("run", path, "--steward", "https://127.0.0.1:1", "--steward-ca", honest.pin, cwd=honest.home)
    refused(done, "connect-failed", "127.0.0.1:1")


# --- the deployer's allow-list


def listening(honest: Tenant, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    path = config(tmp_path, STDIO + LISTEN.format(port=4443))
    return honest.run(module(tmp_path, programs.HELLO), "--wasmcfgfile", str(path), *options)


@both
def test_listening_on_a_port_that_the_deployer_does_not_permit_is_refused(honest: Tenant, tmp_path: Path) -> None:
    done = listening(honest, tmp_path, "--allow", "listen:443")
    refused(done, "manifest-listen", "the manifest refuses to listen on port 4443, which Enarx.toml asks for", "443")


@both
def test_connecting_elsewhere_than_the_deployer_permits_is_refused(honest: Tenant, tmp_path: Path) -> None:
    text = STDIO + '[[files]]\nkind = "connect"\nname = "db"\nhost = "db.example.com"\nport = 5432\n'
    path = config(tmp_path, text)
    done = honest.run(
        module(tmp_path, programs.HELLO), "--wasmcfgfile", str(path), "--allow", "connect:db.example.com:5433"
    )
    refused(done, "manifest-connect", "the manifest refuses to connect to db.example.com:5432")


@both
def test_allow_list_does_not_stand_between_keep_and_steward(honest: Tenant, tmp_path: Path) -> None:
    done = honest.run(module(tmp_path, programs.HELLO), "--allow", "listen:443")
    assert (done.returncode, done.stdout) == (0, b"ready\n"), done.stderr.decode()


# --- wrong usage


@pytest.mark.parametrize(
    "options",
    [
        ["--steward", "https://localhost"],
        ["--steward-ca", "sha256:" + 64 * "0"],
        ["--allow", "listen:443"],
        ["--simulator-misbehave", "debug"],
        ["--steward", "https://localhost", "--steward-ca", "/nonexistent"],
        ["--steward", "https://localhost", "--steward-ca", "sha256:" + 64 * "0", "--allow", "listen"],
        ["--steward", "https://localhost", "--steward-ca", "sha256:" + 64 * "0", "--allow", "listen:65536"],
        ["--steward", "https://localhost", "--steward-ca", "sha256:" + 64 * "0", "--allow", "connect::1"],
        ["--steward", "https://localhost", "--steward-ca", "sha256:" + 64 * "0", "--allow", "bind:1"],
        ["--steward", "https://localhost", "--steward-ca", "sha256:" + 64 * "0", "--simulator-misbehave", "kindly"],
    ],
)
def test_wrong_usage_is_refused(options: list[str], honest: Tenant, tmp_path: Path) -> None:
    done = enarx("run", module(tmp_path, programs.HELLO), *options, cwd=honest.home)
    assert done.returncode == 2, done.stderr.decode()


@pytest.mark.parametrize("pin", ["sha256:", "sha256:0", "sha256:" + 64 * "g"])
def test_pin_that_is_no_digest_is_refused(pin: str, honest: Tenant, tmp_path: Path) -> None:
    path = module(tmp_path, programs.HELLO)
    done = enarx("run", path, "--steward", honest.url, "--steward-ca", pin, cwd=honest.home)
    assert (done.returncode, code_of(done.stderr)) == (2, "ca-digest")
