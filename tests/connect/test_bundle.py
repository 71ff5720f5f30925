"""Bundles: judged again as they were, and refused when anything in them was exchanged, damaged or made up."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import enarx
from enarx.connect import bundle as bundles
from enarx.connect.bundle import BUNDLE_MAX_BYTES, Bundle, StatedPolicy, read_bundle, record_policy, verify_bundle
from enarx.errors import ConfigError, EnarxError, MalformedError, UsageError
from enarx.tenant.client import Verdict
from tests.connect.keeps import client_files
from tests.evidence.snp.forge import Machine, ec_key
from tests.tenant.keeps import NOW, Keep, authority, policy_text, simulator
from tests.tenant.test_client import HOST, issued
from tests.tenant.test_freshness import session

PEM = simulator("simulator").pem  # as in `policy_text`
BEFORE, AFTER = NOW - timedelta(days=2), NOW + timedelta(hours=13)


def saved(**changes: Any) -> Bundle:
    """What an honest Keep showed, under a policy that accepts it."""
    manifest = Keep().manifest
    assert manifest is not None
    known: dict[str, Any] = {
        "saved": NOW,
        "url": f"https://{HOST}:8443",
        "certificates": tuple(issued()),
        "policy": StatedPolicy("policy.toml", policy_text()),
        "session": session(),
        "manifest": manifest.encode(),
        "authority": authority().spki_digest,
    }
    return Bundle(**(known | changes))


def refused(verdict: Verdict, code: str) -> None:
    assert verdict.error is not None, "it was accepted"
    assert verdict.error.code == code, verdict.error.message
    assert verdict.error.hint


def test_a_bundle_is_judged_as_it_was_saved() -> None:
    whole = saved()
    verdict = enarx.verify_bundle(whole.encode())
    assert verdict.accepted, verdict.error
    names = {rule.name for rule in verdict.rules}
    assert {"key-binding", "manifest", "certificate-authority", "session-binding", "session-guest"} <= names
    assert (verdict.simulated, verdict.authority, verdict.workload) == (True, True, "web")
    assert verdict == verify_bundle(whole)


def test_a_bundle_without_fresh_evidence_is_judged_by_its_certificate() -> None:
    verdict = verify_bundle(saved(session=None))
    assert verdict.accepted
    assert not any(rule.name.startswith("session-") for rule in verdict.rules)


@pytest.mark.parametrize(
    ("at", "code"), [(BEFORE, "certificate-not-yet-valid"), (AFTER, "certificate-expired")], ids=["before", "after"]
)
def test_a_time_outside_validity_is_refused(at: datetime, code: str) -> None:
    refused(verify_bundle(saved(), at=at), code)
    refused(verify_bundle(saved(saved=at).encode()), code)


def test_a_judgement_opens_no_connection_and_asks_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved().encode()

    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("a bundle is judged offline")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    assert verify_bundle(data) == verify_bundle(data)


OTHER_KEY = Keep(key=ec_key("other"))
SWAPS: dict[str, tuple[dict[str, Any], str]] = {
    "certificates": ({"certificates": tuple(issued(OTHER_KEY))}, "session-mismatch"),
    "fresh evidence": ({"session": session(OTHER_KEY)}, "session-mismatch"),
    "nonce": ({"session": replace(session(), nonce=b"x" * 32)}, "session-mismatch"),
    "exporter": ({"session": replace(session(), exporter=b"x" * 32)}, "session-mismatch"),
    "digests": ({"session": replace(session(), digests=(b"x" * 48,))}, "session-mismatch"),
    "manifest": ({"manifest": None, "authority": None}, "workload-unknown"),
    "authority": ({"authority": bytes(32)}, "certificate-ca"),
    "url": ({"url": "https://elsewhere.example:8443"}, "certificate-name"),
    "order of the chain": ({"certificates": tuple(reversed(issued()))}, "keep-certificate"),
    "processor": ({"session": session(machine=Machine(simulator("stranger")))}, "untrusted-chain"),
}


@pytest.mark.parametrize(("changes", "code"), SWAPS.values(), ids=SWAPS.keys())
def test_swapped_parts_are_refused(changes: dict[str, Any], code: str) -> None:
    refused(verify_bundle(saved(**changes).encode()), code)


def test_a_swapped_policy_shows_when_it_is_judged_by_the_callers_own(tmp_path: Path) -> None:
    """A bundle's maker may have written what policy he likes: it is his word, and an auditor has his own."""
    strict = client_files(tmp_path, text=policy_text().replace("ab" * 48, "cd" * 48)).policy
    assert verify_bundle(saved()).accepted
    refused(verify_bundle(saved(), strict), "measurement-mismatch")


