"""A Keep's side of attestation against the real Steward and the real simulated processor, over sockets."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enarx.errors import AuthenticityError, EvidenceError, MalformedError, PolicyError
from enarx.evidence.gctx import PageType
from enarx.keep.attested import Attested, attest, identity, with_certificates
from enarx.keep.attester import RawEvidence
from enarx.keep.attester_simulated import Source, sources
from enarx.keep.steward import Answer, Grant, accept, request
from enarx.keep.stewardlink import exchange, place
from enarx.manifest import Manifest, StewardPin, Workload, digest_of
from enarx.sealing import HYBRID
from enarx.simulator.channel import serve as serve_channel
from enarx.simulator.installation import Installation, open_installation
from enarx.simulator.misbehave import Misbehave
from enarx.simulator.processor import SecureProcessor
from tests.keep.attesting import make_quote

MODULE = digest_of(b"\0asm\1\0\0\0")
SECRET = b"correct horse"
STEWARD = """
import argparse, sys
from enarx.cli import steward
parser = argparse.ArgumentParser()
steward.add_parser(parser.add_subparsers())
sys.exit(steward.run(parser.parse_args(sys.argv[1:])))
"""


# A Keep in its own process: from the moment that `finish` returns it can open no file and make no socket.
SANDBOXED = """
import os, socket, sys
manifest, channel, stream = sys.stdin.buffer.read(), int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
from datetime import UTC, datetime
from enarx.keep.sandbox import Sandbox
from enarx.keep import attested, attester_simulated, keepdir, steward, stewardlink
sandbox = Sandbox()
sandbox.begin()
stewardlink.preload()
sandbox.finish()
before = set(sys.modules)
keep = attested.attest(manifest, attester_simulated.sources(channel))
answer = stewardlink.exchange(stream, keep.manifest.steward, steward.request(keep), datetime.now(UTC))
grant = steward.accept(keep, answer, datetime.now(UTC))
tree = keepdir.archive(
    keepdir.files(grant.certified.pem(), ear=grant.ear, manifest=manifest, secrets=grant.secrets)
)
new = set(sys.modules) - before
said = (sandbox.report["seccomp"], keep.source.name, len(grant.secrets), len(tree) > 0, *sorted(new))
os.write(1, " ".join(map(str, said)).encode())
os._exit(0)
"""


@dataclass(frozen=True)
class Tenant:
    """A Steward that runs, what its manifests pin, and the simulator whose root its policy names."""

    pin: StewardPin
    installation: Installation

    @property
    def manifest(self) -> Manifest:
        return Manifest(Workload(MODULE), args=("--serve",), steward=self.pin)


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    directory = tmp_path_factory.mktemp("tenant")
    installation = open_installation(directory / "simulator", datetime.now(UTC))
    measurement = launch(installation, Manifest(Workload(MODULE))).evidence.report[0x90:0xC0].hex()
    steward = [sys.executable, "-c", STEWARD, "steward"]
    place_of_it = str(directory / "steward")
    subprocess.run([*steward, "init", place_of_it, "--name", "127.0.0.1"], check=True, capture_output=True)
    config = directory / "steward" / "steward.toml"
    roots = "".join(map(ssl.DER_cert_to_PEM_cert, (installation.ark, installation.ask)))
    config.write_text(
        config.read_text()
        + f'\n[simulated]\ncertificates = """{roots}"""\nmeasurement = ["{measurement}"]\n'
        + f'[workload.web]\ndigest = ["{MODULE}"]\nargs = ["--serve"]\n'
        + f'[[secret]]\nname = "password"\nvalue = "{SECRET.decode()}"\nworkloads = ["web"]\nsimulated = true\n'
    )
    with subprocess.Popen(
        [*steward, "serve", "--directory", place_of_it, "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            _, url, _, pin = process.stdout.readline().split()
            yield Tenant(StewardPin(url.rstrip("/"), pin), installation)
        finally:
            process.terminate()


def channel_to(installation: Installation, manifest: Manifest, lies: Misbehave = Misbehave.NONE) -> socket.socket:
    """Launch a guest with ``manifest`` and serve its channel; the guest's end of it."""
    processor = SecureProcessor(installation, datetime.now(UTC), lies=lies)
    started = processor.launch_start()
    started.update(PageType.NORMAL, 0, b"the Keep's code".ljust(4096, b"\0"))
    guest = started.finish(manifest.digest())
    near, far = socket.socketpair()
    threading.Thread(target=serve_channel, args=(guest, far), daemon=True).start()
    return near


