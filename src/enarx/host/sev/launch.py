"""One launch, from the platform's certificates to a running guest, with the tenant's approver in between.

::

    certificates (PDH, PEK, OCA, CEK) -->  approver  --> policy, Diffie-Hellman certificate, session
    QEMU -S with these: LAUNCH_START, LAUNCH_UPDATE_*, LAUNCH_MEASURE
    measurement, firmware version     -->  approver  --> secret packet, or a refusal
    sev-inject-launch-secret, cont

The measurement of a launch is shown once: an approver that has seen it gives nothing for this launch again.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from enarx.errors import HostError
from enarx.host.sev.monitor import Capabilities, Monitor, inject_secret, query_guest, query_measurement

SEV_CERTIFICATE_BYTES: Final = 2084
CEK_AT: Final = slice(2 * SEV_CERTIFICATE_BYTES, 3 * SEV_CERTIFICATE_BYTES)
"""Where the exported chain has the CEK: behind PEK and OCA (SEV API 55766, 5.10)."""
CEK_URL: Final = "https://kdsintf.amd.com/cek/id/"
"""Where AMD gives out signed CEKs, by the chip's id in hexadecimal."""
_SIGNER: Final = slice(0x414, 0x418)  # usage of the key behind the first signature (appendix C.1)
_NOBODY: Final = (0x1000).to_bytes(4, "little")
LAUNCHED: Final = "launch-secret"
"""State of a guest that is measured and may be given a secret (QEMU's SevState)."""

Technology = Literal["sev", "sev-es"]


@dataclass(frozen=True, slots=True)
class Session:
    """What QEMU needs for a launch that an approver began: ``launch`` is the approver's name for it."""

    launch: str
    policy: int
    dh_cert: bytes
    session: bytes


@dataclass(frozen=True, slots=True)
class Packet:
    """What LAUNCH_SECRET takes: a header of 52 bytes and the encrypted secret."""

    header: bytes
    secret: bytes = field(repr=False)


class Approver(Protocol):
    """The tenant's approver. Both methods raise HostError (``approver-...``) when it refuses or cannot be reached."""

    def begin(
        self, technology: Technology, certificates: bytes, manifest: bytes, signatures: Sequence[bytes]
    ) -> Session: ...

    def finish(self, launch: str, firmware: tuple[int, int, int], measurement: bytes) -> Packet: ...


def platform_certificates(capabilities: Capabilities, further: bytes = b"") -> bytes:
    """The platform's certificates, one after another.

    ``further`` is what the host got from AMD for this chip: the signed CEK, which takes the place of the unsigned one
    that firmware exports, and behind it ASK and ARK, or nothing. HostError (``sev-certificates``, ``sev-cek``).
    """
    chain = capabilities.chain
    if len(chain) != 3 * SEV_CERTIFICATE_BYTES:
        raise HostError(
            f"the platform's chain has {len(chain)} bytes, not those of PEK, OCA and CEK",
            code="sev-certificates",
            hint="update the SEV firmware of this machine",
        )
    if not further and chain[CEK_AT][_SIGNER] == _NOBODY:
        raise HostError(
            "the platform's chip key (CEK) comes without AMD's signature, and no approver can believe it",
            code="sev-cek",
            hint=f"fetch it from {CEK_URL}{capabilities.chip_id.hex()}, and give that file by --certificates",
        )
    return capabilities.pdh + chain[: CEK_AT.start] + (further or chain[CEK_AT])


def launch_files(session: Session) -> tuple[bytes, bytes]:
    """What QEMU reads as ``dh-cert-file`` and ``session-file``: both in base64."""
    return b64encode(session.dh_cert), b64encode(session.session)


def release(monitor: Monitor, approver: Approver, session: Session) -> None:
    """Have a launched guest approved, give it its secret, and let it run.

    When anything fails the guest stays stopped, without a secret, for the caller to end. HostError.
    """
    guest = query_guest(monitor)
    if guest.state != LAUNCHED:
        raise HostError(
            f"the guest is in the state {guest.state!r}, and can be given no secret",
            code="sev-state",
            hint="QEMU must start it stopped (-S)",
        )
    if guest.policy != session.policy:
        raise HostError(
            f"the guest was launched with policy {guest.policy:#x}, not with {session.policy:#x}",
            code="sev-policy",
            hint="this is a fault of QEMU's command line",
        )
    packet = approver.finish(session.launch, guest.firmware, query_measurement(monitor))
    inject_secret(monitor, packet.header, packet.secret)
    monitor.execute("cont")
