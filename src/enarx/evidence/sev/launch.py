"""From a started launch to a secret inside the guest: measurement first, policy second, secret last.

Source: SEV API 55766, 6.5 (LAUNCH_MEASURE) and 6.6 (LAUNCH_SECRET). The measurement is an HMAC under the TIK, which
the guest owner and the platform's firmware alone know::

    measure = HMAC-SHA256(TIK, 0x04 || api major || api minor || build || policy || launch digest || mnonce)

The types keep the order: ``PendingLaunch`` -> ``verify_launch`` -> ``VerifiedLaunch`` -> ``package_secret``. Each step
spends the keys of the one before, whether it succeeds or not.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from enarx.errors import AuthenticityError, MalformedError
from enarx.evidence.appraisal import Rule
from enarx.evidence.authentic import Authentic, vouch
from enarx.evidence.sev.appraise import Policy, appraise
from enarx.evidence.sev.guest_policy import GuestPolicy
from enarx.evidence.sev.keys import TransportKeys
from enarx.evidence.sev.report import DIGEST_BYTES, IV_BYTES, FirmwareVersion, Launch, LaunchMeasurement
from enarx.evidence.sev.secret import SecretPacket, build_table, seal
from enarx.evidence.sev.session import Entropy, PendingLaunch

MEASURE_CONTEXT = b"\x04"
MAX_DIGESTS = 1024
"""Launch digests tried for one measurement."""


@dataclass(frozen=True, slots=True)
class VerifiedLaunch:
    """A launch whose measurement verified, with the keys that are left for injecting a secret, once."""

    launch: Authentic[Launch]
    keys: TransportKeys = field(repr=False)


def measurement_mac(tik: bytes, firmware: FirmwareVersion, policy: GuestPolicy, digest: bytes, mnonce: bytes) -> bytes:
    """The 32 bytes that LAUNCH_MEASURE returns for a launch digest of 32 bytes and a nonce of 16."""
    message = MEASURE_CONTEXT + firmware.to_bytes() + policy.to_bytes() + digest + mnonce
    return hmac.digest(tik, message, "sha256")


def find_digest(
    tik: bytes,
    firmware: FirmwareVersion,
    policy: GuestPolicy,
    digests: Iterable[bytes],
    measurement: LaunchMeasurement,
) -> bytes:
    """The one of the given launch digests that the measurement was made over; compared in constant time.

    Raises AuthenticityError when it is none of them: other contents, firmware or policy than said, or not this TIK.
    """
    for tried, digest in enumerate(digests):
        if tried == MAX_DIGESTS:
            raise MalformedError(
                f"more than {MAX_DIGESTS} launch digests for one measurement",
                code="sev-digest-count",
                hint="name the digests of the images in use",
            )
        if len(digest) != DIGEST_BYTES:
            raise MalformedError(
                f"a SEV launch digest has {DIGEST_BYTES} bytes, this has {len(digest)}",
                code="sev-digest-length",
                hint="SEV and SEV-ES launch digests are SHA-256; 48 bytes belong to SEV-SNP",
            )
        expected = measurement_mac(tik, firmware, policy, digest, measurement.mnonce)
        if hmac.compare_digest(expected, measurement.measure):
            return digest
    raise AuthenticityError(
        "the measurement fits none of the expected launch digests",
        code="bad-measurement",
        hint="firmware image, kernel, initrd, command line, guest policy, firmware version or session differ from "
        "what was expected; do not inject a secret",
    )


def verify_launch(
    pending: PendingLaunch,
    measurement: LaunchMeasurement,
    firmware: FirmwareVersion,
    digests: Iterable[bytes],
    now: datetime,
) -> VerifiedLaunch:
    """Verify the measurement of a launch; ``firmware`` is what the host says, and is verified with it.

    Spends ``pending.keys``: a launch that failed is started anew. Raises AuthenticityError.
    """
    with pending.keys.spend() as (tek, tik):
        digest = find_digest(tik, firmware, pending.policy, digests, measurement)
        left = TransportKeys(tek, tik)
    platform = pending.platform
    launch = Launch(
        product=platform.value.product,
        firmware=firmware,
        policy=pending.policy,
        digest=digest,
        measurement=measurement,
        owner_sha256=hashlib.sha256(platform.value.oca.to_bytes()).digest(),
    )
    check = Rule("launch-measurement", True, digest.hex(), digest.hex(), "HMAC under the TIK of the session")
    proof = replace(platform.proof, signer="TIK", verified_at=now, checks=(*platform.proof.checks, check))
    return VerifiedLaunch(vouch(launch, proof), left)


def package_secret(
    verified: VerifiedLaunch,
    policy: Policy,
    table: Mapping[UUID, bytes],
    entropy: Entropy = secrets.token_bytes,
) -> SecretPacket:
    """Seal secrets for a verified launch that the policy accepts, once.

    Raises PolicyError when the policy refuses (the keys are spent all the same), MalformedError for a table that does
    not fit into one injection (the keys are not spent), AuthenticityError when the keys are spent.
    """
    data = build_table(table)
    with verified.keys.spend() as (tek, tik):
        appraise(verified.launch, policy).require()
        measure = verified.launch.value.measurement.measure
        return seal(tek=tek, tik=tik, measure=measure, iv=entropy(IV_BYTES), data=data)
