"""What the SEV firmware hands out and takes in during a launch: bytes to frozen dataclass and back.

Source: SEV API 55766, revision 3.24: LAUNCH_START session buffer (section 6.2), LAUNCH_MEASURE (6.5), LAUNCH_SECRET
packet header (6.6, table 55), ATTESTATION (6.8). All numbers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from enarx.errors import MalformedError
from enarx.evidence.sev.certs import COMPONENT_BYTES
from enarx.evidence.sev.guest_policy import GuestPolicy

MAC_BYTES = 32
NONCE_BYTES = 16
IV_BYTES = 16
WRAPPED_KEYS_BYTES = 32
DIGEST_BYTES = 32

MEASUREMENT_BYTES = MAC_BYTES + NONCE_BYTES
SESSION_BYTES = NONCE_BYTES + WRAPPED_KEYS_BYTES + IV_BYTES + 2 * MAC_BYTES
SECRET_HEADER_BYTES = 4 + IV_BYTES + MAC_BYTES
ATTESTATION_REPORT_BYTES = 0xD0
ATTESTATION_SIGNED_BYTES = 0x34

_SESSION = struct.Struct(f"{NONCE_BYTES}s{WRAPPED_KEYS_BYTES}s{IV_BYTES}s{MAC_BYTES}s{MAC_BYTES}s")
_HEADER = struct.Struct(f"<I{IV_BYTES}s{MAC_BYTES}s")
_REPORT = struct.Struct(f"<{NONCE_BYTES}s{DIGEST_BYTES}sIIII{2 * COMPONENT_BYTES}s")


@dataclass(frozen=True, slots=True)
class LaunchMeasurement:
    """Output of LAUNCH_MEASURE, 48 bytes: the HMAC over the launch, and the firmware's nonce in it."""

    measure: bytes
    mnonce: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> LaunchMeasurement:
        """Parse 48 bytes, as ``query-sev-launch-measure`` gives them in base64; raises MalformedError."""
        _require_length(data, MEASUREMENT_BYTES, "launch measurement")
        return cls(bytes(data[:MAC_BYTES]), bytes(data[MAC_BYTES:]))

    def to_bytes(self) -> bytes:
        """The 48 bytes."""
        return self.measure + self.mnonce


@dataclass(frozen=True, slots=True)
class Session:
    """The 128-byte session buffer of LAUNCH_START: TEK and TIK wrapped for one platform, and the policy's MAC."""

    nonce: bytes
    wrap_tk: bytes
    wrap_iv: bytes
    wrap_mac: bytes
    policy_mac: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> Session:
        """Parse exactly 128 bytes; raises MalformedError."""
        _require_length(data, SESSION_BYTES, "session buffer")
        return cls(*_SESSION.unpack(data))

    def to_bytes(self) -> bytes:
        """The 128 bytes, to be given to the host (QEMU: ``session-file``, in base64)."""
        return _SESSION.pack(self.nonce, self.wrap_tk, self.wrap_iv, self.wrap_mac, self.policy_mac)


@dataclass(frozen=True, slots=True)
class SecretHeader:
    """The 52-byte packet header of LAUNCH_SECRET. ``flags`` bit 0 says that the data is compressed."""

    flags: int
    iv: bytes
    mac: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> SecretHeader:
        """Parse exactly 52 bytes; raises MalformedError."""
        _require_length(data, SECRET_HEADER_BYTES, "secret header")
        return cls(*_HEADER.unpack(data))

    def to_bytes(self) -> bytes:
        """The 52 bytes (QMP ``sev-inject-launch-secret``: ``packet-header``, in base64)."""
        return _HEADER.pack(self.flags, self.iv, self.mac)


@dataclass(frozen=True, slots=True)
class FirmwareVersion:
    """API version and build of the SEV firmware that ran a launch, as its measurement takes them; one byte each."""

    api_major: int
    api_minor: int
    build_id: int

    def __post_init__(self) -> None:
        for number in (self.api_major, self.api_minor, self.build_id):
            if not 0 <= number <= 0xFF:
                raise MalformedError(
                    f"firmware version {self.api_major}.{self.api_minor}.{self.build_id} is not three bytes",
                    code="sev-version-range",
                    hint="give api-major, api-minor and build-id of query-sev",
                )

    def to_bytes(self) -> bytes:
        """Three bytes: major, minor, build."""
        return bytes((self.api_major, self.api_minor, self.build_id))

    def __str__(self) -> str:
        return f"{self.api_major}.{self.api_minor} build {self.build_id}"


@dataclass(frozen=True, slots=True)
class Launch:
    """What a verified measurement says of a launch: firmware, guest policy, and the digest of what was loaded.

    ``measurement`` is the firmware's answer, ``owner_sha256`` the SHA-256 of the platform's OCA certificate.
    """

    product: str
    firmware: FirmwareVersion
    policy: GuestPolicy
    digest: bytes
    measurement: LaunchMeasurement
    owner_sha256: bytes


@dataclass(frozen=True, slots=True)
class AttestationReport:
    """Output of ATTESTATION, 208 bytes: launch digest and policy of a guest, signed by the platform's PEK.

    ``signature`` is r and s, 72 bytes each. ``signature_usage``, ``signature_algorithm`` and ``reserved`` lie outside
    the signed part.
    """

    mnonce: bytes
    launch_digest: bytes
    policy: GuestPolicy
    signature_usage: int
    signature_algorithm: int
    signature: bytes
    reserved: int = 0

    @classmethod
    def from_bytes(cls, data: bytes) -> AttestationReport:
        """Parse exactly 208 bytes; raises MalformedError."""
        _require_length(data, ATTESTATION_REPORT_BYTES, "SEV attestation report")
        mnonce, digest, policy, usage, algorithm, reserved, signature = _REPORT.unpack(data)
        return cls(mnonce, digest, GuestPolicy(policy), usage, algorithm, signature, reserved)

    def to_bytes(self) -> bytes:
        """The 208 bytes."""
        return _REPORT.pack(
            self.mnonce,
            self.launch_digest,
            self.policy.value,
            self.signature_usage,
            self.signature_algorithm,
            self.reserved,
            self.signature,
        )

    @property
    def signed(self) -> bytes:
        """The signed part: nonce, launch digest and policy."""
        return self.to_bytes()[:ATTESTATION_SIGNED_BYTES]

    @property
    def r(self) -> int:
        """ECDSA component r."""
        return int.from_bytes(self.signature[:COMPONENT_BYTES], "little")

    @property
    def s(self) -> int:
        """ECDSA component s."""
        return int.from_bytes(self.signature[COMPONENT_BYTES:], "little")


def _require_length(data: bytes, expected: int, what: str) -> None:
    if len(data) != expected:
        raise MalformedError(
            f"a {what} has {expected} bytes, this has {len(data)}",
            code="malformed",
            hint="give the raw bytes, decoded from base64 where the host prints base64",
        )
