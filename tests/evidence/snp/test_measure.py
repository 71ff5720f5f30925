"""SNP launch digests: against the published calculator, against recorded launches, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevsnpmeasure import guest
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType

from enarx.errors import EnarxError, MalformedError, UsageError
from enarx.evidence.hashtable import KernelHashes, cmdline_digest
from enarx.evidence.launchfile import kernel_hashes
from enarx.evidence.ovmf import MAX_SECTION_BYTES, Layout, Section, SectionType
from enarx.evidence.snp import measure
from enarx.evidence.vcpu import VCPU_TYPES, vcpu_signature
from enarx.evidence.vmsa import Vcpus, Vmm
from tests.evidence.ovmf_images import AMD_SEV_SECTIONS, HASH_TABLE, PAGE, RESET_EIP, ovmf_image

MILAN = vcpu_signature("EPYC-Milan")
ONE = Vcpus(1, MILAN)
KERNEL = KernelHashes(hashlib.sha256(b"kernel").digest())
REFERENCE_VMM = {Vmm.QEMU: VMMType.QEMU, Vmm.EC2: VMMType.ec2, Vmm.GCE: VMMType.gce}


@st.composite
def images(draw: st.DrawFn) -> bytes:
    """OVMF images with sections in any order and number, with and without a place for kernel hashes."""
    kinds = draw(
        st.lists(st.sampled_from([SectionType.SNP_SEC_MEM, SectionType.SVSM_CAA]), max_size=5).map(
            lambda extra: [*extra, SectionType.SNP_SECRETS, SectionType.CPUID]
        )
    )
    hash_table = None
    if draw(st.booleans()):
        kinds.append(SectionType.KERNEL_HASHES)
    gpa, sections = draw(st.integers(0, 0x1000)) * PAGE, []
    for kind in draw(st.permutations(kinds)):
        pages = 1 if kind in (SectionType.SNP_SECRETS, SectionType.CPUID, SectionType.KERNEL_HASHES) else None
        size = PAGE * (pages or draw(st.integers(0, 20)))
        sections.append((gpa, size, int(kind)))
        if kind is SectionType.KERNEL_HASHES:
            hash_table = (gpa + draw(st.integers(1, PAGE - 176)), 176)
        gpa += size + PAGE * draw(st.integers(0, 3))
    return ovmf_image(
        sections=sections,
        hash_table=hash_table,
        reset_eip=draw(st.integers(1, 0xFFFF_FFFF)),
        head=draw(st.binary(max_size=2 * PAGE)),
        pages=draw(st.integers(2, 5)),
    )


class Launch:
    """A launch's files in a folder, measured by the published calculator."""

    def __init__(self, folder: Path, image: bytes, *, kernel: bytes = b"kernel", initrd: bytes = b"initrd") -> None:
        self.kernel, self.initrd = kernel, initrd
        self.paths = {name: folder / name for name in ("ovmf", "kernel", "initrd")}
        for name, data in (("ovmf", image), ("kernel", kernel), ("initrd", initrd)):
            self.paths[name].write_bytes(data)

    def reference(self, vcpus: Vcpus, cmdline: str | None, ovmf_hash: str = "") -> bytes:
        boots = cmdline is not None
        digest: bytes = guest.calc_launch_digest(
            SevMode.SEV_SNP,
            vcpus.count,
            vcpus.signature,
            str(self.paths["ovmf"]),
            str(self.paths["kernel"]) if boots else None,
            str(self.paths["initrd"]) if boots else None,
            cmdline,
            vcpus.features,
            ovmf_hash,
            REFERENCE_VMM[vcpus.vmm],
        )
        return digest


@given(
    image=images(),
    count=st.integers(1, 5),
    cpu=st.sampled_from(sorted(VCPU_TYPES)),
    features=st.sampled_from([0, 1, 0x21, 0x29, (1 << 64) - 1]),
    vmm=st.sampled_from(sorted(REFERENCE_VMM)),
    cmdline=st.none() | st.text("abc =ä", max_size=20),
)
def test_digest_equals_the_published_calculator(
    tmp_path_factory: pytest.TempPathFactory,
    image: bytes,
    count: int,
    cpu: str,
    features: int,
    vmm: Vmm,
    cmdline: str | None,
) -> None:
    launch = Launch(tmp_path_factory.mktemp("launch"), image)
    vcpus = Vcpus(count, vcpu_signature(cpu), features, vmm)
    kernel = None if cmdline is None else kernel_hashes(launch.kernel, launch.initrd, cmdline)
    try:
        expected = launch.reference(vcpus, cmdline)
    except RuntimeError:
        with pytest.raises(UsageError) as caught:
            measure.launch_digest(image, vcpus, kernel)
        assert caught.value.code == "no-kernel-hashes"
        return
    assert measure.launch_digest(image, vcpus, kernel) == expected
    assert measure.launch_digest(measure.measure_firmware(image), vcpus, kernel) == expected


