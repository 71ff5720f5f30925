"""sigstore bundles, offline: a sigstore made for the tests and done wrong step by step, and the public one's own."""

from __future__ import annotations

import base64
import contextlib
import copy
import functools
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import AuthenticityError, ConfigError
from enarx.mediatype import WASM as MODULE_TYPE
from enarx.tenant.signature.bundle import Identity, Sigstore
from enarx.tenant.signature.signers import Presented
from enarx.tenant.signature.statement import PAYLOAD_TYPE, Statement
from tests.tenant.signature.sigstore_forge import ISSUER, LIFETIME, NOW, WORKFLOW, b64, forge

HEX = "ab" * 32
PACKAGE = Statement(f"sha256:{HEX}", MODULE_TYPE)
WHO = Identity(WORKFLOW, ISSUER)
VECTORS = Path(__file__).parent / "vectors"


@functools.cache
def sigstore() -> Sigstore:
    return Sigstore(forge().trusted_root())


@functools.cache
def honest() -> dict[str, Any]:
    return forge().message(bytes.fromhex(HEX))


def signer(
    bundle: object, *accepted: Identity, trust: Sigstore | None = None, package: Statement = PACKAGE
) -> Identity:
    data = bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode()
    return (trust or sigstore()).signer(data, package, accepted or (WHO,))


def refused(bundle: object, why: str, *accepted: Identity, **changes: Any) -> None:
    with pytest.raises(AuthenticityError) as caught:
        signer(bundle, *accepted, **changes)
    assert caught.value.code == "sigstore-bundle"
    assert why in caught.value.message, caught.value.message


def entry(bundle: dict[str, Any]) -> dict[str, Any]:
    (one,) = bundle["verificationMaterial"]["tlogEntries"]
    assert isinstance(one, dict)
    return one


def changed(edit: Callable[[dict[str, Any]], object], bundle: dict[str, Any] | None = None) -> dict[str, Any]:
    made = copy.deepcopy(bundle or honest())
    edit(made)
    return made


def test_a_signature_over_the_packages_bytes_tells_who_made_it() -> None:
    assert signer(honest()) == WHO
    email = Identity("release@forge.example", ISSUER)
    made = forge().message(bytes.fromhex(HEX), identity=email.identity)
    assert signer(made, Identity("x", ISSUER), WHO, email) == email


def test_an_envelope_with_our_payload_and_statements_of_origin_count() -> None:
    assert signer(forge().envelope(PAYLOAD_TYPE, PACKAGE.encode())) == WHO
    assert signer(forge().statement(HEX)) == WHO
    assert signer(forge().statement(HEX, predicateType="https://sigstore.dev/cosign/sign/v1")) == WHO
    assert signer(forge().statement(HEX, _type="https://in-toto.io/Statement/v0.1")) == WHO


def test_a_bundle_of_another_identity_is_refused() -> None:
    refused(honest(), "another identity", Identity(WORKFLOW.replace("main", "pull/1"), ISSUER))
    refused(honest(), "another identity", Identity(WORKFLOW.upper(), ISSUER), Identity(WORKFLOW[:-1], ISSUER))


def test_a_bundle_of_the_same_name_from_another_issuer_is_refused() -> None:
    refused(honest(), "another identity", Identity(WORKFLOW, "https://token.example"))
    refused(forge().message(bytes.fromhex(HEX), issuer="https://evil.example"), "another identity")


def test_a_bundle_over_another_package_is_refused() -> None:
    other = Statement("sha256:" + "cd" * 32, MODULE_TYPE)
    refused(honest(), "does not verify", package=other)
    refused(forge().envelope(PAYLOAD_TYPE, other.encode()), "another package")
    refused(forge().envelope(PAYLOAD_TYPE, Statement(PACKAGE.digest, "a/b").encode()), "another package")
    refused(forge().statement("cd" * 32), "another package")

    def relabel(bundle: dict[str, Any]) -> None:
        bundle["messageSignature"]["messageDigest"]["digest"] = b64(bytes.fromhex("cd" * 32))

    refused(changed(relabel), "does not verify")
    refused(changed(relabel), "does not verify", package=other)