def test_what_the_caller_gives_counts_more_than_the_bundle() -> None:
    refused(verify_bundle(saved(), ca=bytes(32)), "certificate-ca")
    refused(verify_bundle(saved(), ca="sha256:" + "00" * 32), "certificate-ca")
    other = Keep().manifest
    assert other is not None
    refused(verify_bundle(saved(), manifest=other.encode().replace(b'"args":[]', b'"args":["x"]')), "manifest-mismatch")


# --- the format


def test_a_bundle_is_read_as_it_was_written() -> None:
    whole = saved(chain=(b"ask", b"ark"), crls=(b"list",), signatures=(b"one", b"two"))
    assert read_bundle(whole.encode()) == whole
    assert read_bundle(saved(session=None, manifest=None, authority=None).encode()).session is None


BYTES = st.binary(max_size=300)


@given(
    st.lists(BYTES, min_size=1, max_size=6),
    st.lists(BYTES, max_size=16),
    st.lists(BYTES, max_size=8),
    st.none() | BYTES,
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), BYTES, max_size=8),
    st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)),
)
def test_every_bundle_has_one_reading(
    certificates: list[bytes], crls: list[bytes], signatures: list[bytes], manifest: bytes | None,
    files: dict[str, bytes], time: datetime,
) -> None:  # fmt: skip
    whole = saved(
        saved=time.replace(microsecond=0), certificates=tuple(certificates), crls=tuple(crls),
        signatures=tuple(signatures), manifest=manifest, policy=StatedPolicy("p", "text", files),
    )  # fmt: skip
    assert read_bundle(whole.encode()) == whole


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        read_bundle(data)
    assert caught.value.code == "bundle"


ENCODED = saved().encode()


@given(st.integers(0, len(ENCODED) - 1), st.integers(1, 255))
def test_a_damaged_bundle_never_raises_anything_else(at: int, flip: int) -> None:
    """Whatever is changed is refused with a reason, or means the same."""
    damaged = ENCODED[:at] + bytes([ENCODED[at] ^ flip]) + ENCODED[at + 1 :]
    try:
        verdict = verify_bundle(damaged)
    except EnarxError as error:
        assert error.code
    else:
        assert verdict.error is None or verdict.error.code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
PATHS = [
    ("format",), ("saved",), ("url",), ("certificates",), ("certificates", 0), ("session",), ("session", "nonce"),
    ("session", "digests"), ("session", "evidence"), ("endorsements",), ("endorsements", "chain"), ("manifest",),
    ("authority",), ("signatures",), ("policy",), ("policy", "text"), ("policy", "files"),
]  # fmt: skip


@given(st.sampled_from(PATHS), JSON)
def test_any_value_at_any_place_is_read_or_refused(path: tuple[str | int, ...], value: Any) -> None:
    plain = json.loads(ENCODED)
    place = plain
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    try:
        verify_bundle(json.dumps(plain).encode())
    except EnarxError as error:
        assert isinstance(error, MalformedError | ConfigError)


def changed(edit: Callable[[dict[str, Any]], Any]) -> bytes:
    plain = json.loads(ENCODED)
    edit(plain)
    return json.dumps(plain).encode()


def many(count: int, size: int = 1) -> list[str]:
    return [base64.b64encode(bytes(size)).decode()] * count


