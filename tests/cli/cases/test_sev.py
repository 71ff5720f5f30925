"""Every case of technology ``sev`` of the published index, and what the runner does with altered ones."""

from __future__ import annotations

import os
import tomllib
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enarx.cli.cases import CaseResult, sev
from enarx.errors import EnarxError, UsageError

ANSWERS = ("expect", "reason", "checked", "note", "expect_basis")
NAMES = (
    "sev-milan-ca",
    "sev-turin-ca",
    "sev-naples-chain",
    "sev-neg-naples-pdh",
    "sev-neg-cross-generation",
    "sev-measure-digest",
    "sev-measure-firmware-kernel",
    "seves-vmsa-build",
    "sev-secret-1",
)

Cases = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def folder() -> Path:
    root = Path(__file__).resolve().parents[3]
    path = Path(os.environ.get("ENARX_VECTORS") or root.parent / "shared" / "vectors")
    if not (path / "INDEX.toml").is_file():
        pytest.skip(f"no test vectors at {path} (set ENARX_VECTORS)")
    return path


@pytest.fixture(scope="module")
def cases(folder: Path) -> Cases:
    index = tomllib.loads((folder / "INDEX.toml").read_text())
    return {case["name"]: case for case in index["case"] if case["tee"] == "sev"}


@pytest.fixture(scope="module")
def run(folder: Path) -> Callable[..., CaseResult]:
    def run_case(case: dict[str, Any], **fields: object) -> CaseResult:
        question = {name: value for name, value in case.items() if name not in ANSWERS}
        if fields:
            question["fields"] = {**case["fields"], **fields}
        return sev.run(question, lambda path: (folder / path).read_bytes(), {})

    return run_case


def test_the_list_of_cases_is_complete(cases: Cases) -> None:
    assert set(cases) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_case_has_the_published_verdict_and_fields(name: str, cases: Cases, run: Callable[..., CaseResult]) -> None:
    case = cases[name]
    result = run(case)
    assert (f"fail:{result.reason}" if result.verdict == "fail" else result.verdict) == case["expect"]
    stated = case.get("fields", {})
    assert {key: value for key, value in result.fields.items() if key in stated} == {
        key: stated[key] for key in result.fields if key in stated
    }
    if "launch_measure_blob_b64" in stated and "header_b64" not in stated:
        assert result.fields["launch_measure_blob_b64"] == stated["launch_measure_blob_b64"]


def altered(text: str) -> str:
    data = bytearray(b64decode(text))
    data[-1] ^= 1
    return b64encode(bytes(data)).decode()


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("sev-measure-digest", "launch_measure_blob_b64"),
        ("sev-measure-digest", "launch_digest_b64"),
        ("sev-measure-digest", "nonce_b64"),
        ("sev-measure-firmware-kernel", "launch_measure_blob_b64"),
        ("sev-secret-1", "header_b64"),
        ("sev-secret-1", "payload_b64"),
        ("sev-secret-1", "iv_b64"),
    ],
)
def test_altered_values_are_refused(name: str, field: str, cases: Cases, run: Callable[..., CaseResult]) -> None:
    case = cases[name]
    with pytest.raises(EnarxError):
        run(case, **{field: altered(case["fields"][field])})


def test_altered_command_line_changes_the_measurement(cases: Cases, run: Callable[..., CaseResult]) -> None:
    with pytest.raises(EnarxError) as caught:
        run(cases["sev-measure-firmware-kernel"], cmdline="init=/bin/sh")
    assert caught.value.code == "bad-measurement"


def test_measurement_of_firmware_alone_and_of_an_es_guest_are_sevctls(
    cases: Cases, run: Callable[..., CaseResult]
) -> None:
    case = cases["sev-measure-firmware-kernel"]
    fields = {
        name: value for name, value in case["fields"].items() if name not in ("cmdline", "launch_measure_blob_b64")
    }
    firmware, _, _, tik = case["inputs"]
    alone = "oMDewIouJSpbpNRHj7Mk3p08H2dPZQdsZMU14qIymBk="
    nonce = b64decode(fields["nonce_b64"])
    blob = b64encode(b64decode(alone) + nonce).decode()
    assert (
        run({**case, "inputs": [firmware, tik], "fields": {**fields, "launch_measure_blob_b64": blob}}).verdict == "ok"
    )
    pages = ["measure/sev/vmsa0.bin", "measure/sev/vmsa1.bin"]
    blob = b64encode(b64decode("tsLCcIIPrm3TWcyaOFfvUVEjRLGQzEnGlznRioMOCU4=") + nonce).decode()
    es = {**fields, "policy": 5, "num_cpus": 4, "launch_measure_blob_b64": blob}
    assert run({**case, "inputs": [firmware, *pages, tik], "fields": es}).verdict == "ok"