def launch(
    installation: Installation, manifest: Manifest, *, lies: Misbehave = Misbehave.NONE, handed: Manifest | None = None
) -> Attested:
    """Launch with ``manifest``, hand over ``handed``, and let the Keep attest over the channel."""
    with channel_to(installation, manifest, lies) as near:
        return attest((handed or manifest).encode(), sources(near.fileno(), root="/nowhere", device="/nowhere"))


def ask(keep: Attested) -> Answer:
    pin = keep.manifest.steward
    assert pin is not None
    where = place(pin)
    stream = socket.create_connection((where.host, where.port), timeout=60)
    return exchange(stream, pin, request(keep), datetime.now(UTC))


def certified(keep: Attested) -> Grant:
    return accept(keep, ask(keep), datetime.now(UTC))


def test_keep_is_certified_and_given_its_secret(tenant: Tenant) -> None:
    keep = launch(tenant.installation, tenant.manifest)
    answer = ask(keep)
    assert [one["kem"] for one in json.loads(answer.body)["secrets"]] == [HYBRID]
    grant = accept(keep, answer, datetime.now(UTC))
    assert dict(grant.secrets) == {"password": SECRET}
    assert keep.source.simulated
    assert certified(keep).certified.chain[0] != grant.certified.chain[0]  # a renewal, with the same evidence and key


def test_keep_is_certified_by_a_certificate_table_that_came_with_its_launch(tenant: Tenant) -> None:
    keep = launch(tenant.installation, tenant.manifest)
    table = keep.evidence.certificates
    bare = replace(keep, evidence=replace(keep.evidence, certificates=b""))
    with pytest.raises(MalformedError):
        request(bare)

    grant = certified(with_certificates(bare, table))

    assert dict(grant.secrets) == {"password": SECRET}


def test_tdx_guest_is_refused_by_name_at_the_steward(tenant: Tenant) -> None:
    class Tdx:
        def attest(self, report_data: bytes) -> RawEvidence:
            return RawEvidence("tdx", make_quote(tenant.manifest.digest384(), report_data))

    keep = attest(tenant.manifest.encode(), [Source("configfs-tsm", Tdx())])

    answer = ask(keep)

    assert answer.status == 403
    assert json.loads(answer.body)["code"] == "technology-unsupported"
    with pytest.raises(PolicyError, match="TDX evidence is not supported") as caught:
        accept(keep, answer, datetime.now(UTC))
    assert caught.value.code == "steward-refused"
    assert "SEV-SNP" in caught.value.hint


def test_client_that_trusts_the_tenants_ca_alone_meets_the_keep_by_its_certificate(tenant: Tenant) -> None:
    keep = launch(tenant.installation, tenant.manifest)
    grant = certified(keep)
    ca = ssl.DER_cert_to_PEM_cert(grant.certified.chain[-1])
    trusting = ssl.create_default_context(cadata=ca)
    trusting.check_hostname = False  # this policy gives the workload a SPIFFE name
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = identity(keep.key, grant.certified)
    descriptor = os.memfd_create("identity")
    os.write(descriptor, pem.private_key_pem + pem.certificate_pem)
    serving.load_cert_chain(f"/proc/self/fd/{descriptor}")
    os.close(descriptor)
    near, far = socket.socketpair()
    thread = threading.Thread(target=lambda: serving.wrap_socket(far, server_side=True).close())
    thread.start()
    with trusting.wrap_socket(near) as tls:
        assert tls.getpeercert(binary_form=True) == grant.certified.chain[0]
    thread.join()


