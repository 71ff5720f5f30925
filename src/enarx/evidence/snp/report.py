"""The SEV-SNP attestation report: 1184 bytes to a frozen dataclass and back, no judgement.

Source: SEV Secure Nested Paging Firmware ABI specification (56860) revision 1.58: table 23 (ATTESTATION_REPORT),
table 10 (guest policy), table 24 (PLATFORM_INFO), table 141 (ECDSA signature). Versions: 2 (firmware 1.51), 3 (adds the
CPUID fields), 5 (adds the mitigation vectors). All integers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from enarx.errors import MalformedError
from enarx.evidence.snp.abi import (
    FLAG_AUTHOR_KEY_EN,
    FLAG_MASK_CHIP_KEY,
    FLAG_SIGNING_KEY_MASK,
    FLAG_SIGNING_KEY_SHIFT,
    FLAGS_KNOWN,
    PLATFORM_KNOWN,
    POLICY_DEBUG,
    POLICY_KNOWN,
    POLICY_RESERVED_ONE,
)
from enarx.evidence.snp.product import CLASSIC_COMPONENTS, Product, product_of_cpuid
from enarx.evidence.snp.tcb import Tcb

REPORT_BYTES = 0x4A0
"""Size of a report of any version (bytes)."""
SIGNED_BYTES = 0x2A0
"""How much of it the signature covers, from its beginning (bytes)."""
VERSIONS = (2, 3, 5)
"""Report versions that are read. Version 4 was never published."""
NEWEST_VERSION = VERSIONS[-1]
CPUID_SINCE = 3
"""First version with CPUID_FAM_ID, CPUID_MOD_ID and CPUID_STEP."""
MITIGATIONS_SINCE = 5
"""First version with LAUNCH_MIT_VECTOR and CURRENT_MIT_VECTOR."""

_LAYOUT = struct.Struct(
    "<IIQ16s16sII"  # 0x000 VERSION GUEST_SVN POLICY FAMILY_ID IMAGE_ID VMPL SIGNATURE_ALGO
    "8sQI4s"  # 0x038 CURRENT_TCB PLATFORM_INFO flags reserved
    "64s48s32s48s48s32s32s"  # 0x050 REPORT_DATA MEASUREMENT HOST_DATA ID/AUTHOR_KEY_DIGEST REPORT_ID REPORT_ID_MA
    "8sBBB21s64s8s"  # 0x180 REPORTED_TCB CPUID_FAM_ID CPUID_MOD_ID CPUID_STEP reserved CHIP_ID COMMITTED_TCB
    "BBBBBBBB"  # 0x1E8 CURRENT_{BUILD,MINOR,MAJOR} reserved COMMITTED_{BUILD,MINOR,MAJOR} reserved
    "8sQQ152s"  # 0x1F0 LAUNCH_TCB LAUNCH_MIT_VECTOR CURRENT_MIT_VECTOR reserved
    "72s72s368s"  # 0x2A0 SIGNATURE: R, S, reserved
)


@dataclass(frozen=True, slots=True)
class Report:
    """Every field of ATTESTATION_REPORT as stored, in its order; byte strings keep their byte order.

    Fields that an older version lacks hold its reserved bytes, so that nothing is lost; the methods below know which
    version has what.
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    signature_algorithm: int
    current_tcb_raw: bytes
    platform_info: int
    flags: int
    reserved_4c: bytes
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb_raw: bytes
    cpuid_family: int
    cpuid_model: int
    cpuid_stepping: int
    reserved_18b: bytes
    chip_id: bytes
    committed_tcb_raw: bytes
    current_build: int
    current_minor: int
    current_major: int
    reserved_1eb: int
    committed_build: int
    committed_minor: int
    committed_major: int
    reserved_1ef: int
    launch_tcb_raw: bytes
    launch_mit_vector: int
    current_mit_vector: int
    reserved_208: bytes
    signature_r: bytes
    signature_s: bytes
    reserved_330: bytes

    def __post_init__(self) -> None:
        """A field of another length would be cut or padded when encoded, and no longer be what was signed."""
        for name, size in _SIZES:
            if len(getattr(self, name)) != size:
                raise ValueError(f"{name} has {size} bytes, not {len(getattr(self, name))}")

    def encode(self) -> bytes:
        """The 1184 bytes that parse to this report."""
        return self.signed() + self.signature_r + self.signature_s + self.reserved_330

    def signed(self) -> bytes:
        """The 672 bytes that the signature covers."""
        return _SIGNED.pack(
            self.version,
            self.guest_svn,
            self.policy,
            self.family_id,
            self.image_id,
            self.vmpl,
            self.signature_algorithm,
            self.current_tcb_raw,
            self.platform_info,
            self.flags,
            self.reserved_4c,
            self.report_data,
            self.measurement,
            self.host_data,
            self.id_key_digest,
            self.author_key_digest,
            self.report_id,
            self.report_id_ma,
            self.reported_tcb_raw,
            self.cpuid_family,
            self.cpuid_model,
            self.cpuid_stepping,
            self.reserved_18b,
            self.chip_id,
            self.committed_tcb_raw,
            self.current_build,
            self.current_minor,
            self.current_major,
            self.reserved_1eb,
            self.committed_build,
            self.committed_minor,
            self.committed_major,
            self.reserved_1ef,
            self.launch_tcb_raw,
            self.launch_mit_vector,
            self.current_mit_vector,
            self.reserved_208,
        )

    @property
    def has_cpuid(self) -> bool:
        """Whether this version states family, model and stepping."""
        return self.version >= CPUID_SINCE

    @property
    def has_mitigations(self) -> bool:
        """Whether this version states the mitigation vectors."""
        return self.version >= MITIGATIONS_SINCE

    @property
    def product(self) -> Product | None:
        """The product that the CPUID fields name; None for version 2, which has none, and for an unknown one."""
        return product_of_cpuid(self.cpuid_family, self.cpuid_model) if self.has_cpuid else None

    @property
    def tcb_components(self) -> tuple[str, ...]:
        """What the bytes of the four TCB fields are called: by product, the classic names when it is not known."""
        product = self.product
        return product.facts.components if product else CLASSIC_COMPONENTS

    @property
    def current_tcb(self) -> Tcb:
        """CURRENT_TCB: what runs now."""
        return Tcb(self.current_tcb_raw, self.tcb_components)

    @property
    def reported_tcb(self) -> Tcb:
        """REPORTED_TCB: what the signing key was derived for."""
        return Tcb(self.reported_tcb_raw, self.tcb_components)

    @property
    def committed_tcb(self) -> Tcb:
        """COMMITTED_TCB: below this the platform can no longer be rolled back."""
        return Tcb(self.committed_tcb_raw, self.tcb_components)

    @property
    def launch_tcb(self) -> Tcb:
        """LAUNCH_TCB: CURRENT_TCB when the guest was launched or imported."""
        return Tcb(self.launch_tcb_raw, self.tcb_components)

    @property
    def abi(self) -> tuple[int, int]:
        """The firmware ABI (major, minor) that the guest policy asks for."""
        return self.policy >> 8 & 0xFF, self.policy & 0xFF

    @property
    def current_version(self) -> tuple[int, int, int]:
        """The firmware that runs: major, minor, build."""
        return self.current_major, self.current_minor, self.current_build

    @property
    def committed_version(self) -> tuple[int, int, int]:
        """The firmware that is committed: major, minor, build."""
        return self.committed_major, self.committed_minor, self.committed_build

    @property
    def author_key_enabled(self) -> bool:
        """AUTHOR_KEY_EN: AUTHOR_KEY_DIGEST is that of the key that signed the ID key."""
        return bool(self.flags & FLAG_AUTHOR_KEY_EN)

    @property
    def chip_key_masked(self) -> bool:
        """MASK_CHIP_KEY: the platform does not sign with its chip's key."""
        return bool(self.flags & FLAG_MASK_CHIP_KEY)

    @property
    def signing_key(self) -> int:
        """SIGNING_KEY: which key signed, see ``SIGNERS``."""
        return self.flags >> FLAG_SIGNING_KEY_SHIFT & FLAG_SIGNING_KEY_MASK

    @property
    def debug(self) -> bool:
        """Whether the guest policy lets the host decrypt the guest's memory."""
        return bool(self.policy & POLICY_DEBUG)

    def reserved(self) -> tuple[str, ...]:
        """Names of signed reserved fields and bits that are not what the specification says they must be."""
        odd: list[str] = []
        if not self.policy & POLICY_RESERVED_ONE:
            odd.append("POLICY bit 17")
        if self.policy & ~POLICY_KNOWN:
            odd.append("POLICY bits 26..63")
        if self.platform_info & ~PLATFORM_KNOWN:
            odd.append("PLATFORM_INFO bits 8..63")
        if self.flags & ~FLAGS_KNOWN:
            odd.append("flags bits 5..31")
        if self.reserved_4c != _ZEROS[:4]:
            odd.append("0x4C..0x4F")
        if self.reserved_18b != _ZEROS[:21]:
            odd.append("0x18B..0x19F")
        if not self.has_cpuid and (self.cpuid_family or self.cpuid_model or self.cpuid_stepping):
            odd.append("0x188..0x18A")
        if self.reserved_1eb or self.reserved_1ef:
            odd.append("0x1EB, 0x1EF")
        if not self.has_mitigations and (self.launch_mit_vector or self.current_mit_vector):
            odd.append("0x1F8..0x207")
        if self.reserved_208 != _ZEROS:
            odd.append("0x208..0x29F")
        return tuple(odd)


