"""Policy files: what is read, and that nothing which is misspelt, contradictory or absent comes to mean yes."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import ConfigError
from enarx.evidence.reference import LaunchValue, format_reference_values
from enarx.tenant.policy import LIFETIME_MAX, ConsoleRules, Policy, parse_policy
from enarx.tenant.policytables import no_files
from enarx.tenant.steward.files import read_policy
from tests.tenant.keeps import MEASUREMENT, WEB, policy_text, simulator

# A configuration in the form of the published Steward, with every key that it documents.
PUBLISHED = f"""
[sgx]
signer = ["{"2e" * 32}"]
hash = ["{"40" * 32}"]
features = ["Debug", "ProvisioningKey", "EInitKey", "KSS"]
enclave_security_version = 0
enclave_product_id = 0
allowed_advisories = ["INTEL-SA-00289", "INTEL-SA-00657"]
[snp]
signer = ["{"7d" * 48}"]
id_key_digest = ["{"d7" * 48}"]
hash = ["{"ff" * 48}"]
abi = ">=1.51"
policy_flags = ["SMT"]
platform_info_flags = "SME"
"""


def read(text: str) -> Policy:
    return parse_policy(text.encode(), "policy.toml", no_files)


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.message.startswith("policy.toml:")
    assert caught.value.hint
    return caught.value


def test_the_published_stewards_configuration_is_read_as_it_is() -> None:
    policy = read(PUBLISHED)
    assert policy.snp is not None
    assert policy.snp.measurement == (b"\xff" * 48,)
    assert policy.snp.author_key_digest == (b"\x7d" * 48,)
    assert policy.snp.guest_policy.exact_flags == frozenset({"SMT"})
    assert policy.workloads == ()


def test_lists_that_name_nothing_are_read_where_they_can_mean_one_thing_only() -> None:
    nothing = "hash_blacklist = []\nid_key_digest_blacklist = []\n"
    policy = read(f'[snp]\nhash = ["{"ff" * 48}"]\n{nothing}[sgx]\nhash = ["{"ff" * 32}"]\nsigner = []\nfeatures = []')
    assert policy.snp is not None
    assert policy.snp.measurement_deny == ()
    for key in ("signer", "hash", "id_key_digest"):
        error = refused(f'[snp]\nmeasurement = ["{"ff" * 48}"]\n{key} = []')
        assert error.code == "policy-value"
        assert "the published Steward takes an empty list for any" in error.hint


def test_keys_that_stand_in_the_other_technologys_table_are_named() -> None:
    """As in the published Steward's own example, which ignores them."""
    assert "under [sgx]" in refused(f'[snp]\nhash = ["{"ff" * 48}"]\nenclave_product_id = 0').hint
    assert "under [snp]" in refused(f'[sgx]\nhash = ["{"ff" * 32}"]\nabi = ">=1.51"').hint


def test_an_empty_file_is_valid_and_accepts_nothing() -> None:
    policy = read("")
    assert policy.snp is None
    assert policy.simulated is None
    assert not policy.accepts_kvm
    assert policy.certificate.lifetime == LIFETIME_MAX == timedelta(hours=24)
    assert policy.service.rate > 0  # a limit is the default


def test_every_table_is_read() -> None:
    text = policy_text(
        '[[secret]]\nname = "db"\nvalue = "v"\nworkloads = ["web"]\nsimulated = true',
        '[certificate]\nlifetime = "90m"\ndns = ["web.example"]\ntrust_domain = "example.org"',
        f'[service]\nnames = ["steward.example", "127.0.0.1", "::1"]\npolicy_readers = ["{WEB}"]\nrate = 0\nburst = 5',
        f'[console]\nreaders = ["{WEB}"]\nsession = "8h"',
        "[debug]\nkvm = true",
    )
    policy = read(text)
    assert policy.console == ConsoleRules((bytes.fromhex(WEB.removeprefix("sha256:")),), timedelta(hours=8))
    assert policy.simulated is not None
    assert policy.simulated.simulated
    assert policy.simulated_roots[0].simulated
    assert policy.certificate.lifetime == timedelta(minutes=90)
    assert policy.service.names == ("steward.example", "127.0.0.1", "::1")
    assert policy.service.rate == 0
    assert policy.accepts_kvm
    assert policy.secrets[0].value == b"v"
    assert "b'v'" not in repr(policy)
    assert policy.public_text is None  # a secret is written in it


