"""Policies in TOML: nothing misspelt passes, nothing unstated is permitted."""

from __future__ import annotations

import contextlib
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import ConfigError
from enarx.evidence.snp.policy import GuestPolicyRules, Policy
from enarx.evidence.snp.policyfile import KEYS, LIST_MAX, POLICY_MAX_BYTES, STEWARD_KEYS, parse_policy
from enarx.evidence.snp.product import Product

A, B = "aa" * 48, "bb" * 48
MEASURED = f'measurement = "{A}"\n'


def policy(text: str) -> Policy:
    return parse_policy(f"[snp]\n{text}")


def code(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_policy(text)
    assert caught.value.hint
    return caught.value.code


FULL = f"""
[snp]
measurement = ["{A}", "0x{B}"]
measurement_deny = ["{"cc" * 48}"]
id_key_digest = "{A}"
id_key_digest_deny = ["{B}"]
author_key_digest = ["{A}"]
host_data = "{"00" * 32}"
report_data = "0102"
family_id = ["{"01" * 16}"]
image_id = ["{"00" * 16}"]
minimum_guest_svn = 3
minimum_report_version = 3
vmpl = [0, 1]
product = ["milan", "Genoa"]
chip_id = ["{"07" * 64}", "{"08" * 8}"]
signing_key = "VLEK"
abi = ">=1.51"
provisional_firmware = false
reserved = true
require_crl = true
simulated = true
[snp.guest_policy]
debug = true
smt = false
migration = true
cxl = true
single_socket = true
aes_256_xts = true
rapl_disabled = true
ciphertext_hiding = true
page_swap_disabled = true
[snp.platform]
ecc = true
tsme = false
[snp.minimum_tcb.reported]
snp = 24
microcode = 219
[snp.minimum_tcb.Turin.launch]
fmc = 1
[sgx]
hash = ["whatever"]
"""


def test_every_key_arrives_at_its_field() -> None:
    parsed = parse_policy(FULL)
    default = Policy()
    for one in fields(Policy):
        if one.name not in ("any_measurement", "platform_exact", "defaults", "_floors"):
            assert getattr(parsed, one.name) != getattr(default, one.name), one.name
    assert parsed.measurement == (bytes.fromhex(A), bytes.fromhex(B))
    assert parsed.report_data == b"\1\2" + bytes(62)
    assert parsed.vmpl == (0, 1)
    assert parsed.product == (Product.MILAN, Product.GENOA)
    assert parsed.minimum_tcb == {
        (None, "reported"): {"snp": 24, "microcode": 219},
        (Product.TURIN, "launch"): {"fmc": 1},
    }
    rules = parsed.guest_policy
    assert rules == replace(GuestPolicyRules(True, True, False, True, True, True, True, True, True), abi=rules.abi)
    assert str(rules.abi) == ">=1.51"


def test_policy_without_a_measurement_says_so_when_it_is_read() -> None:
    assert code("[snp]") == "policy-no-measurement"
    assert code("[snp]\nvmpl = 0") == "policy-no-measurement"
    assert policy('measurement = "any"').any_measurement
    for key in ("author_key_digest", "id_key_digest", "signer"):
        assert not policy(f'{key} = "{A}"').any_measurement


def test_absent_table_is_not_an_empty_policy() -> None:
    assert code("") == "policy-no-table"
    assert code("[sgx]\nhash = []") == "policy-no-table"
    assert code("snp = 3") == "policy-no-table"


def test_steward_keys_keep_their_meaning() -> None:
    parsed = policy(
        f'''
signer = ["{A}"]
hash = ["{A}"]
hash_blacklist = ["{B}"]
id_key_digest = ["{A}"]
id_key_digest_blacklist = ["{B}"]
abi = ">=1.51"
policy_flags = ["SMT"]
platform_info_flags = "SME"
'''
    )
    a, b = bytes.fromhex(A), bytes.fromhex(B)
    assert (parsed.measurement, parsed.measurement_deny) == ((a,), (b,))
    assert (parsed.id_key_digest, parsed.id_key_digest_deny) == ((a,), (b,))
    assert parsed.author_key_digest == (a,)
    assert parsed.guest_policy.exact_flags == frozenset({"SMT"})
    assert parsed.platform_exact == 1
    assert policy(MEASURED + 'platform_info_flags = "TSME"').platform_exact == 2
    assert policy(MEASURED + "policy_flags = []").guest_policy.exact_flags == frozenset()


def test_stewards_deny_list_alone_accepts_the_rest_as_it_did() -> None:
    parsed = policy(f'hash_blacklist = ["{B}"]')
    assert parsed.any_measurement
    assert parsed.measurement_deny == (bytes.fromhex(B),)


def test_measurement_that_is_accepted_and_denied_is_a_contradiction() -> None:
    assert code(f'[snp]\nhash = ["{A}"]\nhash_blacklist = ["{A}"]') == "policy-contradiction"
    assert code(f'[snp]\nid_key_digest = ["{A}"]\nid_key_digest_deny = ["{A}"]') == "policy-contradiction"


def test_key_and_its_other_name_cannot_both_stand() -> None:
    assert code(f'[snp]\nhash = "{A}"\nmeasurement = "{B}"') == "policy-value"


@pytest.mark.parametrize(
    "line",
    [
        "measurment = []",
        "debug = false",
        "policy = 3",
        "[snp.guest_policy]\ndebugging = false",
        "[snp.guest_policy]\nexact_flags = []",
        "[snp.platform]\nsme = true",
        "[snp.minimum_tcb.snp]\nreported = 3",
        "[snp.minimum_tcb.Milan.now]\nsnp = 3",
        "[snp.minimum_tcb.reported]\nfirmware = 3",
    ],
)
def test_misspelt_keys_are_errors(line: str) -> None:
    assert code(f"[snp]\n{MEASURED}{line}") in ("policy-unknown-key", "policy-value")


@pytest.mark.parametrize(
    "line",
    [
        f'host_data = "{"00" * 31}"',
        f'id_key_digest = "{"00" * 48}"',
        f'author_key_digest = ["{A}", "zz"]',
        "host_data = 3",
        "host_data = []",
        'report_data = ""',
        f'report_data = "{"00" * 65}"',
        "vmpl = 4",
        "vmpl = -1",
        "vmpl = true",
        "vmpl = []",
        'product = "Rome"',
        'signing_key = "PEK"',
        f'chip_id = "{"00" * 64}"',
        f'chip_id = "{"01" * 9}"',
        "minimum_guest_svn = 4294967296",
        'minimum_guest_svn = "3"',
        'require_crl = "yes"',
        "simulated = 1",
        'abi = "at least 1.51"',
        "abi = 1.51",
        'policy_flags = ["Migration"]',
        'policy_flags = "smt"',
        'platform_info_flags = "SMT"',
        "guest_policy = true",
        "platform = []",
        "[snp.minimum_tcb.reported]\nsnp = 256",
        "[snp.minimum_tcb]\nreported = 3",
        "[snp.guest_policy]\nsmt = 1",
    ],
)
def test_wrong_values_are_errors(line: str) -> None:
    assert code(f"[snp]\n{MEASURED}{line}") in ("policy-value", "policy-version")


@pytest.mark.parametrize("value", [f'"{"00" * 48}"', f'["{"aa" * 47}"]', '"ANY"', "[]", "3", "[3]"])
def test_measurement_must_be_one(value: str) -> None:
    assert code(f"[snp]\nmeasurement = {value}") == "policy-value"


def test_file_that_is_not_toml_is_an_error() -> None:
    for data in (b"[snp", b"\xff", b"a = " + b"[" * 20_000):
        with pytest.raises(ConfigError) as caught:
            parse_policy(data)
        assert caught.value.code == "policy-syntax"


def test_limits_are_kept() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_policy(bytes(POLICY_MAX_BYTES + 1))
    assert caught.value.code == "policy-too-long"
    assert code("[snp]\nvmpl = [" + "0," * (LIST_MAX + 1) + "]") == "policy-value"
    assert len(policy(MEASURED + "vmpl = [" + "0," * LIST_MAX + "]").vmpl) == LIST_MAX


def test_every_key_has_a_place_in_the_policy() -> None:
    names = {one.name for one in fields(Policy)}
    special = {"abi", "policy_flags", "platform_info_flags", "include"}
    assert KEYS - special - set(STEWARD_KEYS) <= names


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_an_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_policy("[snp]\n" + text)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(A),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(KEYS)), values, max_size=4))
def test_any_value_of_any_key_is_a_policy_or_an_error(table: dict[str, object]) -> None:
    from enarx.evidence.snp.policyfile import policy_from_table

    with contextlib.suppress(ConfigError):
        policy_from_table(table)
