"""The machine that is simulated: product, firmware and its TCB, and the reports that such firmware writes.

Values are those of reports from the field, so that what a policy says about firmware means here what it means there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from enarx.evidence.snp.abi import (
    ALGORITHM_ECDSA_P384_SHA384,
    PLATFORM_ALIAS_CHECK_COMPLETE,
    PLATFORM_ECC_EN,
    PLATFORM_SMT_EN,
)
from enarx.evidence.snp.product import Product
from enarx.evidence.snp.report import MITIGATIONS_SINCE, VERSIONS, Report
from enarx.evidence.snp.tcb import TCB_BYTES

CHIP_ID_BYTES = 64
SIGNATURE_FIELD_BYTES = 72
"""R and S of a signature, little-endian, zeros behind (56860 table 141)."""
NO_MIGRATION_AGENT = b"\xff" * 32
"""REPORT_ID_MA of a guest without one."""


@dataclass(frozen=True, slots=True)
class Platform:
    """``tcb`` is TCB_VERSION as stored (8 bytes), alike for reported, current, committed and launch.

    ``cpuid`` is family, model and stepping, ``firmware`` major, minor and build. ValueError for a TCB of another size
    and a report version that is not written (2 has no CPUID fields).
    """

    product: Product
    tcb: bytes
    cpuid: tuple[int, int, int]
    firmware: tuple[int, int, int] = (1, 55, 29)
    info: int = PLATFORM_SMT_EN | PLATFORM_ECC_EN | PLATFORM_ALIAS_CHECK_COMPLETE
    report_version: int = 3
    mitigations: int = 1

    def __post_init__(self) -> None:
        if len(self.tcb) != TCB_BYTES or self.report_version not in VERSIONS[1:]:
            raise ValueError(f"no such platform: TCB {self.tcb.hex()}, report version {self.report_version}")

    def older(self) -> Platform:
        """The same platform before its last updates: every security version that can be lower is."""
        return replace(self, tcb=bytes(max(0, version - 1) for version in self.tcb))


PLATFORMS = {
    Product.MILAN: Platform(Product.MILAN, bytes((4, 0, 0, 0, 0, 0, 24, 219)), (0x19, 0x01, 1)),
    Product.GENOA: Platform(Product.GENOA, bytes((10, 0, 0, 0, 0, 0, 25, 84)), (0x19, 0x11, 1), (1, 55, 43)),
    Product.TURIN: Platform(Product.TURIN, bytes((1, 1, 1, 4, 0, 0, 0, 81)), (0x1A, 0x02, 1), (1, 55, 65)),
}
"""A current machine of each product."""


def unsigned_report(platform: Platform, *, policy: int, chip_id: bytes, report_id: bytes, measurement: bytes) -> Report:
    """What the platform's firmware states about a guest without host data and ID block, signature still zero."""
    family, model, stepping = platform.cpuid
    major, minor, build = platform.firmware
    mitigations = platform.mitigations if platform.report_version >= MITIGATIONS_SINCE else 0
    return Report(
        version=platform.report_version,
        guest_svn=0,
        policy=policy,
        family_id=bytes(16),
        image_id=bytes(16),
        vmpl=0,
        signature_algorithm=ALGORITHM_ECDSA_P384_SHA384,
        current_tcb_raw=platform.tcb,
        platform_info=platform.info,
        flags=0,
        reserved_4c=bytes(4),
        report_data=bytes(64),
        measurement=measurement,
        host_data=bytes(32),
        id_key_digest=bytes(48),
        author_key_digest=bytes(48),
        report_id=report_id,
        report_id_ma=NO_MIGRATION_AGENT,
        reported_tcb_raw=platform.tcb,
        cpuid_family=family,
        cpuid_model=model,
        cpuid_stepping=stepping,
        reserved_18b=bytes(21),
        chip_id=chip_id.ljust(CHIP_ID_BYTES, b"\0"),
        committed_tcb_raw=platform.tcb,
        current_build=build,
        current_minor=minor,
        current_major=major,
        reserved_1eb=0,
        committed_build=build,
        committed_minor=minor,
        committed_major=major,
        reserved_1ef=0,
        launch_tcb_raw=platform.tcb,
        launch_mit_vector=mitigations,
        current_mit_vector=mitigations,
        reserved_208=bytes(152),
        signature_r=bytes(SIGNATURE_FIELD_BYTES),
        signature_s=bytes(SIGNATURE_FIELD_BYTES),
        reserved_330=bytes(368),
    )


def sign_report(report: Report, key: ec.EllipticCurvePrivateKey) -> Report:
    """``report`` with the signature of a platform's P-384 key over it."""
    r, s = decode_dss_signature(key.sign(report.signed(), ec.ECDSA(hashes.SHA384())))
    return replace(
        report,
        signature_r=r.to_bytes(SIGNATURE_FIELD_BYTES, "little"),
        signature_s=s.to_bytes(SIGNATURE_FIELD_BYTES, "little"),
    )
