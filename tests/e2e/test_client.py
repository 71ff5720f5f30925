"""Clients of a Keep that runs, and attacks on them: each is refused, and the workload hears nothing of it."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import enarx as library
from enarx.errors import EvidenceError, UsageError
from enarx.manifest import digest_of
from tests import support, workloads
from tests.archives import pack
from tests.e2e.attested import serving, tenant
from tests.e2e.attestedclient import Served, client_policy, expected_manifest, served
from tests.e2e.command import SECONDS, code_of, enarx, environment
from tests.e2e.middle import Middle, Witness, forged_chain
from tests.keep.sealing import seal

PAGE = "https-page"
BODY = b"secret of the tenant" * 4096
"""More than all that a handshake and a challenge take."""


@pytest.fixture(scope="module")
def keep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("keep")) as running:
        yield running


def options(keep: Served, **changes: str | Path) -> list[str | Path]:
    known: dict[str, str | Path] = {"policy": keep.policy, "manifest": keep.manifest, **changes}
    return [part for name, value in known.items() for part in (f"--{name}", value)]


# --- clients that get what they asked for


def test_a_request_goes_over_the_session_that_was_attested(keep: Served) -> None:
    with keep.client() as client:
        answer = client.get(keep.url)
    assert answer.status_code == 200
    verdict = answer.extensions["network_stream"].get_extra_info("enarx.verdict")
    assert (verdict.accepted, verdict.simulated) == (True, True)
    assert "session-binding" in {rule.name for rule in verdict.rules}


def test_curl_is_served_as_before(keep: Served) -> None:
    command = ["curl", "-sS", "--fail", "--cacert", str(keep.ours.ca), keep.url]
    done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_any_protocol_goes_over_a_socket(keep: Served) -> None:
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with library.open_socket(keep.url, **keep.demands()) as tls:
        tls.sendall(request)
        assert tls.recv(12) == b"HTTP/1.1 200"
    plain = socket.create_connection(("localhost", keep.port), SECONDS)
    with library.wrap_socket(plain, "localhost", **keep.demands()) as tls:
        tls.sendall(request)
        assert (tls.recv(12), tls.gettimeout()) == (b"HTTP/1.1 200", SECONDS)


def test_enarx_verify_demands_fresh_evidence_where_it_is_told_to(keep: Served) -> None:
    done = enarx("verify", keep.url, *options(keep), "--fresh", "--json", cwd=keep.ours.home)
    found = json.loads(done.stdout)
    assert (done.returncode, found["accepted"]) == (0, True)
    assert "session" in found["facts"]


def test_an_encrypted_workload_answers_challenges(tmp_path: Path) -> None:
    """Its listeners are known only when the Keep has no files left to open."""
    key, config = secrets.token_bytes(32), workloads.example_config(PAGE)
    module = workloads.example(PAGE).read_bytes()
    sealed = seal(pack([("Enarx.toml", config.encode()), ("main.wasm", module)]), key)
    (tmp_path / "app.package").write_bytes(sealed)
    with tenant(tmp_path, sealed, secrets={"package-key": key}) as ours:
        command = [str(support.command()), "deploy", "file://./app.package", "--verbose", *ours.options()]
        process = subprocess.Popen(
            command, env=environment(tmp_path), cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        server = workloads.Server(process, 1)
        try:
            server.wait_until_it_listens()
            with library.Client(policy=client_policy(ours), ca=ours.pin) as client:
                assert client.get(f"https://localhost:{server.port}").status_code == 200
        finally:
            server.stop()
            process.communicate()


# --- attacks


def refused_without_a_byte(keep: Served, code: str, **demands: Any) -> None:
    """A client with these demands refuses, and not as much as the beginning of the request leaves it."""
    with Witness(keep.port) as witness, keep.client(**demands) as client:
        with pytest.raises(EvidenceError) as caught:
            client.post(f"https://localhost:{witness.port}", content=BODY)
        assert caught.value.code == code
        assert caught.value.hint
        witness.wait_until_closed()
    assert len(witness.sent) < len(BODY) // 8  # a handshake, perhaps a challenge, and an alert


def test_a_request_is_seen_by_the_witness_of_these_tests(keep: Served) -> None:
    with Witness(keep.port) as witness, keep.client() as client:
        client.post(f"https://localhost:{witness.port}", content=BODY)
    assert len(witness.sent) > len(BODY)


def test_a_keep_whose_measurement_is_not_in_the_policy_gets_no_byte(keep: Served) -> None:
    refused_without_a_byte(keep, "measurement-mismatch", policy=client_policy(keep.ours, "cd" * 48, "strict.toml"))


def test_a_keep_whose_manifest_is_not_the_expected_gets_no_byte(keep: Served) -> None:
    other = expected_manifest(keep.ours, workloads.example(PAGE), "--", "--insecure")
    refused_without_a_byte(keep, "manifest-mismatch", manifest=other)


def test_a_keep_of_another_steward_gets_no_byte(keep: Served) -> None:
    refused_without_a_byte(keep, "certificate-ca", ca="sha256:" + 64 * "0")


def test_a_keep_that_is_asked_for_by_another_name_gets_no_byte(keep: Served) -> None:
    with keep.client() as client, pytest.raises(EvidenceError) as caught:
        client.post(f"https://127.0.0.1:{keep.port}", content=BODY)
    assert caught.value.code == "certificate-name"


@pytest.mark.parametrize("copied", [True, False], ids=["with the Keep's evidence", "without evidence"])
def test_a_man_in_the_middle_with_a_key_of_his_own_gets_no_byte(copied: bool, keep: Served) -> None:
    """He ends TLS himself. The evidence that he copied is genuine, and over the Keep's key."""
    named = keep.ours.home / "named.toml"
    digest = digest_of(keep.manifest.read_bytes())
    named.write_text(f'{keep.policy.read_text()}[workload.web]\nmanifest = ["{digest}"]\n')
    forged = forged_chain(keep.port, evidence=copied)
    for demands, code in (({}, "certificate-ca"), ({"policy": named, "manifest": None}, "binding-mismatch")):
        with Middle(forged) as middle, keep.client(**demands) as client, pytest.raises(EvidenceError) as caught:
            client.post(f"https://localhost:{middle.port}", content=BODY)
        assert caught.value.code == (code if copied else "keep-certificate")
        assert middle.read == b""