def test_a_policy_without_secrets_in_it_may_be_shown() -> None:
    assert read("[snp]\nmeasurement = 'any'").public_text == "[snp]\nmeasurement = 'any'"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[snpp]\n", "policy-unknown-key"),
        ("snp = 3", "config-type"),
        ("[snp]\n", "policy-no-measurement"),
        ('[snp]\nmeasurment = "any"', "policy-unknown-key"),
        ('[snp]\nmeasurement = "any"\nsimulated = true', "policy-value"),
        ('[simulated]\nmeasurement = "any"', "policy-value"),
        ('[simulated]\nmeasurement = "any"\ncertificates = "junk"', "policy-value"),
        ('[simulated]\nmeasurement = "any"\ncertificates = 3', "config-type"),
        ('[simulated]\nmeasurement = "any"\nroot = "x"', "policy-file"),
        ("[workload.web]\n", "policy-value"),
        ('[workload."../x"]\ndigest = "any"', "policy-value"),
        ('[workload.web]\ndigest = ["ab"]', "policy-value"),
        (f'[workload.web]\ndigest = ["{WEB}"]\nmanifest = ["{WEB}"]', "policy-value"),
        (f'[workload.web]\nmanifest = ["{WEB}"]\nargs = "any"', "policy-value"),
        (f'[workload.web]\ndigest = ["{WEB}"]\nsigned_bye = ["x"]', "policy-unknown-key"),
        (f'[workload.web]\ndigest = ["{WEB}"]\nsigned_by = ["x"]', "policy-file"),
        (f'[workload.web]\ndigest = ["{WEB}"]\nenv = ["x"]', "config-type"),
        (f'[workload.web]\ndigest = ["{WEB}"]\nargs = [1]', "config-type"),
        (f'[workload.a]\ndigest = ["{WEB}"]\n[workload.b]\ndigest = ["{WEB}"]', "policy-contradiction"),
        (f'[workload.a]\ndigest = ["{WEB}"]\n[workload.b]\ndigest = "any"', "policy-contradiction"),
        ("workload = []", "config-type"),
        ('[[secret]]\nname = "a"\nvalue = "v"', "policy-value"),
        ('[[secret]]\nname = "a"\nvalue = "v"\nworkloads = ["nobody"]', "policy-value"),
        ('[[secret]]\nname = "a"\nvalue = "v"\nfile = "f"\nworkloads = []', "policy-value"),
        ('[[secret]]\nname = "a/b"\nvalue = "v"\nworkloads = []', "policy-value"),
        ('secret = "x"', "config-type"),
        ('[certificate]\nlifetime = "25h"', "policy-value"),
        ('[certificate]\nlifetime = "30s"', "policy-value"),
        ('[certificate]\nlifetime = "a day"', "policy-value"),
        ('[certificate]\ndns = ["*.example"]', "policy-value"),
        ('[certificate]\ndns = ["UPPER.example"]', "policy-value"),
        ('[certificate]\ntrust_domain = "a/b"', "policy-value"),
        ("[service]\nrate = -1", "config-type"),
        ("[service]\nrate = true", "config-type"),
        ('[service]\npolicy_readers = ["x"]', "policy-value"),
        ('[service]\nnames = ["under_score"]', "policy-value"),
        ("[console]\n", "policy-value"),
        ("[console]\nreaders = []", "policy-value"),
        ('[console]\nreaders = ["a token"]', "policy-value"),
        (f'[console]\nreaders = ["{WEB}"]\nsession = "13h"', "policy-value"),
        (f'[console]\nreaders = ["{WEB}"]\nsession = 30', "config-type"),
        (f'[console]\nreader = ["{WEB}"]', "policy-unknown-key"),
        ('[debug]\nkvm = "yes"', "config-type"),
        ("[debug]\nsnp = true", "policy-unknown-key"),
        ("[sgx]\n", "policy-value"),
        ('[sgx]\nsigner = ["ab"]', "policy-value"),
        (f'[sgx]\nsigner = ["{"ab" * 32}"]\nfeatures = ["Magic"]', "policy-value"),
        (f'[sgx]\nhash = ["{"ab" * 32}"]\nhash_blacklist = ["{"ab" * 32}"]', "policy-contradiction"),
        (f'[sgx]\nsigner = ["{"ab" * 32}"]\nenclave_product_id = 70000', "config-type"),
        (f'[sgx]\nsigner = ["{"ab" * 32}"]\nother = 1', "policy-unknown-key"),
        ("[snp\n", "config-syntax"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, code: str) -> None:
    if code == "policy-file":
        with pytest.raises(ConfigError) as caught:
            read(text)
        assert caught.value.code == code
        return
    assert refused(text).code == code


def test_a_vendors_root_cannot_be_named_as_a_simulators(vectors: Path) -> None:
    pem = (vectors / "snp" / "trust" / "ask-ark-milan.pem").read_text()
    refused(f'[simulated]\nmeasurement = "any"\ncertificates = """{pem}"""')


def test_two_secrets_of_one_name_are_refused() -> None:
    one = '[[secret]]\nname = "a"\nvalue = "v"\nworkloads = ["web"]\n'
    assert refused(policy_text(one, one)).code == "policy-contradiction"


def test_an_empty_or_oversized_secret_is_refused() -> None:
    secret = '[[secret]]\nname = "a"\nvalue = "{}"\nworkloads = ["web"]\n'
    refused(policy_text(secret.format("")))
    refused(policy_text(secret.format("x" * (64 * 1024 + 1))))


