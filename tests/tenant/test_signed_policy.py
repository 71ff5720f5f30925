"""``signed_by``, ``threshold`` and ``[sigstore]`` in policy files: what is read, and what is refused with its place."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from enarx.errors import ConfigError
from enarx.tenant.policy import Policy, parse_policy
from enarx.tenant.signature.bundle import Identity
from enarx.tenant.signature.settings import SIGNERS_MAX
from enarx.tenant.steward.files import read_policy
from enarx.tenant.workloads import SIGNERS_MAX as ALL_SIGNERS_MAX
from tests.support import ROOT
from tests.tenant.keeps import WEB
from tests.tenant.signature.sigstore_forge import ISSUER, WORKFLOW, forge
from tests.tenant.signed import IDENTITY, inline, key, signed_by

SIGSTORE = '[sigstore]\ntrusted_root = "root.json"\n'


def read(text: str) -> Policy:
    """A policy with these files beside it."""
    files = {
        "a.pub": key("a").public.pem(),
        "private.pem": key("a").pem(),
        "junk.pem": b"junk",
        "root.json": forge().trusted_root(),
        "junk.json": b"{}",
    }

    def named(name: str, limit: int, private: bool) -> bytes:
        assert not private
        assert len(files[name]) <= limit
        return files[name]

    return parse_policy(text.encode(), "policy.toml", named)


def refused(text: str, code: str = "policy-value") -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.message.startswith("policy.toml:")
    assert caught.value.code == code, caught.value.message
    assert caught.value.hint
    return caught.value


def test_keys_are_read_from_the_policy_and_from_files() -> None:
    for listed in ('"a.pub"', inline("a"), f"[{inline('a')}]"):
        (web,) = read(f"[workload.web]\nsigned_by = {listed}\n").workloads
        assert web.signers is not None
        assert web.signers.accepted == (key("a").public,)
        assert web.signers.threshold == 1
        assert web.is_by_signers_alone
    text = f'[workload.web]\ndigest = "{WEB}"\nsigned_by = ["a.pub", {inline("b")}]\nthreshold = 2\n'
    (web,) = read(text).workloads
    assert web.signers is not None
    assert web.signers.threshold == 2
    assert not web.is_by_signers_alone


def test_the_policy_in_the_documentation_is_valid() -> None:
    text = (ROOT / "docs" / "signatures.md").read_text()
    (shown,) = re.findall(r"^```text\n(\[workload.*?)^```", text, re.MULTILINE | re.DOTALL)
    files = {name: key(name).public.pem() for name in ("release.pub", "security.pub")}
    files["trusted_root.json"] = forge().trusted_root()
    policy = parse_policy(shown.encode(), "docs", lambda name, limit, private: files[name][:limit])
    web, payments = policy.workloads
    assert web.is_by_signers_alone
    assert payments.signers is not None
    assert (len(payments.signers.accepted), payments.signers.threshold) == (3, 2)


def test_identities_are_read_with_the_sigstore_that_they_are_of() -> None:
    policy = read(SIGSTORE + signed_by("identity", "a"))
    assert policy.sigstore is not None
    assert policy.workloads[0].who_may_sign == (Identity(WORKFLOW, ISSUER), key("a").public)
    assert read(SIGSTORE).sigstore is not None
    assert read(signed_by("a")).sigstore is None


def test_files_are_beside_the_policy(tmp_path: Path) -> None:
    (tmp_path / "release.pub").write_bytes(key("a").public.pem())
    (tmp_path / "root.json").write_bytes(forge().trusted_root())
    (tmp_path / "policy.toml").write_text(f'{SIGSTORE}[workload.web]\nsigned_by = ["release.pub", {IDENTITY}]\n')
    assert read_policy(tmp_path / "policy.toml").workloads[0].who_may_sign[0] == key("a").public
    (tmp_path / "release.pub").unlink()
    with pytest.raises(ConfigError) as caught:
        read_policy(tmp_path / "policy.toml")
    assert caught.value.code == "file-unreadable"


@pytest.mark.parametrize(
    "workload",
    [
        "signed_by = []",
        'signed_by = "private.pem"',
        'signed_by = "junk.pem"',
        'signed_by = "-----BEGIN PUBLIC KEY-----"',
        "threshold = 1",
        'digest = ["' + WEB + '"]\nthreshold = 1',
        'manifest = ["' + WEB + '"]\nsigned_by = "a.pub"',
        f"signed_by = {IDENTITY}",  # of no sigstore
        'signed_by = { identity = "", issuer = "https://x" }',
        'signed_by = { identity = "x" }',
        'signed_by = { issuer = "https://x" }',
        'signed_by = { identity = "x\\u0007", issuer = "https://x" }',
        'signed_by = { identity = "x", issuer = "http://x" }',
        'signed_by = { identity = "' + "x" * 2049 + '", issuer = "https://x" }',
    ],
)
def test_what_is_wrong_about_signers_is_named(workload: str) -> None:
    refused(f"[workload.web]\n{workload}\n")


@pytest.mark.parametrize(
    "workload",
    ["signed_by = 3", "signed_by = [[]]", *(f'signed_by = "a.pub"\nthreshold = {one}' for one in ('"1"', "0", "true"))],
)
def test_values_of_other_types_are_named(workload: str) -> None:
    refused(f"[workload.web]\n{workload}\n", "config-type")


def test_a_threshold_that_nobody_can_reach_is_refused() -> None:
    assert "from 1 to 2" in refused(signed_by("a", "b", more="threshold = 3"), "config-type").message


def test_an_unknown_key_of_an_identity_is_refused() -> None:
    refused('[workload.web]\nsigned_by = { identity = "x", isuer = "https://x" }', "policy-unknown-key")


def test_a_private_key_is_not_shown() -> None:
    error = refused('[workload.web]\nsigned_by = "private.pem"\n')
    assert "enarx key package public" in error.hint
    assert key("a").pem().decode().splitlines()[1] not in error.message
    pasted = refused(f'[workload.web]\nsigned_by = """{key("a").pem().decode()}"""\n')
    assert key("a").pem().decode().splitlines()[1] not in pasted.message


def test_a_signer_that_is_listed_twice_is_a_contradiction() -> None:
    text = f'[workload.web]\nsigned_by = [{inline("a")}, {inline("b")}, "a.pub"]\nthreshold = 2\n'
    assert "is signer 0 again" in refused(text, "policy-contradiction").message
    refused(f"{SIGSTORE}[workload.web]\nsigned_by = [{IDENTITY}, {IDENTITY}]\n", "policy-contradiction")


def test_a_signer_of_two_workloads_without_digests_is_a_contradiction() -> None:
    text = signed_by("a", "b") + signed_by("b", "c", workload="db")
    assert "is both web and db" in refused(text, "policy-contradiction").message
    refused(SIGSTORE + signed_by("identity") + signed_by("identity", workload="db"), "policy-contradiction")
    read(signed_by("a") + signed_by("b", workload="db"))
    read(signed_by("a") + signed_by("a", workload="db", more=f'digest = "{WEB}"'))  # the digest says which


def test_any_digest_does_not_go_with_signers_nor_beside_them() -> None:
    refused(signed_by("a", more='digest = "any"'), "policy-contradiction")
    refused(signed_by("a") + '[workload.db]\ndigest = "any"\n', "policy-contradiction")


def test_signers_are_bounded() -> None:
    names = [f"signer {number}" for number in range(ALL_SIGNERS_MAX + 1)]
    read(signed_by(*names[:SIGNERS_MAX]))
    refused(signed_by(*names[: SIGNERS_MAX + 1]))
    several = [names[at : at + SIGNERS_MAX] for at in range(0, ALL_SIGNERS_MAX, SIGNERS_MAX)]
    text = "".join(signed_by(*some, workload=f"w{number}") for number, some in enumerate(several))
    read(text)
    assert "signers name workloads" in refused(text + signed_by(names[-1], workload="last")).message


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ("[sigstore]\n", "policy-value"),
        ("[sigstore]\ntrusted_root = 3\n", "config-type"),
        ('[sigstore]\ntrusted_root = "root.json"\ntuf = "x"\n', "policy-unknown-key"),
        ('[sigstore]\ntrusted_root = "junk.json"\n', "sigstore-root"),
    ],
)
def test_a_sigstore_without_a_root_is_refused(table: str, code: str) -> None:
    refused(table, code)


def test_without_the_extra_identities_are_refused_when_the_policy_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sigstore.models", None)
    error = refused(SIGSTORE + signed_by("identity"), "sigstore-unavailable")
    assert error.message.startswith("policy.toml:2:16:")
    assert "pip install 'enarx[sigstore]'" in error.hint
    read(signed_by("a"))