def test_plain_http_to_a_keep_is_not_sent(keep: Served) -> None:
    with keep.client() as client, pytest.raises(UsageError):
        client.get(f"http://localhost:{keep.port}")


# --- bundles


@pytest.fixture(scope="module")
def bundle(keep: Served) -> Path:
    path = keep.ours.home / "keep.bundle"
    done = enarx("bundle", "save", keep.url, "-o", path, *options(keep), "--ca", keep.ours.ca, cwd=keep.ours.home)
    assert done.returncode == 0, done.stderr.decode()
    assert "SIMULATED" in done.stdout.decode()
    return path


def judge(path: Path, *more: str | Path) -> tuple[int, dict[str, Any]]:
    """Offline: in a network namespace of its own there is nobody to ask."""
    done = enarx("bundle", "verify", path, "--json", *more, cwd=path.parent, prefix=("unshare", "-rn"))
    assert done.stdout, done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


def test_a_bundle_is_judged_again_without_a_network(bundle: Path) -> None:
    status, found = judge(bundle)
    assert (status, found["code"], found["simulated"]) == (0, "accepted", True)
    assert "session-binding" in [rule["name"] for rule in found["rules"]]
    assert found["bundle"]["judged_at"] == found["bundle"]["saved"]


@pytest.mark.parametrize(
    ("at", "status", "code"),
    [
        ("2001-01-01T00:00:00Z", 4, "certificate-not-yet-valid"),
        ("2099-01-01T00:00:00Z", 6, "certificate-expired"),
    ],
)
def test_a_bundle_is_refused_at_a_time_outside_validity(at: str, status: int, code: str, bundle: Path) -> None:
    found = judge(bundle, "--at", at)
    assert (found[0], found[1]["code"]) == (status, code)


def test_a_bundle_with_swapped_parts_is_refused(keep: Served, bundle: Path) -> None:
    """The parts are genuine, of two Keeps of the same launch."""
    text = (keep.ours.home / "Enarx.toml").read_text()
    with serving(keep.ours, workloads.example(PAGE), text) as second:
        path = keep.ours.home / "second.bundle"
        url = f"https://localhost:{second.port}"
        done = enarx("bundle", "save", url, "-o", path, *options(keep), cwd=keep.ours.home)
        assert done.returncode == 0, done.stderr.decode()
    ours, theirs = (json.loads(one.read_text()) for one in (bundle, path))
    swapped = keep.ours.home / "swapped.bundle"
    for part in ("certificates", "session"):
        swapped.write_text(json.dumps(ours | {part: theirs[part]}))
        status, found = judge(swapped)
        assert (status, found["code"]) == (5, "session-mismatch"), part
    for part in ("nonce", "exporter", "digests", "evidence"):
        session = ours["session"] | {part: theirs["session"][part]}
        swapped.write_text(json.dumps(ours | {"session": session}))
        status, found = judge(swapped)
        assert (status, found["code"]) == (5, "session-mismatch"), part