def test_firmware_hash_equals_the_published_calculator(tmp_path: Path) -> None:
    image = ovmf_image(pages=9, head=bytes(range(256)) * 40)
    launch = Launch(tmp_path, image)
    firmware = measure.measure_firmware(image)
    assert firmware.digest == guest.calc_snp_ovmf_hash(str(launch.paths["ovmf"]))
    known = measure.known_firmware(firmware.digest, image[-PAGE:])
    expected = launch.reference(ONE, "quiet", firmware.digest.hex())
    assert measure.launch_digest(known, ONE, kernel_hashes(b"kernel", b"initrd", "quiet")) == expected


@pytest.mark.parametrize("suffix", ["ovmf_AmdSev_suffix.bin", "ovmf_OvmfX64_suffix.bin"])
@pytest.mark.parametrize("vmm", sorted(REFERENCE_VMM))
def test_real_firmware_of_every_model_and_vmm(tmp_path: Path, vectors: Path, suffix: str, vmm: Vmm) -> None:
    image = (vectors / "measure" / suffix).read_bytes()
    launch = Launch(tmp_path, image)
    for cpu in sorted(VCPU_TYPES):
        vcpus = Vcpus(3, vcpu_signature(cpu), 0x21, vmm)
        assert measure.launch_digest(image, vcpus) == launch.reference(vcpus, None)


AMD_SEV = "ovmf_AmdSev_suffix.bin"
OVMF_X64 = "ovmf_OvmfX64_suffix.bin"


@pytest.mark.parametrize(
    ("suffix", "vcpus", "boots", "digest"),
    [
        (AMD_SEV, (1, 0x01, Vmm.QEMU), True, "ddc5224521617a536ee7ce9dd6224d1b58a8d4fda1c741f3"),
        (AMD_SEV, (1, 0x21, Vmm.QEMU), True, "329c8ce0972ae52343b64d34a434a86f245dfd74f5ed7aae"),
        (AMD_SEV, (4, 0x01, Vmm.QEMU), True, "5061fffb019493a903613d56d54b94912a1a2f9e4502385f"),
        (AMD_SEV, (4, 0x21, Vmm.QEMU), True, "4953b1fb416fa874980e8442b3706d345926d5f38879134e"),
        (AMD_SEV, (1, 0x01, Vmm.QEMU), False, "19358ba9a7615534a9a1e2f0dfc29384dcd4dcb7062ff9c6"),
        (AMD_SEV, (1, 0x21, Vmm.QEMU), False, "e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af"),
        (OVMF_X64, (1, 0x01, Vmm.QEMU), False, "da0296de8193586a5512078dcd719eccecbd87e2b825ad41"),
        (OVMF_X64, (1, 0x21, Vmm.QEMU), False, "28797ae0afaba4005a81e629acebfb59e6687949d6be4400"),
        (AMD_SEV, (1, 0x01, Vmm.EC2_2023), True, "7d3756157c805bf6adf617064c8552e8c1688fa1c8756f11"),
        (AMD_SEV, (1, 0x21, Vmm.EC2_2023), True, "6ae80856486b1396af8c82a40351d6ed76a20c785e9c7fa4"),
    ],
)
def test_digests_that_a_third_implementation_asserts(
    vectors: Path, suffix: str, vcpus: tuple[int, int, Vmm], boots: bool, digest: str
) -> None:
    """The first half of the digests in the tests of the Rust crate ``sev``, for EPYC-v4 and empty launch files."""
    count, features, vmm = vcpus
    image = (vectors / "measure" / suffix).read_bytes()
    kernel = kernel_hashes(b"", b"") if boots else None
    measured = measure.launch_digest(image, Vcpus(count, vcpu_signature("EPYC-v4"), features, vmm), kernel)
    assert measured.hex().startswith(digest)


