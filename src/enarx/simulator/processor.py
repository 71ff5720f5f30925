"""The secure processor: launch commands, and the guests that come of them.

The commands, their order and what they refuse are those of SEV-SNP firmware (56860 revision 1.58, chapter 8, commands
SNP_LAUNCH_START, SNP_LAUNCH_UPDATE and SNP_LAUNCH_FINISH), the page rules those of ``evidence.gctx``. What has no
meaning without memory encryption is left out: address spaces, migration, ciphertext.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import replace
from datetime import datetime
from typing import Final

from enarx.errors import EvidenceError, HostError
from enarx.evidence.gctx import LaunchContext, PageType
from enarx.evidence.ovmf import PAGE_BYTES
from enarx.evidence.snp.abi import (
    FLAG_AUTHOR_KEY_EN,
    PLATFORM_SMT_EN,
    POLICY_KNOWN,
    POLICY_MIGRATE_MA,
    POLICY_RESERVED_ONE,
    POLICY_SMT,
)
from enarx.evidence.snp.idblock import (
    DEFAULT_POLICY,
    IdAuth,
    IdBlock,
    decode_public_key,
    key_digest,
    verify,
)
from enarx.evidence.snp.report import Report
from enarx.simulator.certificates import VCEK_SERIAL
from enarx.simulator.installation import Endorsements, Installation
from enarx.simulator.misbehave import Misbehave, distort_encoded, distort_platform, distort_report
from enarx.simulator.platform import PLATFORMS, Platform, sign_report, unsigned_report

HOST_DATA_BYTES: Final = 32
REPORT_DATA_BYTES: Final = 64
VMPL_MAX: Final = 3
"""Least privileged level of a guest."""
LAUNCH_MAX_BYTES: Final = 1 << 30
"""What one launch may measure (bytes)."""


class SecureProcessor:
    """One platform: the chip of ``installation`` with the firmware of ``platform``, at the time ``now``.

    ``platform`` is a current machine of the installation's product unless given. ``lies`` applies to every guest.
    Raises HostError (``simulator-*``); ValueError for a platform of another product.
    """

    def __init__(
        self,
        installation: Installation,
        now: datetime,
        *,
        platform: Platform | None = None,
        lies: Misbehave = Misbehave.NONE,
    ) -> None:
        honest = platform if platform is not None else PLATFORMS[installation.product]
        if honest.product is not installation.product:
            raise ValueError(f"the chip is a {installation.product.value}, not a {honest.product.value}")
        self.platform = distort_platform(honest, lies)
        self.lies = lies
        self.chip_id = installation.chip_id
        self.key = installation.vcek_key(self.platform.tcb)
        self.endorsements = _endorsements(installation, self.platform.tcb, now, lies)

    def launch_start(self, policy: int = DEFAULT_POLICY) -> Launch:
        """SNP_LAUNCH_START; HostError (``launch-policy``) for a guest policy that firmware refuses."""
        if not policy & POLICY_RESERVED_ONE or policy & ~POLICY_KNOWN:
            raise _policy_failure(f"guest policy {policy:#x} has reserved bits that are not as they must be")
        if policy & POLICY_MIGRATE_MA:
            raise _policy_failure("the guest policy asks for a migration agent, and there is none")
        if self.platform.info & PLATFORM_SMT_EN and not policy & POLICY_SMT:
            raise _policy_failure("the guest policy forbids SMT, which this platform has enabled")
        asked = policy >> 8 & 0xFF, policy & 0xFF
        if asked > self.platform.firmware[:2]:
            raise _policy_failure(f"the guest policy asks for firmware ABI {asked[0]}.{asked[1]} or later")
        return Launch(self, policy)


class Launch:
    """A guest being launched: pages in, digest out."""

    def __init__(self, processor: SecureProcessor, policy: int) -> None:
        self._processor = processor
        self._policy = policy
        self._context = LaunchContext()
        self._size = 0
        self._finished = False

    @property
    def digest(self) -> bytes:
        """The launch digest so far (48 bytes)."""
        return self._context.digest

    def update(self, kind: PageType, gpa: int, data: bytes) -> None:
        """SNP_LAUNCH_UPDATE of whole pages at ``gpa``; of pages that are not hashed only the size of ``data`` counts.

        HostError: ``launch-state`` after the end, ``launch-address`` for what is not whole pages below 2^52,
        ``launch-size``.
        """
        self._check_state()
        size = len(data)
        if not size or size % PAGE_BYTES or gpa % PAGE_BYTES or not 0 <= gpa <= (1 << 52) - size:
            raise HostError(f"{size} bytes at {gpa:#x} are not whole pages", code="launch-address")
        self._size += size
        if self._size > LAUNCH_MAX_BYTES:
            raise HostError(f"the launch has more than {LAUNCH_MAX_BYTES} bytes", code="launch-size")
        if kind is PageType.NORMAL:
            self._context.add_data(gpa, data)
        elif kind is not PageType.VMSA:
            self._context.add_blank(kind, gpa, size)
        elif size == PAGE_BYTES:
            self._context.add_vmsa(data)
        else:
            raise HostError("a VMSA is one page", code="launch-address")

    def finish(self, host_data: bytes, id_block: IdBlock | None = None, id_auth: IdAuth | None = None) -> Guest:
        """SNP_LAUNCH_FINISH: ``host_data`` is 32 bytes; an ID block comes with its authentication information.

        HostError: ``launch-state``, ``launch-host-data``, ``launch-id-block`` when the block is for another launch or
        policy, or is not signed by the keys it comes with.
        """
        self._check_state()
        if len(host_data) != HOST_DATA_BYTES:
            raise HostError(f"host data has {HOST_DATA_BYTES} bytes, not {len(host_data)}", code="launch-host-data")
        report = unsigned_report(
            self._processor.platform,
            policy=self._policy,
            chip_id=self._processor.chip_id,
            report_id=secrets.token_bytes(32),
            measurement=self.digest,
        )
        report = replace(report, host_data=host_data)
        if id_block is not None or id_auth is not None:
            report = self._identified(report, id_block, id_auth)
        self._finished = True
        return Guest(self._processor, report)

    def _identified(self, report: Report, block: IdBlock | None, auth: IdAuth | None) -> Report:
        if block is None or auth is None:
            raise _bad_id_block("an ID block and its authentication information come together")
        try:
            verify(block, auth)
            id_key = key_digest(decode_public_key(auth.id_key))
            author = auth.endorsement
            author_key = key_digest(decode_public_key(author.author_key)) if author else bytes(48)
        except EvidenceError as error:
            raise _bad_id_block(error.message) from error
        if block.launch_digest != self.digest:
            raise _bad_id_block(f"it is for launch digest {block.launch_digest.hex()}, this is {self.digest.hex()}")
        if block.policy != self._policy:
            raise _bad_id_block(f"it is for guest policy {block.policy:#x}, this is {self._policy:#x}")
        return replace(
            report,
            family_id=block.family_id,
            image_id=block.image_id,
            guest_svn=block.guest_svn,
            id_key_digest=id_key,
            author_key_digest=author_key,
            flags=report.flags | (FLAG_AUTHOR_KEY_EN if author else 0),
        )

    def _check_state(self) -> None:
        if self._finished:
            raise HostError("the launch is finished", code="launch-state")


class Guest:
    """A launched guest as its secure processor knows it. Safe to share between threads."""

    def __init__(self, processor: SecureProcessor, report: Report) -> None:
        self._processor = processor
        self._report = report
        self._replayed: bytes | None = None
        self._lock = threading.Lock()

    @property
    def measurement(self) -> bytes:
        """The launch digest (48 bytes)."""
        return self._report.measurement

    @property
    def certificates(self) -> bytes:
        """The certificate table that the host passes along."""
        return self._processor.endorsements.table

    def report(self, report_data: bytes, vmpl: int = 0) -> bytes:
        """MSG_REPORT_REQ: a report over 64 bytes of the guest's (1184 bytes). ValueError for another size or level."""
        if len(report_data) != REPORT_DATA_BYTES or not 0 <= vmpl <= VMPL_MAX:
            raise ValueError(f"{len(report_data)} bytes of report data at VMPL {vmpl}")
        lies = self._processor.lies
        if Misbehave.REPLAYED not in lies:
            return self._signed(report_data, vmpl)
        with self._lock:
            if self._replayed is None:
                self._replayed = self._signed(secrets.token_bytes(REPORT_DATA_BYTES), vmpl)
            return self._replayed

    @staticmethod
    def take_secret() -> bytes:
        """Nothing: SEV-SNP injects no secrets."""
        return b""

    def _signed(self, report_data: bytes, vmpl: int) -> bytes:
        lies = self._processor.lies
        stated = distort_report(replace(self._report, report_data=report_data, vmpl=vmpl), lies)
        return distort_encoded(sign_report(stated, self._processor.key).encode(), lies)


def _endorsements(installation: Installation, tcb: bytes, now: datetime, lies: Misbehave) -> Endorsements:
    if Misbehave.SELF_MADE_ROOT in lies:
        return installation.self_made(tcb, now)
    honest = installation.endorse(tcb, now)
    if Misbehave.REVOKED in lies:
        return replace(honest, crl=installation.sign_crl((VCEK_SERIAL,), now))
    return honest


def _policy_failure(what: str) -> HostError:
    return HostError(what, code="launch-policy", hint="launch with a guest policy that this platform can honour")


def _bad_id_block(what: str) -> HostError:
    return HostError(
        f"the ID block is refused: {what}", code="launch-id-block", hint="sign an ID block for exactly this launch"
    )