def test_what_is_refused_is_saved_as_well(keep: Served) -> None:
    path, strict = keep.ours.home / "refused.bundle", client_policy(keep.ours, "cd" * 48, "strict.toml")
    done = enarx("bundle", "save", keep.url, "-o", path, *options(keep, policy=strict), cwd=keep.ours.home)
    assert (done.returncode, path.exists()) == (5, True), done.stderr.decode()
    status, found = judge(path)
    assert (status, found["code"]) == (5, "measurement-mismatch")
    status, found = judge(path, "--policy", keep.policy)
    assert (status, found["code"]) == (0, "accepted")


def test_a_bundle_of_nobody_is_not_written(keep: Served) -> None:
    path = keep.ours.home / "nobody.bundle"
    done = enarx("bundle", "save", "https://localhost:1", "-o", path, *options(keep), cwd=keep.ours.home)
    assert (done.returncode, code_of(done.stderr), path.exists()) == (1, "keep-unreachable", False)


def test_a_policy_with_secrets_goes_into_no_bundle(keep: Served) -> None:
    path, policy = keep.ours.home / "secret.bundle", keep.ours.directory / "steward.toml"
    done = enarx("bundle", "save", keep.url, "-o", path, *options(keep, policy=policy), cwd=keep.ours.home)
    assert (done.returncode, code_of(done.stderr), path.exists()) == (2, "bundle-secrets", False)


def test_what_is_no_bundle_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\x00{")
    done = enarx("bundle", "verify", "broken", cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr)) == (3, "bundle")


# --- the tunnel


@contextlib.contextmanager
def proxy(keep: Served, *more: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``enarx proxy`` in front of the Keep, and the URL at which it listens."""
    command = [str(support.command()), "proxy", keep.url, "--listen", "127.0.0.1:0", *map(str, (*options(keep), *more))]
    with subprocess.Popen(
        command, env=environment(keep.ours.home), cwd=keep.ours.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.match(r"proxy: (127\.0\.0\.1:\d+) -> \S+: SIMULATED, no hardware vouches for it", line)
            assert found is not None, process.communicate(timeout=SECONDS)
            yield process, f"http://{found[1]}"
        finally:
            process.kill()


def curl(url: str, *more: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["curl", "-sS", *more, url], capture_output=True, timeout=SECONDS, check=False)


def test_any_client_reaches_the_keep_through_the_proxy(keep: Served) -> None:
    with proxy(keep) as (process, url):
        for _ in range(2):
            done = curl(url, "--fail")
            assert done.returncode == 0, done.stderr.decode()
            assert b"<!doctype html>" in done.stdout
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=SECONDS)
        assert (process.returncode, said) == (0, "")


def test_a_keep_that_is_replaced_by_another_gets_nothing_from_the_proxy(keep: Served) -> None:
    """It was verified when the proxy began; what is at its place later is verified as well."""
    forged = forged_chain(keep.port, evidence=True)
    with Witness(keep.port) as switch:
        moved = replace(keep, port=switch.port)
        with proxy(moved) as (process, url), Middle(forged) as middle:
            assert curl(url, "--fail").returncode == 0
            switch.target = middle.port
            done = curl(url, "--data-binary", BODY[:4096].decode())
            assert done.stdout.endswith(b"Code: certificate-ca\n"), done
            assert middle.read == b""
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=SECONDS)
            assert process.returncode == 0
            assert "(certificate-ca)" in said


def test_a_refused_keep_is_not_listened_for(keep: Served) -> None:
    strict = client_policy(keep.ours, "cd" * 48, "strict.toml")
    done = enarx(
        "proxy", keep.url, "--listen", "127.0.0.1:0", *options(keep, policy=strict), cwd=keep.ours.home
    )  # fmt: skip
    assert (done.returncode, code_of(done.stderr), done.stdout) == (5, "measurement-mismatch", b"")