def test_sandboxed_keep_needs_no_file_and_no_socket_of_its_own(tenant: Tenant) -> None:
    where = place(tenant.pin)
    with (
        channel_to(tenant.installation, tenant.manifest) as channel,
        socket.create_connection((where.host, where.port)) as stream,
    ):
        fds = channel.fileno(), stream.fileno()
        command = [sys.executable, "-c", SANDBOXED, *map(str, fds)]
        done = subprocess.run(command, input=tenant.manifest.encode(), capture_output=True, pass_fds=fds, timeout=240)
    assert done.stderr.decode() == ""
    assert done.stdout.decode() == "applied simulated 1 True"


def test_answer_to_another_keep_is_refused(tenant: Tenant) -> None:
    theirs = ask(launch(tenant.installation, tenant.manifest))
    with pytest.raises(AuthenticityError) as caught:
        accept(launch(tenant.installation, tenant.manifest), theirs, datetime.now(UTC))
    assert caught.value.code == "certificate-key"


def test_manifest_changed_after_the_launch_stops_the_keep(tenant: Tenant) -> None:
    with pytest.raises(AuthenticityError) as caught:
        launch(tenant.installation, tenant.manifest, handed=replace(tenant.manifest, args=()))
    assert caught.value.code == "manifest-not-attested"


def test_host_that_launches_with_the_digest_of_another_manifest_stops_the_keep(tenant: Tenant) -> None:
    with pytest.raises(AuthenticityError) as caught:
        launch(tenant.installation, tenant.manifest, lies=Misbehave.WRONG_HOST_DATA)
    assert caught.value.code == "manifest-not-attested"


@pytest.mark.parametrize("lies", [Misbehave.REPLAYED, Misbehave.WRONG_NONCE, Misbehave.TRUNCATED])
def test_report_that_is_not_over_the_keeps_key_stops_the_keep(tenant: Tenant, lies: Misbehave) -> None:
    with pytest.raises(EvidenceError) as caught:
        launch(tenant.installation, tenant.manifest, lies=lies)
    assert caught.value.code == "attester-failed"


def test_another_workload_is_refused_by_the_policy(tenant: Tenant) -> None:
    other = replace(tenant.manifest, workload=Workload(digest_of(b"another module")))
    with pytest.raises(PolicyError) as caught:
        certified(launch(tenant.installation, other))
    assert caught.value.code == "steward-refused"
    assert digest_of(b"another module") in caught.value.message


@pytest.mark.parametrize("lies", [Misbehave.DEBUG, Misbehave.REVOKED, Misbehave.SELF_MADE_ROOT, Misbehave.OTHER_KEEP])
def test_evidence_that_does_not_hold_is_refused_by_the_policy(tenant: Tenant, lies: Misbehave) -> None:
    with pytest.raises(PolicyError) as caught:
        certified(launch(tenant.installation, tenant.manifest, lies=lies))
    assert caught.value.code == "steward-refused"


def test_simulator_that_the_policy_does_not_name_is_refused(tenant: Tenant, tmp_path: Path) -> None:
    stranger = open_installation(tmp_path / "simulator", datetime.now(UTC))
    with pytest.raises(PolicyError) as caught:
        certified(launch(stranger, tenant.manifest))
    assert caught.value.code == "steward-refused"


def test_evidence_of_another_keep_with_a_new_key_is_refused(tenant: Tenant) -> None:
    """Past the Keep's own checks, as a Keep of the attacker's making would be."""
    honest = launch(tenant.installation, tenant.manifest)
    thief = replace(launch(tenant.installation, tenant.manifest), evidence=honest.evidence)
    with pytest.raises(PolicyError) as caught:
        certified(thief)
    assert caught.value.code == "steward-refused"


def test_steward_of_another_tenant_is_no_steward_for_this_keep(tenant: Tenant) -> None:
    elsewhere = replace(tenant.manifest, steward=replace(tenant.pin, ca="sha256:" + 64 * "0"))
    with pytest.raises(AuthenticityError) as caught:
        certified(launch(tenant.installation, elsewhere))
    assert caught.value.code == "steward-ca"
