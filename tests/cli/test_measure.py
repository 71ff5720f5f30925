"""``enarx measure``: what it prints, what it writes, and what it says of bad input."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sevsnpmeasure import guest
from sevsnpmeasure.sev_mode import SevMode

from enarx.cli.main import main
from enarx.evidence.vcpu import cpu_signature, vcpu_signature
from tests.cli.command import error_code
from tests.evidence.ovmf_images import ovmf_image

Run = Callable[..., str]

MILAN = ("--vcpus", "2", "--vcpu-type", "EPYC-Milan-v2")


@pytest.fixture
def launch(tmp_path: Path) -> dict[str, str]:
    """Paths of the files of a launch."""
    files = {"ovmf": ovmf_image(pages=3), "kernel": b"kernel", "initrd": b"initrd"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return {name: str(tmp_path / name) for name in files}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> str:
        assert main(["measure", *arguments]) == 0
        return capsys.readouterr().out

    return call


def test_snp_digest_equals_the_published_calculator(launch: dict[str, str], run: Run) -> None:
    expected = guest.calc_launch_digest(
        SevMode.SEV_SNP,
        2,
        vcpu_signature("EPYC-Milan"),
        launch["ovmf"],
        launch["kernel"],
        launch["initrd"],
        "a=b",
        0x21,
    )
    files = ("--ovmf", launch["ovmf"], "--kernel", launch["kernel"], "--initrd", launch["initrd"], "--append", "a=b")
    arguments = ("snp", *files, *MILAN, "--guest-features", "0x21")
    assert run(*arguments) == expected.hex() + "\n"
    assert run(*arguments, "--output-format", "base64") == base64.b64encode(expected).decode() + "\n"


def test_sev_and_sev_es_digests_equal_the_published_calculator(launch: dict[str, str], run: Run) -> None:
    files = (launch["ovmf"], launch["kernel"], launch["initrd"])
    arguments = ("--ovmf", files[0], "--kernel", files[1], "--initrd", files[2], "--append", "a=b")
    expected = guest.calc_launch_digest(SevMode.SEV, 0, 0, *files, "a=b", 0)
    assert run("sev", *arguments) == expected.hex() + "\n"
    expected = guest.calc_launch_digest(SevMode.SEV_ES, 2, vcpu_signature("EPYC-Milan"), *files, "a=b", 0)
    assert run("seves", *arguments, *MILAN) == run("sev-es", *arguments, *MILAN) == expected.hex() + "\n"


def test_svsm_digest(tmp_path: Path, launch: dict[str, str], run: Run) -> None:
    svsm, variables = tmp_path / "svsm", tmp_path / "vars"
    svsm.write_bytes(ovmf_image(sections=((0, 0x1000, 2), (0x1000, 0x1000, 3)), svsm_entry=16))
    variables.write_bytes(bytes(8192))
    expected = guest.calc_launch_digest(
        SevMode.SEV_SNP_SVSM,
        2,
        vcpu_signature("EPYC-Milan"),
        launch["ovmf"],
        None,
        None,
        None,
        1,
        svsm_file=str(svsm),
        ovmf_vars_size=8192,
    )
    arguments = ("--ovmf", launch["ovmf"], "--svsm", str(svsm), *MILAN)
    assert run("snp:svsm", *arguments, "--vars-size", "8192") == expected.hex() + "\n"
    assert run("svsm", *arguments, "--vars-file", str(variables)) == expected.hex() + "\n"
    assert error_code("measure", "svsm", *arguments, "--vars-file", str(tmp_path / "missing")) == "launch-file"


def test_digests_instead_of_files_give_the_same(launch: dict[str, str], run: Run) -> None:
    files = ("--ovmf", launch["ovmf"], "--kernel", launch["kernel"], "--initrd", launch["initrd"], "--append", "a")
    facts = json.loads(run("snp", *files, *MILAN, "--json"))
    assert facts["mode"] == "snp"
    assert facts["vcpus"] == 2
    assert facts["vcpu_signature"] == "0xa00f11"
    assert facts["kernel_sha256"] == hashlib.sha256(b"kernel").hexdigest()
    firmware_digest = run("snp:ovmf-hash", "--ovmf", launch["ovmf"]).strip()
    assert facts["snp_ovmf_hash"] == firmware_digest
    end = Path(launch["ovmf"]).with_name("end")
    end.write_bytes(Path(launch["ovmf"]).read_bytes()[-4096:])
    kernel, initrd = ("--kernel-sha256", facts["kernel_sha256"]), ("--initrd-sha256", facts["initrd_sha256"])
    ovmf = ("--ovmf", str(end), "--snp-ovmf-hash", firmware_digest)
    digest = facts["launch_digest"] + "\n"
    assert run("snp", *ovmf, *kernel, *initrd, "--append", "a", *MILAN) == digest
    assert run("snp", *ovmf, "--kernel", launch["kernel"], *initrd, "--append", "a", *MILAN) == digest
    assert run("snp", *ovmf, *kernel, "--initrd", launch["initrd"], "--append", "a", *MILAN) == digest
    assert run("snp", *ovmf, *kernel, "--append", "a", *MILAN) != digest


def test_three_ways_to_name_the_vcpu_model(launch: dict[str, str], run: Run) -> None:
    arguments = ("snp", "--ovmf", launch["ovmf"], "--vcpus", "1")
    by_type = run(*arguments, "--vcpu-type", "EPYC-Genoa-v2")
    assert by_type == run(*arguments, "--vcpu-sig", hex(cpu_signature(25, 17, 0)))
    assert by_type == run(*arguments, "--vcpu-family", "25", "--vcpu-model", "17", "--vcpu-stepping", "0")


def test_clouds_need_no_vcpu_model(launch: dict[str, str], run: Run) -> None:
    arguments = ("snp", "--ovmf", launch["ovmf"], "--vcpus", "1", "--vmm-type")
    assert len({run(*arguments, vmm) for vmm in ("ec2", "ec2-2023", "gce")}) == 3
    assert run(*arguments, "EC2") == run(*arguments, "ec2")


def test_firmware_from_standard_input(launch: dict[str, str], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run("sev", "--ovmf", launch["ovmf"])
    stream = io.TextIOWrapper(io.BytesIO(Path(launch["ovmf"]).read_bytes()))
    monkeypatch.setattr("sys.stdin", stream)
    assert run("sev", "--ovmf", "-") == expected
    assert error_code("measure", "sev", "--ovmf", "-", "--kernel", "-") == "stdin"


def test_vmsa_pages_are_written_and_never_overwrite(tmp_path: Path, launch: dict[str, str], run: Run) -> None:
    arguments = ("snp", "--ovmf", launch["ovmf"], *MILAN, "--dump-vmsa", str(tmp_path))
    run(*arguments)
    assert {path.name for path in tmp_path.glob("vmsa*")} == {"vmsa0.bin", "vmsa1.bin"}
    assert (tmp_path / "vmsa1.bin").stat().st_size == 4096
    assert error_code("measure", *arguments) == "file-exists"
    assert error_code("measure", *arguments[:-1], str(tmp_path / "missing")) == "file-unwritable"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--vcpus", "0", "--vcpu-type", "EPYC"), "vcpu-count"),
        (("--vcpus", "-1", "--vcpu-type", "EPYC"), "vcpu-count"),
        (("--vcpus", "4097", "--vcpu-type", "EPYC"), "vcpu-count"),
        (("--vcpus", "1"), "vcpu-signature"),
        (("--vcpus", "1", "--vcpu-type", "EPYC-Venice"), "vcpu-type"),
        (("--vcpus", "1", "--vcpu-type", "EPYC", "--vcpu-sig", "1"), "vcpu-type"),
        (("--vcpus", "1", "--vcpu-family", "25"), "vcpu-type"),
        (("--vcpus", "1", "--vcpu-sig", "0x100000000"), "vcpu-signature"),
        (("--vcpus", "1", "--vcpu-type", "EPYC", "--guest-features", "-1"), "guest-features"),
        (("--vcpus", "1", "--vmm-type", "krun"), "vmm-type"),
        (("--vcpus", "1", "--vcpu-type", "EPYC", "--initrd", "f"), "kernel-missing"),
        (("--vcpus", "1", "--vcpu-type", "EPYC", "--append", ""), "kernel-missing"),
        (("--vcpus", "1", "--vcpu-type", "EPYC", "--kernel", "/nonexistent/kernel"), "launch-file"),
    ],
)
def test_mistakes_are_named(launch: dict[str, str], arguments: tuple[str, ...], code: str) -> None:
    assert error_code("measure", "snp", "--ovmf", launch["ovmf"], *arguments) == code


def test_bad_firmware_is_named(tmp_path: Path, launch: dict[str, str]) -> None:
    bad = tmp_path / "bad"
    arguments = ("snp", "--ovmf", str(bad), *MILAN)
    assert error_code("measure", *arguments) == "launch-file"
    bad.write_bytes(b"")
    assert error_code("measure", *arguments) == "firmware-size"
    bad.write_bytes(Path(launch["ovmf"]).read_bytes()[:-1])
    assert error_code("measure", *arguments) == "firmware-size"
    bad.write_bytes(Path(launch["ovmf"]).read_bytes()[:4096])
    assert error_code("measure", *arguments) == "firmware-no-metadata"
    bad.write_bytes(Path(launch["ovmf"]).read_bytes()[-4096:])
    assert error_code("measure", *arguments[:2], str(tmp_path), *MILAN) == "launch-file"
    with bad.open("wb") as file:
        file.truncate((64 << 20) + 1)
    assert error_code("measure", *arguments) == "launch-file-size"


@pytest.mark.parametrize(
    "arguments",
    [
        ("snp", "--vcpus", "1"),
        ("snp", "--ovmf", "f"),
        ("snp", "--ovmf", "f", "--vcpus", "many"),
        ("snp", "--ovmf", "f", "--vcpus", "1", "--snp-ovmf-hash", "00"),
        ("snp", "--ovmf", "f", "--vcpus", "1", "--kernel-sha256", "xy"),
        ("snp", "--ovmf", "f", "--vcpus", "1", "--kernel", "f", "--kernel-sha256", "00" * 32),
        ("snp:svsm", "--ovmf", "f", "--vcpus", "1", "--svsm", "f"),
        ("tdx",),
        (),
    ],
)
def test_wrong_usage_ends_with_status_2(arguments: tuple[str, ...]) -> None:
    assert error_code("measure", *arguments) == "usage"
    assert main(["measure", *arguments]) == 2
