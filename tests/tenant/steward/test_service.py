"""The Steward as a client meets it: real processes, real TLS on loopback."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from enarx.evidence import binding, der
from enarx.tenant.steward.answer import BODY_MAX_BYTES, BUNDLE
from enarx.tenant.steward.limits import BODY_SECONDS, HEAD_SECONDS
from enarx.tenant.steward.log import revocation_entry, verify
from enarx.tenant.steward.store import connect
from tests.evidence.snp.forge import ec_key, extension
from tests.tenant.keeps import MEASUREMENT, Keep, authority, make_csr, manifest, policy_text, simulator
from tests.tenant.steward.databases import postgresql
from tests.tenant.steward.running import SECONDS, Running, prepare, running

SECRET = '[[secret]]\nname = "db"\nvalue = "hunter2"\nworkloads = ["web"]\nsimulated = true\n'
TOKEN = "the reader's token"
SERVICE = (
    f'[service]\nrate = 0\npolicy_readers = ["sha256:{__import__("hashlib").sha256(TOKEN.encode()).hexdigest()}"]\n'
)


@pytest.fixture(scope="module")
def steward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = prepare(tmp_path_factory.mktemp("steward"), policy_text(SERVICE, SECRET))
    with running(directory) as one:
        yield one
        assert one.stop() == 0


def test_an_honest_keep_gets_a_certificate_a_result_and_its_secret(steward: Running) -> None:
    keep = Keep()
    answer = steward.attest(keep.body())
    assert answer.status == 200, answer.body
    assert answer.headers["cache-control"] == "no-store"
    found = json.loads(answer.body)
    assert found.keys() == {"chain", "ear", "secrets"}
    leaf, above = (x509.load_der_x509_certificate(base64.b64decode(one)) for one in found["chain"])
    assert above == authority().certificate
    leaf.verify_directly_issued_by(above)
    assert leaf.public_key() == keep.key.public_key()
    assert found["ear"].count(".") == 2
    (sealed,) = found["secrets"]
    assert keep.manifest is not None
    suite = Suite(KEM.P384, KDF.HKDF_SHA384, AEAD.AES_256_GCM)
    whole = base64.b64decode(sealed["enc"]) + base64.b64decode(sealed["ciphertext"])
    assert suite.decrypt(whole, keep.key, info=binding.secret_info(keep.manifest.digest(), "db")) == b"hunter2"
    with closing(connect(str(steward.directory / "steward.db"))) as store:
        assert store.certificate(f"{leaf.serial_number:032x}") is not None


def test_a_refusal_is_a_problem_with_the_appraisal(steward: Running) -> None:
    swapped = Keep(report={"host_data": manifest(args=("x",)).digest()})
    answer = steward.attest(swapped.body())
    assert answer.status == 403
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(answer.body)
    assert problem["code"] == "manifest-mismatch"
    assert problem["hint"]
    failed = [rule for rule in problem["appraisal"] if not rule["passed"]]
    assert [rule["rule"] for rule in failed] == ["manifest-binding"]
    assert failed[0].keys() == {"rule", "passed", "expected", "seen", "source", "reason", "hint"}


def test_what_cannot_be_read_is_400_and_other_media_types_415(steward: Running) -> None:
    assert steward.attest(b"{}").status == 400
    assert steward.ask("POST", "/v1/attest", b"{}", content_type="text/plain").status == 415


def test_a_csr_with_two_evidence_extensions_or_trailing_bytes_is_refused(steward: Running) -> None:
    keep = Keep()
    evidence, manifest_extension = keep.extensions()
    twice = make_csr(keep.key, [evidence, evidence, manifest_extension])
    kinds = make_csr(keep.key, [extension(binding.KVM_EVIDENCE_OID, b""), evidence, manifest_extension])
    for csr, code in (
        (twice, "duplicate-extension"),
        (kinds, "duplicate-extension"),
        (keep.csr() + b"\0", "malformed"),
    ):
        answer = steward.attest(keep.body(csr=base64.b64encode(csr).decode()))
        assert (answer.status, json.loads(answer.body)["code"]) == (400, code)
        published = steward.compatible(csr)
        assert (published.status, published.body) == (400, b"")
    assert steward.attest(keep.body()).status == 200


def test_evidence_of_another_keep_with_a_new_key_is_refused(steward: Running) -> None:
    """Recorded by a host, and asked for under a key of its own."""
    thief = Keep(key=ec_key("thief"))
    csr = make_csr(thief.key, [extension(binding.SNP_EVIDENCE_OID, Keep().evidence()), thief.extensions()[1]])
    answer = steward.attest(thief.body(csr=base64.b64encode(csr).decode()))
    assert (answer.status, json.loads(answer.body)["code"]) == (403, "binding-mismatch")


def test_the_published_interface_has_statuses_and_empty_bodies(steward: Running) -> None:
    csr = Keep().csr()
    for kind, body, status in (
        ("application/pkcs10", make_csr(ec_key("keep"), []), 401),
        ("application/pkcs10", b"", 400),
        ("application/pkcs10", b"\1\2\3\4", 400),
        ("application/pkcs10", csr[:-1] + bytes([csr[-1] ^ 1]), 400),
        ("application/pkcs10; charset=utf-8", csr, 400),
        ("text/plain", csr, 400),
        ("Application/PKCS10", make_csr(ec_key("keep"), []), 401),
        (BUNDLE, b"", 400),
        (BUNDLE, der.encode(der.SEQUENCE, csr + make_csr(ec_key("keep"), [])), 400),
    ):
        answer = steward.compatible(body, kind)
        assert (answer.status, answer.body) == (status, b""), kind
    assert steward.ask("POST", "/", csr).status == 400
    answer = steward.ask("GET", "/")
    assert (answer.status, answer.body) == (200, b"")
    assert steward.ask("PUT", "/").status == 405
    assert steward.ask("GET", "/other").status == 404


def test_published_requests_are_answered_with_a_path_or_a_bundle(tmp_path: Path) -> None:
    """The empty KVM evidence of the published Enarx, under the switch that accepts it."""
    key = ec.derive_private_key(9, ec.SECP256R1())
    csr = make_csr(key, [extension(binding.KVM_EVIDENCE_OID, b"")])
    with running(prepare(tmp_path, "[debug]\nkvm = true\n")) as steward:
        answer = steward.compatible(csr)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/octet-stream"
        issuer, issued = elements(answer.body)
        assert issuer == authority().der
        certificate = x509.load_der_x509_certificate(issued)
        certificate.verify_directly_issued_by(authority().certificate)
        assert certificate.public_key() == key.public_key()
        oid = x509.ObjectIdentifier(binding.KVM_EVIDENCE_OID)
        assert certificate.extensions.get_extension_for_oid(oid)
        bundle = steward.compatible(der.encode(der.SEQUENCE, csr * 5), BUNDLE)
        chain, certificates = elements(bundle.body)
        assert elements(chain) == [authority().der]
        assert len(elements(certificates)) == 5
        refused = steward.compatible(der.encode(der.SEQUENCE, csr + make_csr(key, [])), BUNDLE)
        assert (refused.status, refused.body) == (401, b"")
        assert steward.stop() == 0
    with closing(connect(str(tmp_path / "steward.db"))) as store:
        bodies = [json.loads(row.body) for row in store.rows()]
    assert [one.get("outcome") for one in bodies].count("issued") == 6  # none for the bundle that failed


def test_simulated_evidence_is_accepted_on_the_published_route_with_its_list(steward: Running) -> None:
    assert steward.compatible(Keep().csr()).status == 400
    assert steward.compatible(Keep(crls=[simulator().crl()]).csr()).status == 200


def test_the_ca_is_told(steward: Running) -> None:
    answer = steward.ask("GET", "/v1/ca")
    assert x509.load_pem_x509_certificate(answer.body) == authority().certificate
    assert authority().spki_digest.hex() in steward.line


def test_the_policy_is_told_by_digest_and_its_text_to_readers_only(steward: Running, tmp_path: Path) -> None:
    everybody = json.loads(steward.ask("GET", "/v1/policy").body)
    assert everybody.keys() == {"digest"}
    assert steward.ask("GET", "/v1/policy", authorization="Bearer wrong").status == 401
    reader = json.loads(steward.ask("GET", "/v1/policy", authorization=f"Bearer {TOKEN}").body)
    assert reader["text"] is None  # there are secrets in it
    with running(prepare(tmp_path, policy_text(SERVICE))) as plain:
        told = json.loads(plain.ask("GET", "/v1/policy", authorization=f"Bearer {TOKEN}").body)
        assert MEASUREMENT in told["text"]


def test_health_readiness_and_metrics(steward: Running) -> None:
    steward.attest(Keep().body())
    assert steward.ask("GET", "/healthz").status == 200
    assert json.loads(steward.ask("GET", "/readyz").body) == {"ready": True}
    text = steward.ask("GET", "/metrics").body.decode()
    assert 'enarx_steward_decisions_total{code="accepted",technology="snp"}' in text
    assert "enarx_steward_ca_not_after_seconds" in text
    assert "hunter2" not in text
    assert 'name="db"' not in text


def test_a_request_of_10_megabytes_is_refused_before_it_is_read(steward: Running) -> None:
    for path, kind in (("/", "application/pkcs10"), ("/v1/attest", "application/json")):
        with steward.raw() as client:
            client.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n".encode())
            client.sendall(b"Content-Length: 10000000\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(4096), b""))
            assert answer.startswith(b"HTTP/1.1 413")
            assert answer.endswith(b"\r\n\r\n") is (path == "/")
    with steward.raw() as client:
        client.sendall(b"POST /v1/attest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        client.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"%x\r\n" % 65536 + bytes(65536) + b"\r\n"
        for _ in range(BODY_MAX_BYTES // 65536):
            client.sendall(chunk)
        client.sendall(b"1\r\n!\r\n")  # the last thing that is sent, so that nothing is cut off
        assert client.recv(64).startswith(b"HTTP/1.1 413")


def is_cut_off(client: ssl.SSLSocket) -> bool:
    """Whether the Steward hangs up without a word."""
    try:
        return client.recv(1) == b""
    except OSError:  # ssl.SSLError included
        return True


def test_a_head_without_end_is_cut_off(steward: Running) -> None:
    with steward.raw() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with suppress(OSError):
            for _ in range(200):
                client.sendall(b"X-Filler: " + b"y" * 1000 + b"\r\n")
        assert is_cut_off(client)


def test_a_client_that_sends_nothing_or_too_slowly_is_let_go(tmp_path: Path) -> None:
    begun = time.monotonic()
    with running(prepare(tmp_path)) as steward, steward.raw() as silent, steward.raw() as slow:
        slow.sendall(
            b"POST /v1/attest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        assert slow.recv(64).startswith(b"HTTP/1.1 408")
        assert is_cut_off(silent)
        assert time.monotonic() - begun >= min(HEAD_SECONDS, BODY_SECONDS)


def test_an_address_that_asks_too_often_is_told_to_wait(tmp_path: Path) -> None:
    with running(prepare(tmp_path, policy_text("[service]\nrate = 1\nburst = 3\n"))) as steward:
        answers = [steward.attest(b"{}") for _ in range(3)]
        while answers[-1].status != 429 and len(answers) < 200:  # a machine that is slow enough is never too fast
            answers.append(steward.attest(b"{}"))
    assert [one.status for one in answers[:3]] == [400] * 3
    assert answers[-1].status == 429
    assert answers[-1].headers["retry-after"] == "1"


def test_tls_is_version_1_3_and_under_the_ca(steward: Running) -> None:
    with steward.raw() as client:
        assert client.version() == "TLSv1.3"
    old = ssl.create_default_context(cafile=str(steward.directory / "ca.pem"))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        Running.raw(type("Client", (), {"port": steward.port, "context": old})())


def test_neither_names_nor_secrets_get_into_any_log(tmp_path: Path) -> None:
    named = SECRET.replace('"db"', '"database-password"')
    certificate = '[certificate]\ndns = ["private.example"]\n'
    with running(prepare(tmp_path, policy_text(SERVICE, named, certificate)), "--fast") as steward:
        assert json.loads(steward.attest(Keep().body()).body)["secrets"]
        steward.compatible(b"junk")
        config = tmp_path / "steward.toml"
        config.write_text(config.read_text().replace('workloads = ["web"]', 'workloads = ["nobody"]'))
        steward.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "policy-value at steward.toml:" in steward.errors())
        steward.stop()
        written = [path.read_bytes() for path in tmp_path.glob("steward.db*")] + [steward.errors().encode()]
    assert len(written) > 1
    for one in written:
        for name in (b"database-password", b"hunter2", b"private.example", b"nobody"):
            assert name not in one


def test_a_reload_with_an_error_keeps_the_old_policy(tmp_path: Path) -> None:
    with running(prepare(tmp_path)) as steward:
        before = steward.ask("GET", "/v1/policy").body
        config = tmp_path / "steward.toml"
        good = config.read_text()
        config.write_text(good + "\n[typo]\n")
        steward.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "the old one stays" in steward.errors())
        assert steward.ask("GET", "/v1/policy").body == before
        assert steward.attest(Keep().body()).status == 200
        config.write_text(good.replace("ab" * 48, "cd" * 48))
        steward.process.send_signal(signal.SIGHUP)
        wait_for(lambda: steward.ask("GET", "/v1/policy").body != before)
        assert steward.attest(Keep().body()).status == 403
        config.unlink()
        steward.process.send_signal(signal.SIGHUP)
        wait_for(lambda: steward.errors().count("the old one stays") == 2)
        assert steward.ask("GET", "/healthz").status == 200


def test_a_revoked_certificate_is_on_the_next_list(tmp_path: Path) -> None:
    with running(prepare(tmp_path)) as steward:
        chain = json.loads(steward.attest(Keep().body()).body)["chain"]
        serial = x509.load_der_x509_certificate(base64.b64decode(chain[0])).serial_number
        with closing(connect(str(tmp_path / "steward.db"))) as store:
            store.append([revocation_entry(f"{serial:032x}", "superseded", datetime.now(UTC))])
        answer = steward.ask("GET", "/v1/crl")
    assert answer.headers["content-type"] == "application/pkix-crl"
    crl = x509.load_der_x509_crl(answer.body)
    assert crl.get_revoked_certificate_by_serial_number(serial) is not None


def test_workers_share_socket_database_and_counters_and_are_replaced(tmp_path: Path) -> None:
    with running(prepare(tmp_path), "--workers", "2") as steward:
        for _ in range(10):
            assert steward.attest(Keep().body()).status == 200
        text = steward.ask("GET", "/metrics").body.decode()
        assert 'enarx_steward_decisions_total{code="accepted",technology="snp"} 10.0' in text
        children = Path(f"/proc/{steward.process.pid}/task/{steward.process.pid}/children").read_text().split()
        assert len(children) == 2
        os.kill(int(children[0]), signal.SIGKILL)
        wait_for(lambda: len(policies(tmp_path)) == 3)  # the one that took its place has begun
        for _ in range(4):
            assert steward.attest(Keep().body()).status == 200
        assert steward.stop() == 0
    with closing(connect(str(tmp_path / "steward.db"))) as store:
        assert verify(store.rows()).sequence == 14 + 3


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_is_on_its_way_is_answered_before_a_stop(tmp_path: Path, workers: str) -> None:
    body = Keep().body()
    head = "POST /v1/attest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    with running(prepare(tmp_path), "--workers", workers) as steward, steward.raw() as client, steward.raw() as idle:
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 100")  # it reads the body
        steward.process.send_signal(signal.SIGTERM)
        assert is_cut_off(idle)
        client.sendall(body)
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert steward.process.wait(SECONDS) == 0
    with closing(connect(str(tmp_path / "steward.db"))) as store:
        assert [json.loads(row.body).get("outcome") for row in store.rows()].count("issued") == 1


def test_two_stewards_on_one_postgresql_write_one_log(tmp_path: Path) -> None:
    with postgresql() as url:
        first, second = (prepare(made(tmp_path / name)) for name in ("a", "b"))
        with running(first, "--database", url) as one, running(second, "--database", url, "--workers", "2") as two:
            for _ in range(5):
                assert one.attest(Keep().body()).status == two.attest(Keep().body()).status == 200
            assert json.loads(two.ask("GET", "/readyz").body)["ready"]
            assert one.stop() == two.stop() == 0
        with closing(connect(url)) as store:
            assert verify(store.rows()).sequence == 10 + 3
            assert store.unlogged_certificates() == []


def test_nothing_is_handed_out_when_the_log_cannot_be_written(tmp_path: Path) -> None:
    with postgresql() as url, running(prepare(tmp_path), "--database", url) as steward:
        assert steward.attest(Keep().body()).status == 200
        with psycopg.connect(url) as connection:
            connection.execute("ALTER TABLE log RENAME TO gone")
        answer = steward.attest(Keep().body())
        assert answer.status == 503
        assert "chain" not in json.loads(answer.body)
        assert steward.compatible(Keep(crls=[simulator().crl()]).csr())[::2] == (503, b"")
        assert steward.ask("GET", "/readyz").status == 503
        with psycopg.connect(url) as connection:
            connection.execute("ALTER TABLE gone RENAME TO log")
        assert steward.attest(Keep().body()).status == 200
        assert steward.ask("GET", "/readyz").status == 200


def made(path: Path) -> Path:
    path.mkdir()
    return path


def policies(directory: Path) -> list[str]:
    with closing(connect(str(directory / "steward.db"))) as store:
        return [row.body for row in store.rows() if '"event":"policy"' in row.body]


def elements(data: bytes) -> list[bytes]:
    whole = der.only(data, der.SEQUENCE, len(data))
    found, at = [], whole.start
    while at < whole.stop:
        one = der.element(data, at, whole.stop)
        found.append(data[one.head : one.stop])
        at = one.stop
    return found


def wait_for(condition: object, seconds: float = SECONDS) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.05)