def test_statements_that_say_something_else_of_the_package_are_refused() -> None:
    refused(forge().statement(HEX, predicateType="https://cosign.sigstore.dev/attestation/vuln/v1"), "something else")
    refused(forge().statement(HEX, _type="https://in-toto.io/Statement/v2"), "version")
    refused(forge().envelope("application/vnd.other+json", PACKAGE.encode()), "says nothing of a package")
    subjects: list[Any] = [None, {}, [], [None], [{"digest": None}], [{"digest": {"sha512": HEX}}], [{"digest": HEX}]]
    for subject in subjects:
        refused(forge().statement(HEX, subject=subject), "another package")
    for payload in (b"", b"[]", b"{}", b"\xff"):
        refused(forge().envelope("application/vnd.in-toto+json", payload), "")


def test_a_bundle_under_another_root_is_refused() -> None:
    stranger = forge("stranger.example")
    refused(stranger.message(bytes.fromhex(HEX)), "does not verify")
    assert signer(stranger.message(bytes.fromhex(HEX)), trust=Sigstore(stranger.trusted_root())) == WHO


@pytest.mark.parametrize("foreign", ["tlogs", "ctlogs", "certificateAuthorities"])
def test_each_part_of_the_root_is_needed(foreign: str) -> None:
    other = json.loads(forge("stranger.example").trusted_root())[foreign]
    refused(honest(), "does not verify", trust=Sigstore(forge().trusted_root(**{foreign: other})))


def test_a_signature_logged_before_or_after_its_certificate_was_valid_is_refused() -> None:
    for logged in (NOW - timedelta(seconds=1), NOW + LIFETIME + timedelta(seconds=1)):
        refused(forge().message(bytes.fromhex(HEX), logged=logged), "does not verify")


def test_a_bundle_without_its_log_entry_is_refused() -> None:
    refused(changed(lambda one: one["verificationMaterial"].update(tlogEntries=[])), "one log entry")
    refused(changed(lambda one: entry(one).pop("inclusionProof")), "inclusionProof")
    refused(changed(lambda one: entry(one)["inclusionProof"].pop("checkpoint")), "checkpoint")
    refused(forge().message(bytes.fromhex(HEX), promise=False), "inclusion promise or signed timestamp")


def test_a_log_entry_that_is_not_the_logs_or_not_of_this_signature_is_refused() -> None:
    another = forge().message(bytes.fromhex(HEX))
    stranger = forge("stranger.example").message(bytes.fromhex(HEX))
    for made in (another, stranger):
        refused(changed(lambda one, given=made: one["verificationMaterial"].update(tlogEntries=[entry(given)])), "")  # type: ignore[misc]

    def set_proof(key: str, value: object) -> Callable[[dict[str, Any]], None]:
        return lambda one: entry(one)["inclusionProof"].update({key: value})

    for key, value in (
        ("rootHash", b64(bytes(32))),
        ("hashes", []),
        ("logIndex", "6"),
        ("treeSize", "3"),
        ("checkpoint", entry(stranger)["inclusionProof"]["checkpoint"]),
    ):
        refused(changed(set_proof(key, value)), "does not verify")
    refused(changed(lambda one: entry(one).update(integratedTime=str(int(NOW.timestamp())))), "does not verify")
    refused(changed(lambda one: entry(one).update(inclusionPromise=entry(stranger)["inclusionPromise"])), "")


def test_a_certificate_that_the_transparency_log_has_not_seen_is_refused() -> None:
    refused(forge().message(bytes.fromhex(HEX), timestamps=0), "does not verify")
    refused(forge().message(bytes.fromhex(HEX), timestamps=2), "does not verify")


def test_a_certificate_for_something_else_than_signing_code_is_refused() -> None:
    refused(forge().message(bytes.fromhex(HEX), usage=ExtendedKeyUsageOID.SERVER_AUTH), "does not verify")


def test_a_time_from_a_timestamp_authority_stands_in_for_the_logs_promise(
    tmp_path: Path, require_tool: Callable[[str, str], Path]
) -> None:
    """Logs of the second version promise nothing: a certified time shows that the certificate was valid."""
    openssl = str(require_tool("openssl", "openssl"))
    timestamps = Timestamps(openssl, tmp_path)
    made = forge().message(bytes.fromhex(HEX), certified=timestamps.now - timedelta(minutes=1), promise=False)
    response = {"signedTimestamp": b64(timestamps.stamp(base64.b64decode(made["messageSignature"]["signature"])))}
    made["verificationMaterial"]["timestampVerificationData"] = {"rfc3161Timestamps": [response]}
    trust = Sigstore(forge().trusted_root(timestampAuthorities=[timestamps.authority()]))
    assert signer(made, trust=trust) == WHO
    refused(made, "does not verify")  # of a root without that authority
    late = forge().message(bytes.fromhex(HEX), certified=timestamps.now - timedelta(hours=1), promise=False)
    late_response = {"signedTimestamp": b64(timestamps.stamp(base64.b64decode(late["messageSignature"]["signature"])))}
    for one in (response, late_response):
        late["verificationMaterial"]["timestampVerificationData"] = {"rfc3161Timestamps": [one]}
        refused(late, "does not verify", trust=trust)


