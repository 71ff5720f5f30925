"""SEV and SEV-ES launch digests: against the published calculator, and what is refused."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevsnpmeasure import guest
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType

from enarx.errors import EnarxError
from enarx.evidence.hashtable import KernelHashes
from enarx.evidence.launchfile import kernel_hashes
from enarx.evidence.sev import measure
from enarx.evidence.vcpu import VCPU_TYPES, vcpu_signature
from enarx.evidence.vmsa import Vcpus, Vmm
from tests.evidence.ovmf_images import ovmf_image

KERNEL = KernelHashes(hashlib.sha256(b"kernel").digest())
REFERENCE_VMM = {Vmm.QEMU: VMMType.QEMU, Vmm.EC2: VMMType.ec2, Vmm.GCE: VMMType.gce}


def reference(folder: Path, mode: SevMode, image: bytes, vcpus: Vcpus, cmdline: str | None) -> bytes:
    for name, data in (("ovmf", image), ("kernel", b"kernel"), ("initrd", b"initrd")):
        (folder / name).write_bytes(data)
    files = (str(folder / "kernel"), str(folder / "initrd")) if cmdline is not None else (None, None)
    digest: bytes = guest.calc_launch_digest(
        mode,
        vcpus.count,
        vcpus.signature,
        str(folder / "ovmf"),
        *files,
        cmdline,
        vcpus.features,
        vmm_type=REFERENCE_VMM[vcpus.vmm],
    )
    return digest


@given(
    head=st.binary(max_size=300),
    hash_table=st.sampled_from([None, (0x81_0C00, 0x400)]),
    count=st.integers(1, 4),
    cpu=st.sampled_from(sorted(VCPU_TYPES)),
    vmm=st.sampled_from(sorted(REFERENCE_VMM)),
    cmdline=st.none() | st.text("abc =", max_size=20),
)
def test_digests_equal_the_published_calculator(
    tmp_path_factory: pytest.TempPathFactory,
    head: bytes,
    hash_table: tuple[int, int] | None,
    count: int,
    cpu: str,
    vmm: Vmm,
    cmdline: str | None,
) -> None:
    folder = tmp_path_factory.mktemp("launch")
    image = ovmf_image(head=head, hash_table=hash_table)
    vcpus = Vcpus(count, vcpu_signature(cpu), vmm=vmm)
    kernel = None if cmdline is None else kernel_hashes(b"kernel", b"initrd", cmdline)
    if kernel is not None and hash_table is None:
        for measured in (
            partial(measure.launch_digest, image, kernel),
            partial(measure.es_launch_digest, image, vcpus, kernel),
        ):
            with pytest.raises(EnarxError) as caught:
                measured()
            assert caught.value.code == "no-kernel-hashes"
        return
    assert measure.launch_digest(image, kernel) == reference(folder, SevMode.SEV, image, vcpus, cmdline)
    assert measure.es_launch_digest(image, vcpus, kernel) == reference(folder, SevMode.SEV_ES, image, vcpus, cmdline)


def test_digest_that_a_third_implementation_asserts(vectors: Path) -> None:
    """From the tests of the Rust crate ``sev``: four vCPUs of EPYC-v4, empty launch files."""
    image = (vectors / "measure/ovmf_AmdSev_suffix.bin").read_bytes()
    digest = measure.es_launch_digest(image, Vcpus(4, vcpu_signature("EPYC-v4")), kernel_hashes(b"", b""))
    assert digest.hex() == "0dccbcaba8e90b261bd0d2e1863a2f9da714768b7b2a19363cd6ae35aa90de91"


def test_sev_guest_without_kernel_needs_no_table() -> None:
    image = bytes(4096)
    assert measure.launch_digest(image) == hashlib.sha256(image).digest()


def test_sev_guest_needs_no_snp_sections() -> None:
    image = ovmf_image(sections=((0, 4096, 99),))
    assert measure.launch_digest(image) == hashlib.sha256(image).digest()


def test_older_kvm_gives_another_es_digest() -> None:
    digests = {measure.es_launch_digest(ovmf_image(), Vcpus(2, 1, vmm=vmm)) for vmm in Vmm}
    assert len(digests) == len(Vmm)


def test_features_are_not_measured_for_sev_es() -> None:
    image = ovmf_image()
    assert measure.es_launch_digest(image, Vcpus(2, 1, 0)) == measure.es_launch_digest(image, Vcpus(2, 1, 0xFF))


@pytest.mark.parametrize(
    ("image", "code"),
    [
        pytest.param(b"", "firmware-size", id="empty"),
        pytest.param(bytes(4097), "firmware-size", id="not in blocks"),
        pytest.param(ovmf_image(reset_eip=None), "firmware-no-reset-block", id="no reset block"),
        pytest.param(ovmf_image(reset_eip=0), "firmware-no-reset-block", id="zero reset block"),
        pytest.param(ovmf_image(hash_table=(0x81_0C00, 175)), "firmware-bad-table", id="small hash table"),
        pytest.param(ovmf_image(hash_table=(0, 0x400)), "no-kernel-hashes", id="no hash table"),
    ],
)
def test_firmware_that_cannot_start_the_guest_is_refused(image: bytes, code: str) -> None:
    with pytest.raises(EnarxError) as caught:
        measure.es_launch_digest(image, Vcpus(2, 1), KERNEL)
    assert caught.value.code == code
    assert caught.value.hint


@given(st.binary(max_size=500))
def test_any_bytes_are_measured_or_refused(image: bytes) -> None:
    for kernel in (None, KERNEL):
        try:
            assert len(measure.launch_digest(image, kernel)) == 32
            assert len(measure.es_launch_digest(image, Vcpus(1, 1), kernel)) == 32
        except EnarxError as error:
            assert error.code.startswith(("firmware-", "no-kernel-hashes"))
