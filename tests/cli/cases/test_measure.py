"""Cases of launch measurement, from the published vectors and made here."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from enarx.cli.cases import measure
from enarx.errors import EnarxError
from enarx.evidence.snp import measure as snp
from enarx.evidence.vcpu import vcpu_signature
from enarx.evidence.vmsa import Vcpus
from tests.evidence.ovmf_images import ovmf_image


def test_every_published_case(vectors: Path) -> None:
    judged = 0
    for case in tomllib.loads((vectors / "INDEX.toml").read_text())["case"]:
        if case["tee"] != "measure":
            continue
        question = {key: case[key] for key in ("name", "tee", "inputs")}
        expected = case["expect"]
        try:
            result = measure.run(question, lambda path: (vectors / path).read_bytes(), {})
        except EnarxError as error:
            assert expected == f"fail:{error.code}", case["name"]
        else:
            if expected == "info":
                assert result.verdict == "unsupported"
                assert result.fields["firmware_guids"]
            else:
                # The disputed case: what EC2 launches now, see docs/decisions/0030-ec2-launch-digest.md.
                assert expected in ("ok", "disputed")
                assert result.verdict == "ok"
                assert result.fields["launch_digest"] == case["fields"]["expected_launch_digest"], case["name"]
        judged += 1
    assert judged == 17


IMAGE = ovmf_image()
PARAMETERS: dict[str, Any] = {
    "name": "a_case",
    "mode": "SEV_SNP",
    "vcpus": 2,
    "vcpu_type": "EPYC-Genoa-v2",
    "ovmf": "image.fd",
    "guest_features": 1,
}


def run(parameters: object, name: str = "set-a_case") -> Any:
    files = {
        "folder/parameters.json": parameters if isinstance(parameters, bytes) else json.dumps(parameters).encode(),
        "folder/image.fd": IMAGE,
        "folder/vmlinuz": b"kernel",
    }
    return measure.run({"name": name, "inputs": list(files)}, files.__getitem__, {})


def test_parameters_are_read_and_answers_are_not() -> None:
    expected = snp.launch_digest(IMAGE, Vcpus(2, vcpu_signature("EPYC-Genoa"))).hex()
    for parameters in (
        [PARAMETERS],
        PARAMETERS,
        [{**PARAMETERS, "expected_launch_digest": "00", "expected_error": "no", "disputed": "yes"}],
        [{**PARAMETERS, "vcpu_type": None, "vcpu_sig": "0xa10f10"}],
        [{**PARAMETERS, "vcpu_type": None, "vcpu_family": 25, "vcpu_model": 17, "vcpu_stepping": 0}],
        [{**PARAMETERS, "mode": "sev-snp", "vmm_type": "qemu"}],
        [{**PARAMETERS, "mode": "SevMode.SEV_SNP", "vmm_type": "VMMType.QEMU", "vcpus": "2"}],
        [{**PARAMETERS, "snp_ovmf_hash": snp.measure_firmware(IMAGE).digest.hex()}],
        [{**PARAMETERS, "name": "case", "vcpus": 7}, PARAMETERS],
    ):
        assert run(parameters).fields == {"launch_digest": expected}


def test_kernel_may_be_a_file_or_empty_and_modes_go_by_any_spelling() -> None:
    digests = {
        run([{**PARAMETERS, "kernel": kernel, "append": "a"}]).fields["launch_digest"]
        for kernel in ("vmlinuz", "(empty file)", "/dev/null", None)
    }
    assert len(digests) == 3
    hashed = run([{**PARAMETERS, "mode": "snp:ovmf-hash"}]).fields["launch_digest"]
    assert hashed == snp.measure_firmware(IMAGE).digest.hex()
    sev = run([{**PARAMETERS, "mode": "SEV", "kernel": ""}]).fields["launch_digest"]
    assert sev == hashlib.sha256(IMAGE).hexdigest()


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        (b"not json", "case-parameters"),
        (b"[" * 100_000, "case-parameters"),
        (b"\xff", "case-parameters"),
        ([], "case-parameters"),
        (7, "case-parameters"),
        ([{**PARAMETERS, "name": "other"}], "case-parameters"),
        ([{**PARAMETERS, "mode": "TDX"}], "case-mode"),
        ([{**PARAMETERS, "ovmf": "missing.fd"}], "case-inputs"),
        ([{**PARAMETERS, "vcpus": "many"}], "case-parameters"),
        ([{**PARAMETERS, "vcpus": []}], "case-parameters"),
        ([{**PARAMETERS, "vcpus": 1e999}], "case-parameters"),
        ([{**PARAMETERS, "vcpus": 0}], "vcpu-count"),
        ([{**PARAMETERS, "vmm_type": "hyperv"}], "vmm-type"),
        ([{**PARAMETERS, "snp_ovmf_hash": "zz"}], "case-parameters"),
        (b" " * (measure.MAX_DOCUMENT_BYTES + 1), "case-parameters"),
    ],
)
def test_cases_that_cannot_be_judged_say_why(parameters: object, code: str) -> None:
    with pytest.raises(EnarxError) as caught:
        run(parameters)
    assert caught.value.code == code


@pytest.mark.parametrize("mode", ["SEV", "SEV_ES", "SEV_SNP"])
def test_kernel_that_the_firmware_would_not_check_is_refused_before_vcpus_are_asked_for(mode: str) -> None:
    """As the published calculators have it in their tests: no vCPU model is given where none is reached."""
    image = ovmf_image(hash_table=None, sections=((0x80_0000, 0x1000, 1), (0x80_2000, 0x1000, 3)))
    case = {"name": "c", "mode": mode, "vcpus": 1, "ovmf": "image.fd", "kernel": "(empty file)", "guest_features": 1}
    files = {"parameters.json": json.dumps([case]).encode(), "image.fd": image}
    with pytest.raises(EnarxError) as caught:
        measure.run({"name": "c", "inputs": list(files)}, files.__getitem__, {})
    assert caught.value.code == "no-kernel-hashes"


def test_case_without_inputs_is_refused() -> None:
    with pytest.raises(EnarxError) as caught:
        measure.run({"name": "a_case", "inputs": []}, dict[str, bytes]().__getitem__, {})
    assert caught.value.code == "case-inputs"