BAD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a key that nobody knows": lambda top: top.update(more=1),
    "a key that is missing": lambda top: top.pop("session"),
    "another format": lambda top: top.update(format="enarx-bundle/2"),
    "no certificate": lambda top: top.update(certificates=[]),
    "too many certificates": lambda top: top.update(certificates=many(7)),
    "a certificate that is too long": lambda top: top.update(certificates=many(1, (64 << 10) + 1)),
    "too many lists": lambda top: top["endorsements"].update(crls=many(17)),
    "too many signatures": lambda top: top.update(signatures=many(9)),
    "too many digests": lambda top: top["session"].update(digests=many(65, 48)),
    "no digest": lambda top: top["session"].update(digests=[]),
    "a digest of another size": lambda top: top["session"].update(digests=many(1, 47)),
    "a nonce of another size": lambda top: top["session"].update(nonce=many(1, 31)[0]),
    "base64 with white space": lambda top: top.update(manifest="AA ="),
    "base64 with spare bits": lambda top: top.update(manifest="AB=="),
    "a time without a zone": lambda top: top.update(saved="2026-11-27T16:00:00"),
    "a day that is none": lambda top: top.update(saved="2026-02-30T16:00:00Z"),
    "a URL that is none": lambda top: top.update(url="ftp://localhost"),
    "a digest in capitals": lambda top: top.update(authority="sha256:" + "A" * 64),
    "text that is no Unicode": lambda top: top["policy"].update(text="\ud800"),
    "too much policy": lambda top: top["policy"].update(text="#" * ((256 << 10) + 1)),
    "too many files": lambda top: top["policy"].update(files={str(n): "" for n in range(65)}),
}


@pytest.mark.parametrize("edit", BAD.values(), ids=BAD.keys())
def test_what_is_beyond_the_format_is_refused(edit: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(MalformedError) as caught:
        read_bundle(changed(edit))
    assert (caught.value.code, caught.value.exit_status) == ("bundle", 3)


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(MalformedError):
        read_bundle(ENCODED.replace(b'"url"', b'"url": "https://a.example", "url"', 1))


def test_a_bundle_that_is_too_long_is_neither_read_nor_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MalformedError):
        read_bundle(b" " * (BUNDLE_MAX_BYTES + 1))
    monkeypatch.setattr(bundles, "BUNDLE_MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="bytes"):
        saved().encode()


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(MalformedError):
        read_bundle(b"[" * 200_000)


# --- the policy in it


def test_a_policy_goes_in_with_the_files_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text(PEM)
    text = policy_text().replace(f'certificates = """{PEM}"""', 'root = "root.pem"')
    (tmp_path / "own.toml").write_text(text)
    policy, stated = record_policy(tmp_path / "own.toml")
    assert stated == StatedPolicy("own.toml", text, {"root.pem": PEM.encode()})
    assert stated.parsed() == policy
    for path in tmp_path.iterdir():
        path.unlink()
    assert verify_bundle(saved(policy=stated).encode()).accepted


def test_a_policy_that_names_a_file_which_is_not_there_is_refused() -> None:
    text = policy_text().replace(f'certificates = """{PEM}"""', 'root = "root.pem"')
    with pytest.raises(ConfigError) as caught:
        verify_bundle(saved(policy=StatedPolicy("policy.toml", text)))
    assert caught.value.code == "bundle-policy"


def test_secrets_do_not_go_into_a_bundle(tmp_path: Path) -> None:
    inline = '[[secret]]\nname = "password"\nvalue = "hunter2"\nworkloads = ["web"]\n'
    (tmp_path / "inline.toml").write_text(policy_text(inline))
    with pytest.raises(UsageError) as caught:
        record_policy(tmp_path / "inline.toml")
    assert caught.value.code == "bundle-secrets"
    secret = tmp_path / "password"
    secret.write_text("hunter2")
    secret.chmod(0o600)
    (tmp_path / "file.toml").write_text(policy_text(inline.replace('value = "hunter2"', 'file = "password"')))
    _, stated = record_policy(tmp_path / "file.toml")
    encoded = saved(policy=stated).encode()
    assert b"hunter2" not in encoded
    assert base64.b64encode(b"hunter2") not in encoded
    assert verify_bundle(encoded).accepted


def test_signatures_may_be_checked_by_another_verifier() -> None:
    from enarx.evidence.awslc import AwsLcVerifier

    whole = saved()
    assert verify_bundle(whole, verifier=AwsLcVerifier()) == verify_bundle(whole)