def test_svsm_digest_equals_the_published_calculator(tmp_path: Path) -> None:
    image = ovmf_image(pages=4)
    sections = ((0, 0x5000, 1), (0x5000, 0x1000, 2), (0x6000, 0x1000, 3))
    svsm = ovmf_image(sections=sections, svsm_entry=0x123, pages=3)
    launch = Launch(tmp_path, image)
    (tmp_path / "svsm").write_bytes(svsm)
    for count in (1, 3):
        expected = guest.calc_launch_digest(
            SevMode.SEV_SNP_SVSM,
            count,
            MILAN,
            str(launch.paths["ovmf"]),
            None,
            None,
            None,
            1,
            svsm_file=str(tmp_path / "svsm"),
            ovmf_vars_size=0x84000,
        )
        assert measure.svsm_launch_digest(image, svsm, 0x84000, Vcpus(count, MILAN)) == expected


def dstack_document(vectors: Path) -> dict[str, Any]:
    attestation = bytes.fromhex(
        json.loads((vectors / "measure/dstack-snp-attestation.json").read_text())["attestation"]
    )
    config = json.loads(attestation[attestation.rindex(b'{"os_image_hash"') :])
    return dict(json.loads(config["sev_snp_measurement"]))


def cbor(data: bytes) -> Any:
    """Decode the little CBOR that the document uses: maps, arrays, texts, byte strings and unsigned numbers."""

    def item(at: int) -> tuple[Any, int]:
        major, info = data[at] >> 5, data[at] & 31
        size = {24: 1, 25: 2, 26: 4, 27: 8}.get(info, 0)
        value = int.from_bytes(data[at + 1 : at + 1 + size]) if size else info
        at += 1 + size
        if major == 0:
            return value, at
        if major in (2, 3):
            chunk = data[at : at + value]
            return (chunk if major == 2 else chunk.decode()), at + value
        members = []
        for _ in range(value * (2 if major == 5 else 1)):
            member, at = item(at)
            members.append(member)
        return (dict(zip(members[::2], members[1::2], strict=True)) if major == 5 else members), at

    return item(0)[0]


def test_recorded_guest_is_recomputed_from_digests_alone(vectors: Path) -> None:
    """A real Milan guest whose measurement document has the digests of its files, and whose report has the result."""
    document = dstack_document(vectors)
    facts = cbor(base64.b64decode(document["measurement"]))
    layout = Layout(
        reset_eip=facts["reset_eip"],
        hash_table=(facts["hashes_table_gpa"], 0x400),
        sections=tuple(Section(part["gpa"], part["size"], part["type"]) for part in facts["ovmf_sections"]),
    )
    firmware = measure.MeasuredFirmware(facts["ovmf_hash"], layout)
    kernel = KernelHashes(facts["kernel_hash"], facts["initrd_hash"], cmdline_digest(facts["cmdline"]))
    vcpus = Vcpus(document["vcpus"], vcpu_signature(document["vcpu_type"]), document["guest_features"])
    report = (vectors / "snp/milan-v3-dstack.report.bin").read_bytes()
    assert measure.launch_digest(firmware, vcpus, kernel) == report[0x90:0xC0]


def test_pages_of_the_vcpus_are_those_measured() -> None:
    firmware = measure.measure_firmware(ovmf_image())
    pages = list(measure.vmsa_pages(firmware.layout, Vcpus(3, MILAN)))
    assert len(pages) == 3
    assert pages[0] != pages[1] == pages[2]


def refusal(call: object, *args: object) -> EnarxError:
    assert callable(call)
    with pytest.raises(EnarxError) as caught:
        call(*args)
    assert caught.value.hint
    return caught.value


def test_firmware_that_cannot_start_an_snp_guest_is_refused() -> None:
    for image, code in (
        (ovmf_image(sections=None), "firmware-no-metadata"),
        (ovmf_image(reset_eip=None), "firmware-no-reset-block"),
        (ovmf_image(reset_eip=0), "firmware-no-reset-block"),
        (ovmf_image()[1:], "firmware-size"),
        (bytes(PAGE), "firmware-no-metadata"),
        (ovmf_image(sections=((0, PAGE, 99),)), "firmware-bad-metadata"),
        (ovmf_image(sections=((0xFFFF_F000, PAGE, 1),)), "firmware-bad-metadata"),
        (ovmf_image(sections=((0, MAX_SECTION_BYTES + PAGE, 1),)), "firmware-bad-metadata"),
    ):
        error = refusal(measure.launch_digest, image, ONE)
        assert isinstance(error, MalformedError)
        assert error.code == code


