"""The guest policy that a SEV launch is bound to (SEV API 55766, chapter 3, table 2: guest policy structure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from enarx.errors import MalformedError

POLICY_BYTES = 4

NODBG = 1 << 0
NOKS = 1 << 1
ES = 1 << 2
NOSEND = 1 << 3
DOMAIN = 1 << 4
SEV = 1 << 5
RESERVED = 0xFFC0
API_MAJOR_SHIFT = 16
API_MINOR_SHIFT = 24

BIT_MEANINGS = {
    NODBG: "debugging of the guest is disallowed",
    NOKS: "sharing keys with other guests is disallowed",
    ES: "SEV-ES is required: register state is encrypted",
    NOSEND: "sending the guest to another platform is disallowed",
    DOMAIN: "the guest may be sent to platforms of the same owner only",
    SEV: "the guest may be sent to SEV-capable platforms only",
}


@dataclass(frozen=True, slots=True)
class GuestPolicy:
    """A guest policy as the 32-bit number that LAUNCH_START takes; raises MalformedError when out of range."""

    value: int

    def __post_init__(self) -> None:
        if not 0 <= self.value < 1 << 32:
            raise MalformedError(
                f"a guest policy is a 32-bit number, {self.value} is not",
                code="sev-policy-range",
                hint="write the policy as a number from 0 to 0xffffffff",
            )

    @classmethod
    def of(
        cls,
        *,
        debug: bool = False,
        key_sharing: bool = False,
        es: bool = True,
        send: bool = False,
        domain: bool = False,
        sev_only: bool = False,
        api_major: int = 0,
        api_minor: int = 0,
    ) -> GuestPolicy:
        """Compose a policy; the defaults are the strictest guest that never leaves its platform."""
        for name, number in (("api_major", api_major), ("api_minor", api_minor)):
            if not 0 <= number <= 0xFF:
                raise MalformedError(f"{name} {number} is not a byte", code="sev-policy-range", hint="0 to 255")
        bits = (
            (0 if debug else NODBG)
            | (0 if key_sharing else NOKS)
            | (ES if es else 0)
            | (0 if send else NOSEND)
            | (DOMAIN if domain else 0)
            | (SEV if sev_only else 0)
        )
        return cls(bits | api_major << API_MAJOR_SHIFT | api_minor << API_MINOR_SHIFT)

    @classmethod
    def from_bytes(cls, data: bytes) -> GuestPolicy:
        """The policy from its four little-endian bytes."""
        if len(data) != POLICY_BYTES:
            raise MalformedError(
                f"a guest policy has {POLICY_BYTES} bytes, this has {len(data)}", code="sev-policy-range"
            )
        return cls(int.from_bytes(data, "little"))

    def to_bytes(self) -> bytes:
        """Four bytes, little-endian, as the policy MAC and the launch measurement take them."""
        return self.value.to_bytes(POLICY_BYTES, "little")

    @property
    def debug_allowed(self) -> bool:
        """True when the host may read and write guest memory through the firmware."""
        return not self.value & NODBG

    @property
    def key_sharing_allowed(self) -> bool:
        """True when the host may run other guests with this guest's memory key."""
        return not self.value & NOKS

    @property
    def es_required(self) -> bool:
        """True for a SEV-ES guest."""
        return bool(self.value & ES)

    @property
    def send_allowed(self) -> bool:
        """True when the guest may be migrated."""
        return not self.value & NOSEND

    @property
    def domain_only(self) -> bool:
        """True when migration is confined to platforms with the same owner certificate."""
        return bool(self.value & DOMAIN)

    @property
    def sev_only(self) -> bool:
        """True when migration is confined to platforms with a certificate chain from AMD."""
        return bool(self.value & SEV)

    @property
    def api(self) -> tuple[int, int]:
        """The lowest API version (major, minor) of a platform the guest may run on."""
        return (self.value >> API_MAJOR_SHIFT & 0xFF, self.value >> API_MINOR_SHIFT & 0xFF)

    @property
    def reserved(self) -> int:
        """Bits 6 to 15, which must be zero."""
        return self.value & RESERVED

    def words(self) -> Iterator[str]:
        """The set bits in words, for a person."""
        for bit, meaning in BIT_MEANINGS.items():
            if self.value & bit:
                yield meaning
