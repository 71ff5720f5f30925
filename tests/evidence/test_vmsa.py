"""VMSA pages against the published calculator, field by field where it matters, and against recorded pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevsnpmeasure import vmsa as reference
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType

from enarx.errors import UsageError
from enarx.evidence.ovmf import parse_firmware
from enarx.evidence.sev.measure import vmsa_pages
from enarx.evidence.vcpu import cpu_signature
from enarx.evidence.vmsa import MAX_VCPUS, RESET_VECTOR, Vcpus, Vmm, build_svsm_vmsa, build_vmsa, vmm_by_name

REFERENCE_VMM = {Vmm.QEMU: VMMType.QEMU, Vmm.EC2: VMMType.ec2, Vmm.GCE: VMMType.gce}

signatures = st.integers(0, 0xFFFF_FFFF)
features = st.integers(0, (1 << 64) - 1)
addresses = st.one_of(st.just(RESET_VECTOR), st.integers(1, 0xFFFF_FFFF))


@given(st.sampled_from(sorted(REFERENCE_VMM)), signatures, features, addresses)
def test_page_equals_the_published_calculator(vmm: Vmm, signature: int, feature_bits: int, eip: int) -> None:
    expected = reference.VMSA(SevMode.SEV_SNP, eip, signature, feature_bits, REFERENCE_VMM[vmm])
    vcpus = Vcpus(2, signature, vmm=vmm)
    assert [build_vmsa(RESET_VECTOR, vcpus, feature_bits), build_vmsa(eip, vcpus, feature_bits)] == list(
        expected.pages(2)
    )


@given(signatures, addresses)
def test_svsm_page_equals_the_published_calculator(signature: int, eip: int) -> None:
    expected = reference.VMSA_SVSM(eip, signature)
    assert [build_svsm_vmsa(eip, Vcpus(1, signature))] == list(expected.pages(1))


def test_registers_are_where_the_architecture_manual_puts_them() -> None:
    page = build_vmsa(0x0080_B004, Vcpus(1, 0x00A0_0F11), 0x21)
    assert len(page) == 4096
    assert page[0x10:0x20] == bytes.fromhex("00f0 9b00 ffff0000 0000800000000000")  # CS
    assert page[0x178:0x180] == (0xB004).to_bytes(8, "little")  # RIP
    assert page[0x310:0x318] == (0x00A0_0F11).to_bytes(8, "little")  # RDX
    assert page[0x3B0:0x3B8] == (0x21).to_bytes(8, "little")  # SEV_FEATURES
    assert not any(page[0x412:])


def test_older_kvm_differs_in_the_fpu_state_only() -> None:
    new = build_vmsa(RESET_VECTOR, Vcpus(1, 1), 1)
    old = build_vmsa(RESET_VECTOR, Vcpus(1, 1, vmm=Vmm.QEMU_NO_FPU), 1)
    assert [at for at in range(4096) if new[at] != old[at]] == [0x408, 0x409, 0x410, 0x411]


def test_ec2_changed_edx_only() -> None:
    new = build_vmsa(RESET_VECTOR, Vcpus(1, vmm=Vmm.EC2), 1)
    old = build_vmsa(RESET_VECTOR, Vcpus(1, vmm=Vmm.EC2_2023), 1)
    assert [at for at in range(4096) if new[at] != old[at]] == [0x311]


def test_recorded_pages_of_an_sev_es_guest_are_rebuilt(vectors: Path) -> None:
    firmware = parse_firmware((vectors / "measure/sev/ovmf-amdsev-trimmed.fd").read_bytes())
    vcpus = Vcpus(2, cpu_signature(25, 1, 1), vmm=Vmm.QEMU_NO_FPU)
    recorded = [(vectors / f"measure/sev/vmsa{number}.bin").read_bytes() for number in (0, 1)]
    assert list(vmsa_pages(firmware.layout, vcpus)) == recorded


@pytest.mark.parametrize("count", [0, -1, MAX_VCPUS + 1])
def test_vcpu_count_limits(count: int) -> None:
    Vcpus(MAX_VCPUS, 0)
    with pytest.raises(UsageError) as caught:
        Vcpus(count, 0)
    assert caught.value.code == "vcpu-count"


@pytest.mark.parametrize("vmm", [Vmm.QEMU, Vmm.QEMU_NO_FPU])
def test_qemu_needs_the_model(vmm: Vmm) -> None:
    with pytest.raises(UsageError) as caught:
        Vcpus(1, vmm=vmm)
    assert caught.value.code == "vcpu-signature"


def test_clouds_do_not_measure_the_model() -> None:
    for vmm in (Vmm.EC2, Vmm.EC2_2023, Vmm.GCE):
        assert build_vmsa(1, Vcpus(1, vmm=vmm), 1) == build_vmsa(1, Vcpus(1, 77, vmm=vmm), 1)


def test_numbers_that_do_not_fit_are_refused() -> None:
    for signature, feature_bits, code in ((1 << 32, 1, "vcpu-signature"), (-1, 1, "vcpu-signature")):
        with pytest.raises(UsageError) as caught:
            Vcpus(1, signature, feature_bits)
        assert caught.value.code == code
    for feature_bits in (-1, 1 << 64):
        with pytest.raises(UsageError) as caught:
            Vcpus(1, 1, feature_bits)
        assert caught.value.code == "guest-features"


def test_vmm_is_found_by_name_in_any_case() -> None:
    assert vmm_by_name("qemu") is Vmm.QEMU
    assert vmm_by_name("GCE") is Vmm.GCE
    with pytest.raises(UsageError) as caught:
        vmm_by_name("krun")
    assert "ec2" in caught.value.hint