class Timestamps:
    """A timestamp authority (RFC 3161) by OpenSSL."""

    def __init__(self, openssl: str, directory: Path) -> None:
        from datetime import UTC, datetime

        self._openssl, self._directory = openssl, directory
        self.now = datetime.now(UTC)
        (directory / "ts.cnf").write_text(
            "[req]\ndistinguished_name = name\nprompt = no\n[name]\nO = time.example\n"
            "[ca]\nbasicConstraints = critical, CA:true\nkeyUsage = critical, keyCertSign\n"
            "[signer]\nextendedKeyUsage = critical, timeStamping\nkeyUsage = critical, digitalSignature\n"
            "basicConstraints = critical, CA:false\n"
            "[tsa]\ndefault_tsa = one\n[one]\nserial = serial\nsigner_digest = sha256\ndigests = sha256\n"
            "default_policy = 1.2.3.4\ness_cert_id_alg = sha256\naccuracy = secs:1\n"
        )
        (directory / "serial").write_text("01\n")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "ts.cnf", "-days", "30")
        self._run(
            "req", "-x509", *curve, "-extensions", "ca", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/O=time root"
        )
        self._run(
            "req", "-x509", *curve, "-extensions", "signer", "-keyout", "ts.key", "-out", "ts.pem", "-subj", "/O=time",
            "-CA", "ca.pem", "-CAkey", "ca.key",
        )  # fmt: skip

    def stamp(self, signature: bytes) -> bytes:
        (self._directory / "signature").write_bytes(signature)
        self._run("ts", "-query", "-config", "ts.cnf", "-data", "signature", "-sha256", "-cert", "-out", "query")
        self._run(
            "ts", "-reply", "-config", "ts.cnf", "-section", "one", "-queryfile", "query", "-signer", "ts.pem",
            "-inkey", "ts.key", "-out", "reply",
        )  # fmt: skip
        return (self._directory / "reply").read_bytes()

    def authority(self) -> dict[str, Any]:
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        chain = [x509.load_pem_x509_certificate((self._directory / name).read_bytes()) for name in ("ts.pem", "ca.pem")]
        return {
            "subject": {"organization": "time.example", "commonName": "time"},
            "certChain": {"certificates": [{"rawBytes": b64(one.public_bytes(Encoding.DER))} for one in chain]},
            "validFor": {"start": "2020-01-01T00:00:00Z"},
        }

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._openssl, *arguments], cwd=self._directory, check=True, capture_output=True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}',
        b'{"mediaType":1,"mediaType":2}',
        b"[" * 60_000,
    ],
)
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    refused(data, "does not verify")


def test_bundles_with_parts_missing_or_of_another_type_are_refused() -> None:
    """Every value of an honest bundle left out, and put in wrong."""
    wrongs: list[Any] = [..., None, 7, "", "YQ==", [], {}, "x" * 5000]
    for path in paths(honest()):
        for wrong in wrongs:
            made = copy.deepcopy(honest())
            inner: Any = made
            for step in path[:-1]:
                inner = inner[step]
            if inner[path[-1]] == wrong or (path[-1] in OPTIONAL and wrong in (..., None, {}, [])):
                continue
            if wrong is ...:
                del inner[path[-1]]
            else:
                inner[path[-1]] = wrong
            refused(made, "")


OPTIONAL = {"timestampVerificationData", "rfc3161Timestamps", "messageDigest"}