def test_files_that_the_policy_names_are_beside_it(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text(simulator().pem)
    (tmp_path / "secret").write_bytes(b"\0binary")
    (tmp_path / "secret").chmod(0o600)
    text = f'[simulated]\nroot = "root.pem"\nmeasurement = ["{MEASUREMENT}"]\n[workload.web]\ndigest = ["{WEB}"]\n'
    text += '[[secret]]\nname = "s"\nfile = "secret"\nworkloads = ["web"]\n'
    (tmp_path / "policy.toml").write_text(text)
    policy = read_policy(tmp_path / "policy.toml")
    assert policy.secrets[0].value == b"\0binary"
    assert policy.public_text == text  # only names a file
    (tmp_path / "secret").chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        read_policy(tmp_path / "policy.toml")
    assert caught.value.code == "file-permissions"


@pytest.mark.parametrize("kind", ["missing", "directory", "long", "pipe"])
def test_a_policy_that_cannot_be_read_is_an_error(tmp_path: Path, kind: str) -> None:
    import os

    path = tmp_path / "policy.toml"
    if kind == "directory":
        path.mkdir()
    elif kind == "long":
        path.write_bytes(b"#" * (256 * 1024 + 1))
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ConfigError) as caught:
        read_policy(path)
    assert caught.value.code in ("file-unreadable", "file-size")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_policy_or_a_config_error(data: bytes) -> None:
    try:
        parse_policy(data, "p", no_files)
    except ConfigError as error:
        assert error.code


# --- whatever stands where


TREE: dict[str, dict[str, object]] = {
    "sgx": {
        "signer": ["2e" * 32], "hash": ["40" * 32], "hash_blacklist": ["41" * 32], "features": ["Debug"],
        "misc_select": ["EXINFO"], "enclave_security_version": 0, "enclave_product_id": 0,
        "allowed_advisories": ["INTEL-SA-00289"],
    },
    "snp": {
        "signer": ["7d" * 48], "hash": ["ff" * 48], "hash_blacklist": ["fe" * 48], "id_key_digest": ["d7" * 48],
        "id_key_digest_blacklist": ["d8" * 48], "abi": ">=1.51", "policy_flags": ["SMT"],
        "platform_info_flags": "SME", "minimum_tcb": {"reported": {"snp": 1}}, "guest_policy": {"smt": True},
    },
    "workload": {"web": {"digest": [WEB], "config": "any", "files": [WEB], "args": ["x"], "env": {"A": "b"}}},
    "certificate": {"lifetime": "1h", "dns": ["a.example"], "trust_domain": "example.org"},
    "service": {"names": ["a.example"], "policy_readers": [WEB], "rate": 1, "burst": 2},
    "console": {"readers": [WEB], "session": "1h"},
    "debug": {"kvm": False},
}  # fmt: skip
"""A file with every table and every kind of value, as a tree."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def toml(value: object) -> str:
    """``value`` inline; None is a time, which JSON has not."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return "2026-01-01T00:00:00Z" if value is None else json.dumps(value).replace("\x7f", "\\u007f")


def test_the_tree_is_a_policy() -> None:
    assert read("\n".join(f"{name} = {toml(table)}" for name, table in TREE.items())).snp is not None


@given(st.sampled_from([(name, key) for name, table in TREE.items() for key in table]), VALUES)
def test_any_value_anywhere_is_a_policy_or_a_config_error(place: tuple[str, str], value: object) -> None:
    changed = {name: dict(table) for name, table in TREE.items()}
    changed[place[0]][place[1]] = value
    with contextlib.suppress(ConfigError):
        read("\n".join(f"{name} = {toml(table)}" for name, table in changed.items()))


def test_launch_digests_of_an_image_are_included_from_its_file(tmp_path: Path) -> None:
    values = [
        LaunchValue("snp", bytes([number]) * 48, model, number)
        for number, model in ((1, "EPYC-Milan"), (2, "EPYC-Milan"), (3, "EPYC"))
    ]
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "reference-values.toml").write_bytes(format_reference_values(values, "test"))
    path = tmp_path / "policy.toml"

    def measurements(include: str, table: str = "[snp]") -> set[bytes]:
        path.write_text(f"{table}\n{include}\n")
        policy = read_policy(path)
        found = policy.snp or policy.simulated
        assert found is not None
        return set(found.measurement)

    assert measurements('include = "image/reference-values.toml"') == {one.measurement for one in values}
    one = 'include = { file = "image/reference-values.toml", vcpus = 2, model = "EPYC-Milan-v2" }'
    assert measurements(one) == {values[1].measurement}
    assert measurements(f'measurement = "{"aa" * 48}"\n{one}') == {b"\xaa" * 48, values[1].measurement}
    certificates = f'certificates = """{simulator().pem}"""'
    assert measurements(one, f"[simulated]\n{certificates}") == {values[1].measurement}
    for wrong, code in (
        ('include = "none.toml"', "file-unreadable"),
        ('include = "policy.toml"', "reference-value"),
        (one.replace("= 2", "= 3"), "policy-include"),
        (f'measurement = "any"\n{one}', "policy-contradiction"),
        (f'measurement_deny = "{values[1].measurement.hex()}"\n{one}', "policy-contradiction"),
    ):
        with pytest.raises(ConfigError) as caught:
            measurements(wrong)
        assert caught.value.code == code, wrong