FIRST, SECOND = "736869e5-84f0-4973-92ec-06879ce3da0b", "736869e5-aaaa-4973-92ec-06879ce3da0b"


@pytest.mark.parametrize(
    "guids",
    [
        {"secret_guids": [FIRST, SECOND]},
        {"secret_guid": FIRST, "secret_guid_2": SECOND.upper()},
        {"secrets": [f"{FIRST}:secret1.txt", f"{SECOND}:secret2.txt"]},
        {"secrets": [{"guid": FIRST, "file": "secret1.txt"}, {"guid": SECOND, "file": "secret2.txt"}]},
        {"secrets": {FIRST: "secret1.txt", SECOND: "secret2.txt"}},
    ],
)
def test_two_secrets_are_packed_in_their_order(
    guids: dict[str, object], cases: Cases, run: Callable[..., CaseResult]
) -> None:
    case = cases["sev-secret-1"]
    two = [case["inputs"][0], "measure/sev/secret/secret2.txt", *case["inputs"][1:]]
    fields = {name: case["fields"][name] for name in ("launch_measure_blob_b64", "iv_b64")}
    result = run({**case, "inputs": two, "fields": {**fields, **guids}})
    assert str(result.fields["header_b64"]).endswith("GET7Ng==")


def test_values_may_be_written_in_other_ways(cases: Cases, run: Callable[..., CaseResult]) -> None:
    case = cases["sev-measure-digest"]
    expected = run(case).fields
    fields = {**case["fields"], "policy": "0x03", "api_major": "0x01"}
    for name in ("nonce_b64", "launch_digest_b64"):
        fields[f"{name.removesuffix('_b64')}_hex"] = b64decode(fields.pop(name)).hex()
    assert run({**case, "fields": fields}).fields == expected


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("sev-measure-digest", "policy", "three"),
        ("sev-measure-digest", "policy", True),
        ("sev-measure-digest", "nonce_b64", "*"),
        ("sev-measure-digest", "nonce_b64", "é"),
        ("sev-secret-1", "secret_guid", "not a GUID"),
        ("sev-secret-1", "iv_b64", 7),
    ],
)
def test_unusable_fields_are_named(
    name: str, field: str, value: object, cases: Cases, run: Callable[..., CaseResult]
) -> None:
    with pytest.raises(UsageError) as caught:
        run(cases[name], **{field: value})
    assert caught.value.hint == "mend the index"


def test_other_userspace_is_said_to_be_unsupported(cases: Cases, run: Callable[..., CaseResult]) -> None:
    assert run(cases["seves-vmsa-build"], userspace="krun").verdict == "unsupported"


def test_one_vmsa_page_is_enough(cases: Cases, run: Callable[..., CaseResult]) -> None:
    case = cases["seves-vmsa-build"]
    firmware, *pages = case["inputs"]
    for page in pages:
        assert run({**case, "inputs": [firmware, page]}).verdict == "ok"


def test_vmsa_of_another_processor_is_refused(cases: Cases, run: Callable[..., CaseResult]) -> None:
    with pytest.raises(EnarxError) as caught:
        run(cases["seves-vmsa-build"], stepping=2)
    assert caught.value.code == "measurement-mismatch"


def test_debug_policy_case_forbids_debugging(cases: Cases, run: Callable[..., CaseResult]) -> None:
    case = {**cases["sev-measure-digest"], "name": "sev-measure-digest-debug-policy"}
    assert run(case).verdict == "ok"
    with pytest.raises(EnarxError) as caught:
        run(case, policy=2)
    assert caught.value.code == "debug-enabled"


@pytest.mark.parametrize("count", [0, -1, 10**12])
def test_number_of_vcpus_is_bounded(count: int, cases: Cases, run: Callable[..., CaseResult]) -> None:
    case = cases["sev-measure-firmware-kernel"]
    files = [*case["inputs"], "measure/sev/vmsa0.bin", "measure/sev/vmsa1.bin"]
    with pytest.raises(UsageError) as caught:
        run({**case, "inputs": files}, policy=5, num_cpus=count)
    assert caught.value.code == "vcpu-count"