def paths(value: object, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: list[tuple[Any, ...]] = []
    for step, inner in steps:
        found += [(*before, step), *paths(inner, (*before, step))]
    return found


@given(st.integers(0, 100_000), st.integers(0, 7))
def test_no_changed_bit_makes_a_bundle_somebody_elses(index: int, bit: int) -> None:
    data = bytearray(json.dumps(honest()).encode())
    data[index % len(data)] ^= 1 << bit
    other = Identity("somebody@else.example", ISSUER)
    with contextlib.suppress(AuthenticityError):
        assert signer(bytes(data), WHO, other) == WHO


def test_bundles_of_the_public_sigstore_verify_under_its_root() -> None:
    """Made by somebody else's release workflow in 2024; what it says of its publication is not that it built it."""
    root = files("sigstore") / "_store" / "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev" / "trusted_root.json"
    public = Sigstore(root.read_bytes())
    workflow = "https://github.com/trailofbits/pypi-attestations/.github/workflows/release.yml@refs/tags/v0.0.19"
    who = Identity(workflow, "https://token.actions.githubusercontent.com")
    package = Statement("sha256:9bb1add04b1b4e182be6b0b80931593f7a291eb49d69b4fd728a5d4cbcdc4bd3", "application/gzip")
    provenance = (VECTORS / "provenance.sigstore.json").read_bytes()
    assert signer(provenance, who, trust=public, package=package) == who
    refused(provenance, "another package", who, trust=public)
    refused(provenance, "another identity", Identity(workflow[:-1] + "8", who.issuer), trust=public, package=package)
    refused(provenance, "does not verify", who, package=package)
    published = (VECTORS / "publish.sigstore.json").read_bytes()
    refused(published, "something else", who, trust=public, package=package)


def test_an_identity_counts_once_and_beside_keys() -> None:
    data = json.dumps(honest()).encode()
    again = json.dumps(forge().statement(HEX)).encode()
    presented = Presented((data, data, again, b"junk"), sigstore())
    verdict = presented.verdict(PACKAGE, [Identity("x", ISSUER), WHO])
    assert verdict.signed == (WHO,)
    assert len(verdict.notes) == 1
    assert WORKFLOW not in str(verdict)  # it is told to the host
    assert WHO.id.startswith("sigstore:")
    assert WHO.id != Identity(WORKFLOW, "https://x").id


@pytest.mark.parametrize(
    "root",
    [
        b"",
        b"{}",
        b"\xff",
        forge().trusted_root(mediaType="application/json"),
        forge().trusted_root(tlogs=[]),
        forge().trusted_root(certificateAuthorities=[]),
        forge().trusted_root(certificateAuthorities=3),
        forge().trusted_root(
            certificateAuthorities=[
                json.loads(forge().trusted_root())["certificateAuthorities"][0]
                | {"certChain": {"certificates": [{"rawBytes": "AAAA"}]}}
            ]
        ),
    ],
)
def test_what_is_no_trusted_root_is_refused(root: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        Sigstore(root)
    assert caught.value.code == "sigstore-root"
    assert caught.value.hint


def test_without_the_library_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sigstore.models", None)
    with pytest.raises(ConfigError) as caught:
        Sigstore(forge().trusted_root())
    assert caught.value.code == "sigstore-unavailable"
    assert "pip install 'enarx[sigstore]'" in caught.value.hint


def test_the_library_is_loaded_for_policies_that_ask_for_it_alone() -> None:
    code = "import sys, enarx.tenant.steward.engine, enarx.cli.packagesign; print('sigstore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


OFFLINE = """
import os, sys
from pathlib import Path
def audit(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "os.mkdir", "subprocess.Popen"):
        print("SIDE EFFECT", event, arguments, flush=True)
        os._exit(1)
sys.dont_write_bytecode = True
from enarx.tenant.signature.bundle import Identity, Sigstore
from enarx.tenant.signature.statement import Statement
import sigstore.verify, sigstore.models
sys.addaudithook(audit)
root, bundle, digest, who, issuer = sys.argv[1:]
trust = Sigstore(Path(root).read_bytes())
print(trust.signer(Path(bundle).read_bytes(), Statement(digest, "application/wasm"), [Identity(who, issuer)]).identity)
"""


def test_nothing_is_fetched_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_bytes(forge().trusted_root())
    (tmp_path / "bundle.json").write_text(json.dumps(honest()))
    command = [sys.executable, "-c", OFFLINE, str(tmp_path / "root.json"), str(tmp_path / "bundle.json")]
    done = subprocess.run(
        [*command, PACKAGE.digest, WORKFLOW, ISSUER],
        env={"HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == WORKFLOW
    assert not (tmp_path / "home").exists()