def test_kernel_that_the_firmware_would_not_check_is_refused() -> None:
    without = tuple(section for section in AMD_SEV_SECTIONS if section[2] != SectionType.KERNEL_HASHES)
    for image in (ovmf_image(sections=without), ovmf_image(hash_table=None), ovmf_image(hash_table=(0, 0x400))):
        measure.launch_digest(image, ONE)
        assert refusal(measure.launch_digest, image, ONE, KERNEL).code == "no-kernel-hashes"


@pytest.mark.parametrize("area", [(0x81_0C00, 175), (0x81_0F51, 0x400), (0x80_FFFF, 0x400), (0x81_1000, 0x400)])
def test_hash_table_outside_its_section_is_refused(area: tuple[int, int]) -> None:
    assert refusal(measure.launch_digest, ovmf_image(hash_table=area), ONE, KERNEL).code == "firmware-bad-metadata"


def test_hash_table_at_the_ends_of_its_section_is_measured() -> None:
    digests = {
        measure.launch_digest(ovmf_image(hash_table=(base, 176)), ONE, KERNEL)
        for base in (0x81_0000, HASH_TABLE[0], 0x81_0F50)
    }
    assert len(digests) == 3


def test_svsm_refusals() -> None:
    image, svsm = ovmf_image(), ovmf_image(sections=((0, 0x1000, 1),), svsm_entry=0)
    assert refusal(measure.svsm_launch_digest, image, svsm, 0, Vcpus(1, vmm=Vmm.EC2)).code == "svsm-vmm"
    for size in (-PAGE, 1, 1 << 32):
        assert refusal(measure.svsm_launch_digest, image, svsm, size, ONE).code == "svsm-vars-size"
    no_entry = ovmf_image(sections=((0, 0x1000, 1),))
    assert refusal(measure.svsm_launch_digest, image, no_entry, 0, ONE).code == "firmware-no-svsm-info"
    assert refusal(measure.svsm_launch_digest, image, ovmf_image(sections=None), 0, ONE).code == "firmware-no-metadata"
    assert refusal(measure.svsm_launch_digest, image[1:], svsm, 0, ONE).code == "firmware-size"
    assert refusal(measure.svsm_launch_digest, b"", svsm, 0, ONE).code == "firmware-size"


def test_firmware_digest_of_another_size_is_refused() -> None:
    assert refusal(measure.known_firmware, bytes(32), ovmf_image()).code == "launch-digest-size"


def test_everything_that_is_measured_changes_the_digest() -> None:
    image = ovmf_image()
    base = measure.launch_digest(image, ONE, KERNEL)
    flipped = bytearray(image)
    flipped[0] ^= 1
    others = [
        measure.launch_digest(bytes(flipped), ONE, KERNEL),
        measure.launch_digest(image, ONE),
        measure.launch_digest(image, ONE, replace(KERNEL, initrd=bytes(32))),
        measure.launch_digest(image, ONE, replace(KERNEL, cmdline=bytes(32))),
        measure.launch_digest(image, ONE, replace(KERNEL, kernel=bytes(32))),
        measure.launch_digest(image, replace(ONE, count=2), KERNEL),
        measure.launch_digest(image, replace(ONE, features=0x21), KERNEL),
        measure.launch_digest(image, replace(ONE, signature=1), KERNEL),
        *(measure.launch_digest(image, replace(ONE, vmm=vmm), KERNEL) for vmm in Vmm if vmm is not Vmm.QEMU),
        measure.launch_digest(ovmf_image(reset_eip=RESET_EIP + 1), ONE, KERNEL),
    ]
    assert len({base, *others}) == len(others) + 1


@given(st.data())
def test_any_image_is_measured_or_refused(data: st.DataObject) -> None:
    image = bytearray(ovmf_image(svsm_entry=0))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(len(image) - 320, len(image) - 1))
        image[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
    garbage = data.draw(st.binary(max_size=200))
    for firmware in (bytes(image), garbage, bytes(image) + garbage):
        for measured in (
            partial(measure.launch_digest, firmware, ONE, KERNEL),
            partial(measure.svsm_launch_digest, ovmf_image(), firmware, PAGE, ONE),
        ):
            try:
                assert len(measured()) == 48
            except EnarxError as error:
                assert error.code.startswith(("firmware-", "no-kernel-hashes", "svsm-vars-size"))
