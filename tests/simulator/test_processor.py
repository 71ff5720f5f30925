"""Launch commands as the firmware's, and reports that the verifier takes for what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from enarx.errors import AuthenticityError, CollateralError, HostError
from enarx.evidence.authentic import Authentic
from enarx.evidence.gctx import PageType
from enarx.evidence.ovmf import FOUR_GIB, SectionType, parse_firmware
from enarx.evidence.snp import (
    Collateral,
    GuestPolicyRules,
    Policy,
    Report,
    Trust,
    appraise,
    authenticate,
    certtable,
    parse,
)
from enarx.evidence.snp.idblock import IdBlock, authorize, endorse, key_digest
from enarx.evidence.snp.measure import launch_digest, vmsa_pages
from enarx.evidence.snp.product import Product
from enarx.evidence.snp.simulated import simulated_roots
from enarx.evidence.vmsa import Vcpus
from enarx.simulator.installation import Installation, open_installation
from enarx.simulator.platform import PLATFORMS
from enarx.simulator.processor import LAUNCH_MAX_BYTES, Guest, Launch, SecureProcessor
from tests.evidence import ovmf_images

PAGE = bytes(range(256)) * 16
HOST_DATA = hashlib.sha256(b"a manifest").digest()
DATA = hashlib.sha384(b"a key").digest().ljust(64, b"\0")
DEBUG_POLICY = 0xB0000
BLANK_PAGES = {
    SectionType.SNP_SEC_MEM: PageType.ZERO,
    SectionType.SNP_SECRETS: PageType.SECRETS,
    SectionType.CPUID: PageType.CPUID,
    SectionType.SVSM_CAA: PageType.ZERO,
    SectionType.KERNEL_HASHES: PageType.ZERO,
}
"""How QEMU launches the sections of a firmware that has no kernel hashes to hold."""


@pytest.fixture(scope="module")
def processor(installation: Installation, now: datetime) -> SecureProcessor:
    return SecureProcessor(installation, now)


def launched(processor: SecureProcessor, policy: int = 0x30000) -> Launch:
    launch = processor.launch_start(policy)
    launch.update(PageType.NORMAL, 0, PAGE)
    return launch


def verified(guest: Guest, trust: Trust, now: datetime, data: bytes = DATA, vmpl: int = 0) -> Authentic[Report]:
    table = certtable.parse(guest.certificates)
    assert table.endorsement
    collateral = Collateral(table.endorsement, table.chain, table.crls)
    return authenticate(parse(guest.report(data, vmpl)), collateral, now, trust=trust, require_crl=True)


def refusal(act: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(HostError) as caught:
        act(*arguments)
    return caught.value.code


def test_report_of_a_launch_is_authentic_and_accepted_by_its_policy(
    processor: SecureProcessor, trust: Trust, now: datetime
) -> None:
    launch = launched(processor)
    guest = launch.finish(HOST_DATA)
    authentic = verified(guest, trust, now)
    policy = Policy(
        measurement=(launch.digest,),
        host_data=(HOST_DATA,),
        report_data=DATA,
        simulated=True,
        require_crl=True,
        provisional_firmware=False,
        minimum_tcb={(None, "reported"): {"snp": 24, "microcode": 219}},
        guest_policy=GuestPolicyRules(),
    )
    assert appraise(authentic, policy).accepted
    assert authentic.proof.simulated
    assert authentic.value.reserved() == ()
    assert guest.measurement == launch.digest != bytes(48)


def test_report_is_refused_by_the_default_roots(processor: SecureProcessor, now: datetime) -> None:
    with pytest.raises(AuthenticityError) as caught:
        verified(launched(processor).finish(HOST_DATA), Trust(), now)
    assert caught.value.code == "untrusted-chain"


def test_named_root_without_simulated_in_the_policy_is_refused(
    processor: SecureProcessor, trust: Trust, now: datetime
) -> None:
    authentic = verified(launched(processor).finish(HOST_DATA), trust, now)
    appraisal = appraise(authentic, Policy(any_measurement=True))
    assert [rule.reason for rule in appraisal.failures] == ["simulated-root"]


@pytest.mark.parametrize("version", [3, 5])
@pytest.mark.parametrize("product", list(Product), ids=lambda product: str(product.value))
def test_machines_of_every_product_and_report_version_are_authentic(
    product: Product, version: int, tmp_path_factory: pytest.TempPathFactory, now: datetime
) -> None:
    directory = tmp_path_factory.getbasetemp() / f"of {product.value}"
    chip = open_installation(directory, now, product=product)
    platform = replace(PLATFORMS[product], report_version=version)
    guest = launched(SecureProcessor(chip, now, platform=platform)).finish(HOST_DATA)
    authentic = verified(guest, Trust(simulated_roots(chip.ark + chip.ask)), now)
    report = authentic.value
    assert (report.version, report.product, authentic.proof.product) == (version, product, product.value)
    assert report.reserved() == ()
    assert bool(report.current_mit_vector) is (version == 5)


def test_fields_that_nobody_chose_are_those_of_a_real_report(
    processor: SecureProcessor, vectors: Path, trust: Trust, now: datetime
) -> None:
    real = parse((vectors / "snp/milan-v3-dstack.report.bin").read_bytes())
    ours = verified(launched(processor).finish(HOST_DATA), trust, now).value
    for name in (
        "version",
        "policy",
        "vmpl",
        "signature_algorithm",
        "platform_info",
        "flags",
        "report_id_ma",
        "current_version",
        "committed_version",
        "cpuid_family",
        "cpuid_model",
        "id_key_digest",
        "author_key_digest",
    ):
        assert getattr(ours, name) == getattr(real, name), name


def test_launch_of_an_ovmf_image_has_the_digest_that_is_expected_of_it(processor: SecureProcessor) -> None:
    """The real algorithm, page by page, against the measurement that a tenant computes from the files."""
    image = ovmf_images.ovmf_image()
    vcpus = Vcpus(3, 0x800F12)
    layout = parse_firmware(image).layout
    launch = processor.launch_start()
    launch.update(PageType.NORMAL, FOUR_GIB - len(image), image)
    for section in layout.sections or ():
        launch.update(BLANK_PAGES[SectionType(section.kind)], section.gpa, bytes(section.size))
    for page in vmsa_pages(layout, vcpus):
        launch.update(PageType.VMSA, 0, page)
    assert launch.finish(HOST_DATA).measurement == launch_digest(image, vcpus)


def test_every_part_of_a_launch_counts(processor: SecureProcessor) -> None:
    digests = set()
    for kind, gpa, data in (
        (PageType.NORMAL, 0, PAGE),
        (PageType.NORMAL, 4096, PAGE),
        (PageType.NORMAL, 0, PAGE + PAGE),
        (PageType.NORMAL, 0, bytes(4096)),
        (PageType.ZERO, 0, PAGE),
        (PageType.CPUID, 0, PAGE),
        (PageType.VMSA, 0, PAGE),
    ):
        launch = processor.launch_start()
        launch.update(kind, gpa, data)
        digests.add(launch.digest)
    assert len(digests) == 7


def test_commands_out_of_order_or_place_are_refused(processor: SecureProcessor) -> None:
    launch = launched(processor)
    for kind, gpa, data in (
        (PageType.NORMAL, 0, b""),
        (PageType.NORMAL, 0, PAGE[:-1]),
        (PageType.NORMAL, 1, PAGE),
        (PageType.NORMAL, -4096, PAGE),
        (PageType.NORMAL, 1 << 52, PAGE),
        (PageType.VMSA, 0, PAGE + PAGE),
    ):
        assert refusal(launch.update, kind, gpa, data) == "launch-address"
    assert refusal(launch.update, PageType.ZERO, 0, bytes(LAUNCH_MAX_BYTES)) == "launch-size"
    assert refusal(launch.finish, HOST_DATA[:-1]) == "launch-host-data"
    digest = launch.digest
    launch.finish(HOST_DATA)
    assert refusal(launch.update, PageType.NORMAL, 0, PAGE) == "launch-state"
    assert refusal(launch.finish, HOST_DATA) == "launch-state"
    assert launch.digest == digest


@pytest.mark.parametrize(
    "policy",
    [0x10000, 0x20000, 0x70000, 0x30000 | 1 << 26, 0x30000 | 1 << 63, 0x30000 | 2 << 8, 0x30000 | 1 << 8 | 56],
    ids=["reserved bit", "no SMT", "migration", "bit 26", "bit 63", "ABI 2.0", "ABI 1.56"],
)
def test_guest_policy_that_the_platform_cannot_honour_is_refused(processor: SecureProcessor, policy: int) -> None:
    assert refusal(processor.launch_start, policy) == "launch-policy"


def test_debug_is_launched_as_asked_and_shown(processor: SecureProcessor, trust: Trust, now: datetime) -> None:
    authentic = verified(launched(processor, DEBUG_POLICY).finish(HOST_DATA), trust, now)
    assert authentic.value.debug
    appraisal = appraise(authentic, Policy(any_measurement=True, simulated=True))
    assert [rule.reason for rule in appraisal.failures] == ["debug-enabled"]


def test_id_block_is_checked_and_stands_in_the_report(processor: SecureProcessor, trust: Trust, now: datetime) -> None:
    id_key, author = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    digest = launched(processor).digest
    block = IdBlock(digest, b"f" * 16, b"i" * 16, 7)
    auth = authorize(block, id_key, endorse(author, id_key.public_key()))
    report = verified(launched(processor).finish(HOST_DATA, block, auth), trust, now).value
    assert (report.family_id, report.image_id, report.guest_svn) == (b"f" * 16, b"i" * 16, 7)
    assert report.id_key_digest == key_digest(id_key.public_key())
    assert report.author_key_digest == key_digest(author.public_key())
    alone = verified(launched(processor).finish(HOST_DATA, block, authorize(block, id_key)), trust, now).value
    assert (alone.author_key_enabled, alone.author_key_digest) == (False, bytes(48))

    for wrong in (
        replace(block, launch_digest=bytes(48)),
        replace(block, policy=DEBUG_POLICY),
    ):
        signed = authorize(wrong, id_key)
        assert refusal(launched(processor).finish, HOST_DATA, wrong, signed) == "launch-id-block"
    other = replace(block, guest_svn=8)
    assert refusal(launched(processor).finish, HOST_DATA, other, auth) == "launch-id-block"
    assert refusal(launched(processor).finish, HOST_DATA, block) == "launch-id-block"
    assert refusal(launched(processor).finish, HOST_DATA, None, auth) == "launch-id-block"


def test_each_guest_has_its_own_report_id_and_keeps_it(processor: SecureProcessor) -> None:
    one, two = launched(processor).finish(HOST_DATA), launched(processor).finish(HOST_DATA)
    ids = [parse(guest.report(DATA)).report_id for guest in (one, one, two)]
    assert ids[0] == ids[1] != ids[2]


def test_vmpl_is_stated_as_asked(processor: SecureProcessor, trust: Trust, now: datetime) -> None:
    guest = launched(processor).finish(HOST_DATA)
    for vmpl in range(4):
        assert verified(guest, trust, now, vmpl=vmpl).value.vmpl == vmpl
    for data, vmpl in ((DATA, 4), (DATA, -1), (DATA[:-1], 0), (DATA + b"\0", 0)):
        with pytest.raises(ValueError):
            guest.report(data, vmpl)


def test_platform_of_another_product_or_with_a_short_tcb_is_refused(installation: Installation, now: datetime) -> None:
    with pytest.raises(ValueError):
        SecureProcessor(installation, now, platform=PLATFORMS[Product.TURIN])
    with pytest.raises(ValueError):
        replace(PLATFORMS[Product.MILAN], tcb=bytes(7))
    with pytest.raises(ValueError):
        replace(PLATFORMS[Product.MILAN], report_version=2)


def test_configured_tcb_is_reported_and_endorsed(installation: Installation, trust: Trust, now: datetime) -> None:
    platform = replace(PLATFORMS[Product.MILAN], tcb=bytes((3, 0, 0, 0, 0, 0, 8, 115)))
    report = verified(launched(SecureProcessor(installation, now, platform=platform)).finish(HOST_DATA), trust, now)
    assert report.value.reported_tcb.named() == {"bootloader": 3, "tee": 0, "snp": 8, "microcode": 115}


def test_evidence_ends_with_its_collateral(processor: SecureProcessor, trust: Trust, now: datetime) -> None:
    guest = launched(processor).finish(HOST_DATA)
    with pytest.raises(CollateralError) as caught:
        verified(guest, trust, now + timedelta(days=366))
    assert caught.value.code == "collateral-expired"
    with pytest.raises(AuthenticityError) as early:
        verified(guest, trust, now - timedelta(days=1))
    assert early.value.code == "certificate-not-yet-valid"