_ZEROS = bytes(152)
_SIZES = (
    ("family_id", 16),
    ("image_id", 16),
    ("current_tcb_raw", 8),
    ("reserved_4c", 4),
    ("report_data", 64),
    ("measurement", 48),
    ("host_data", 32),
    ("id_key_digest", 48),
    ("author_key_digest", 48),
    ("report_id", 32),
    ("report_id_ma", 32),
    ("reported_tcb_raw", 8),
    ("reserved_18b", 21),
    ("chip_id", 64),
    ("committed_tcb_raw", 8),
    ("launch_tcb_raw", 8),
    ("reserved_208", 152),
    ("signature_r", 72),
    ("signature_s", 72),
    ("reserved_330", 368),
)
_SIGNED = struct.Struct(_LAYOUT.format.removesuffix("72s72s368s"))


def parse(data: bytes) -> Report:
    """Read an attestation report of exactly 1184 bytes and a known version; MalformedError otherwise."""
    if len(data) != REPORT_BYTES:
        raise MalformedError(
            f"an SEV-SNP report has {REPORT_BYTES} bytes, this has {len(data)}",
            code="malformed",
            hint="give the bare report: no header of the request, no certificate table behind it",
        )
    report = Report(*_LAYOUT.unpack(data))
    if report.version not in VERSIONS:
        newer = report.version > NEWEST_VERSION
        raise MalformedError(
            f"report version {report.version} is {'newer than' if newer else 'not one of'} "
            f"{NEWEST_VERSION if newer else VERSIONS}",
            code="unsupported-version",
            hint="update this verifier: fields it does not know cannot be judged"
            if newer
            else "check that this is an SEV-SNP attestation report",
        )
    return report
