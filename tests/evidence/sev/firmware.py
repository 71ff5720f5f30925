"""The other side of a SEV launch, for tests: what the firmware does with a session, a measurement and a secret.

Written from the specification's byte layouts (SEV API 55766, 2.2, 6.2, 6.5, 6.6) and nothing of the code under test.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

PDH_USAGE, ECDH_SHA256 = 0x1003, 0x3


class FirmwareError(Exception):
    """A command's status other than success."""


def _kdf(key: bytes, label: str, context: bytes) -> bytes:
    message = b"\x01\0\0\0" + label.encode() + b"\0" + context + (128).to_bytes(4, "little")
    return hmac.new(key, message, hashlib.sha256).digest()[:16]


def _ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CTR(iv)).decryptor()
    return decryptor.update(data) + decryptor.finalize()


@dataclass
class Firmware:
    """One guest on one platform, from LAUNCH_START to LAUNCH_SECRET."""

    pdh_key: ec.EllipticCurvePrivateKey
    version: bytes = bytes((1, 51, 3))
    tek: bytes = field(default=b"", repr=False)
    tik: bytes = field(default=b"", repr=False)
    policy: bytes = b""
    measure: bytes = b""

    def launch_start(self, godh: bytes, session: bytes, policy: int) -> None:
        if len(godh) != 2084 or len(session) != 128:
            raise FirmwareError("INVALID_LENGTH")
        version, usage, algorithm = (int.from_bytes(godh[at : at + 4], "little") for at in (0, 8, 12))
        if (version, usage, algorithm) != (1, PDH_USAGE, ECDH_SHA256):
            raise FirmwareError("INVALID_CERTIFICATE")
        number = int.from_bytes(godh[16:20], "little")
        curve: ec.EllipticCurve = {1: ec.SECP256R1(), 2: ec.SECP384R1()}[number]
        x, y = int.from_bytes(godh[20:92], "little"), int.from_bytes(godh[92:164], "little")
        owner = ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
        nonce, wrapped, iv = session[:16], session[16:48], session[48:64]
        master = _kdf(self.pdh_key.exchange(ec.ECDH(), owner), "sev-master-secret", nonce)
        if hmac.new(_kdf(master, "sev-kik", b""), wrapped, hashlib.sha256).digest() != session[64:96]:
            raise FirmwareError("BAD_MEASUREMENT")
        keys = _ctr(_kdf(master, "sev-kek", b""), iv, wrapped)
        self.tek, self.tik = keys[:16], keys[16:]
        self.policy = policy.to_bytes(4, "little")
        if hmac.new(self.tik, self.policy, hashlib.sha256).digest() != session[96:128]:
            raise FirmwareError("POLICY_FAILURE")

    def launch_measure(self, contents: bytes, mnonce: bytes = bytes(range(16))) -> bytes:
        digest = hashlib.sha256(contents).digest()
        message = b"\x04" + self.version + self.policy + digest + mnonce
        self.measure = hmac.new(self.tik, message, hashlib.sha256).digest()
        return self.measure + mnonce

    def launch_secret(self, header: bytes, payload: bytes) -> bytes:
        if len(header) != 52 or not payload or len(payload) % 16 or len(payload) > 16384:
            raise FirmwareError("INVALID_LENGTH")
        length = len(payload).to_bytes(4, "little")
        message = b"\x01" + header[:20] + length + length + payload + self.measure
        if hmac.new(self.tik, message, hashlib.sha256).digest() != header[20:]:
            raise FirmwareError("BAD_MEASUREMENT")
        return _ctr(self.tek, header[4:20], payload)
