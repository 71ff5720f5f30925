"""Launches of virtual machines on the simulated processor have the digests of SEV-SNP, and each byte of them counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest
from sevsnpmeasure import guest as published
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType

from enarx.errors import UsageError
from enarx.evidence.launchfile import kernel_hashes
from enarx.evidence.snp import Collateral, Policy, Trust, appraise, authenticate, certtable, parse
from enarx.evidence.snp.measure import launch_digest
from enarx.evidence.vcpu import vcpu_signature
from enarx.evidence.vmsa import Vcpus
from enarx.simulator.installation import Installation
from enarx.simulator.processor import SecureProcessor
from enarx.simulator.vm_keep import measure_vm_keep
from tests.evidence.ovmf_images import ovmf_image

HOST_DATA = bytes(range(32))
SIGNATURE = vcpu_signature("EPYC-v4")


@dataclass(frozen=True)
class Files:
    """What a machine is launched from."""

    firmware: bytes = ovmf_image(head=bytes(range(256)) * 16)
    kernel: bytes = bytes(range(256)) * 64
    initrd: bytes = b"initrd" * 999
    cmdline: str = "console=ttyS0 quiet"
    cpus: int = 1

    def changed(self, name: str) -> Files:
        if name == "cpus":
            return replace(self, cpus=2)
        if name == "cmdline":
            return replace(self, cmdline="console=ttyS0 quieu")
        data = bytearray(getattr(self, name))
        data[len(data) // 4] ^= 1
        return replace(self, **{name: bytes(data)})  # type: ignore[arg-type]


def launched(processor: SecureProcessor, files: Files) -> bytes:
    launch = processor.launch_start()
    hashes = kernel_hashes(files.kernel, files.initrd, files.cmdline)
    measure_vm_keep(launch, files.firmware, Vcpus(files.cpus, SIGNATURE), hashes)
    return launch.finish(HOST_DATA).measurement


@pytest.fixture(scope="module")
def processor(installation: Installation, now: datetime) -> SecureProcessor:
    return SecureProcessor(installation, now)


@pytest.mark.parametrize("cpus", [1, 2, 5])
def test_digest_is_the_one_that_is_expected_and_that_the_published_tool_computes(
    cpus: int, processor: SecureProcessor, tmp_path: Path
) -> None:
    files = Files(cpus=cpus)
    found = launched(processor, files)
    hashes = kernel_hashes(files.kernel, files.initrd, files.cmdline)
    assert found == launch_digest(files.firmware, Vcpus(cpus, SIGNATURE), hashes)
    for name in ("firmware", "kernel", "initrd"):
        (tmp_path / name).write_bytes(getattr(files, name))
    paths = [str(tmp_path / name) for name in ("firmware", "kernel", "initrd")]
    assert found == published.calc_launch_digest(
        SevMode.SEV_SNP, cpus, SIGNATURE, paths[0], paths[1], paths[2], files.cmdline, 1, vmm_type=VMMType.QEMU
    )


@pytest.mark.parametrize("name", ["firmware", "kernel", "initrd", "cmdline", "cpus"])
def test_changed_byte_or_extra_vcpu_is_another_digest_which_the_policy_refuses(
    name: str, processor: SecureProcessor, trust: Trust, now: datetime
) -> None:
    expected = launched(processor, Files())
    launch = processor.launch_start()
    files = Files().changed(name)
    hashes = kernel_hashes(files.kernel, files.initrd, files.cmdline)
    measure_vm_keep(launch, files.firmware, Vcpus(files.cpus, SIGNATURE), hashes)
    guest = launch.finish(HOST_DATA)
    assert guest.measurement != expected
    table = certtable.parse(guest.certificates)
    assert table.endorsement
    collateral = Collateral(table.endorsement, table.chain, table.crls)
    authentic = authenticate(parse(guest.report(bytes(64))), collateral, now, trust=trust)
    policy = Policy(measurement=(expected,), host_data=(HOST_DATA,), report_data=bytes(64), simulated=True)
    appraisal = appraise(authentic, policy)
    assert not appraisal.accepted
    assert "measurement" in [rule.name for rule in appraisal.failures]


def test_firmware_that_would_not_check_the_kernel_is_not_launched(processor: SecureProcessor) -> None:
    with pytest.raises(UsageError) as caught:
        launched(processor, Files(firmware=ovmf_image(hash_table=None)))
    assert caught.value.code == "no-kernel-hashes"
