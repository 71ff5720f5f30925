"""The tenant's side of LAUNCH_START: keys for one guest, wrapped so that only one platform can read them.

Source: SEV API 55766, section 2.2 (key derivation and transport keys) and 6.2 (LAUNCH_START). With Z the x coordinate
of the ECDH of the guest owner's key and the platform's PDH::

    master = KDF(Z, "sev-master-secret", nonce)      wrap_tk    = AES-128-CTR(KEK, wrap_iv, TEK || TIK)
    KEK    = KDF(master, "sev-kek", "")              wrap_mac   = HMAC-SHA256(KIK, wrap_tk)
    KIK    = KDF(master, "sev-kik", "")              policy_mac = HMAC-SHA256(TIK, policy)

KDF is NIST SP 800-108 in counter mode with HMAC-SHA256, but with little-endian counter and length.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from enarx.errors import MalformedError
from enarx.evidence.authentic import Authentic
from enarx.evidence.sev import signing
from enarx.evidence.sev.authenticate import Platform
from enarx.evidence.sev.certs import SevCertificate
from enarx.evidence.sev.guest_policy import GuestPolicy
from enarx.evidence.sev.keys import KEY_BYTES, TransportKeys
from enarx.evidence.sev.kinds import Algorithm, Usage
from enarx.evidence.sev.report import IV_BYTES, NONCE_BYTES, Session

MASTER_SECRET_LABEL = b"sev-master-secret"
KEK_LABEL = b"sev-kek"
KIK_LABEL = b"sev-kik"

Entropy: TypeAlias = Callable[[int], bytes]
"""Gives that many random bytes; ``secrets.token_bytes`` outside tests."""


@dataclass(frozen=True, slots=True)
class PendingLaunch:
    """The tenant's half of a launch until its measurement arrives.

    Made by ``start_session``, or from stored keys when the tenant's program ended in between. ``platform`` is the one
    the session was made for: no other can open it.
    """

    policy: GuestPolicy
    platform: Authentic[Platform]
    keys: TransportKeys = field(repr=False)


@dataclass(frozen=True, slots=True)
class StartedLaunch:
    """What the host needs for LAUNCH_START (``godh``, ``session`` and the policy), and what the tenant keeps.

    ``godh`` is the guest owner's Diffie-Hellman certificate (QEMU ``dh-cert-file``).
    """

    godh: SevCertificate
    session: Session
    pending: PendingLaunch


def start_session(
    platform: Authentic[Platform],
    policy: GuestPolicy,
    entropy: Entropy = secrets.token_bytes,
    owner_key: ec.EllipticCurvePrivateKey | None = None,
) -> StartedLaunch:
    """Make the session of one launch on a verified platform.

    ``owner_key`` is the guest owner's key on the curve of the PDH, new for each launch when None. Raises
    MalformedError for a policy with reserved bits or a key on another curve.
    """
    if policy.reserved:
        raise MalformedError(
            f"reserved bits {policy.reserved:#x} of the guest policy are set",
            code="sev-policy-reserved",
            hint="bits 6 to 15 must be zero; firmware refuses the launch otherwise",
        )
    pdh = signing.ecdh_key(platform.value.pdh)
    key = owner_key or ec.generate_private_key(pdh.curve)
    if key.curve.name != pdh.curve.name:
        raise MalformedError(
            f"the guest owner's key is on {key.curve.name}, the platform's on {pdh.curve.name}",
            code="sev-curve-mismatch",
            hint="make a key on the platform's curve, or let this function make one",
        )
    tek, tik = entropy(KEY_BYTES), entropy(KEY_BYTES)
    session = wrap_keys(
        shared_secret=key.exchange(ec.ECDH(), pdh),
        tek=tek,
        tik=tik,
        policy=policy,
        nonce=entropy(NONCE_BYTES),
        iv=entropy(IV_BYTES),
    )
    godh = owner_certificate(key.public_key(), platform.value.api)
    return StartedLaunch(godh, session, PendingLaunch(policy, platform, TransportKeys(tek, tik)))


def owner_certificate(key: ec.EllipticCurvePublicKey, api: tuple[int, int]) -> SevCertificate:
    """The guest owner's Diffie-Hellman certificate: a PDH certificate without signatures.

    The firmware reads usage, algorithm and key of it and no signature (SEV API 55766, 6.2): what proves that the right
    owner made the session is that the owner alone knows the transport keys.
    """
    return SevCertificate(
        api_major=api[0],
        api_minor=api[1],
        usage=Usage.PDH,
        algorithm=Algorithm.ECDH_SHA256,
        key_blob=signing.key_blob(key),
    )


def wrap_keys(*, shared_secret: bytes, tek: bytes, tik: bytes, policy: GuestPolicy, nonce: bytes, iv: bytes) -> Session:
    """The session buffer for given keys, nonce and IV (16 bytes each); ``shared_secret`` is Z, big-endian."""
    master = derive_key(shared_secret, MASTER_SECRET_LABEL, nonce)
    kek, kik = derive_key(master, KEK_LABEL), derive_key(master, KIK_LABEL)
    wrapped = aes_ctr(kek, iv, tek + tik)
    return Session(
        nonce=nonce,
        wrap_tk=wrapped,
        wrap_iv=iv,
        wrap_mac=hmac.digest(kik, wrapped, "sha256"),
        policy_mac=hmac.digest(tik, policy.to_bytes(), "sha256"),
    )


def derive_key(secret: bytes, label: bytes, context: bytes = b"") -> bytes:
    """128 bits of SP 800-108 counter-mode KDF: one round of HMAC-SHA256 over 1, label, 0, context and 128."""
    message = struct.pack("<I", 1) + label + b"\0" + context + struct.pack("<I", 8 * KEY_BYTES)
    return hmac.digest(secret, message, "sha256")[:KEY_BYTES]


def aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    """AES-128 in counter mode, which encrypts and decrypts alike."""
    cipher = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()
