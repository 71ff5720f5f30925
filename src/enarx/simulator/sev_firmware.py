"""SIMULATED SEV firmware: the commands of a launch and their state machines, after the SEV API specification (55766).

Guest states and the commands that they admit (3.2, 6.2 to 6.7)::

    UNINIT --LAUNCH_START--> LUPDATE --LAUNCH_MEASURE--> LSECRET --LAUNCH_FINISH--> RUNNING
                             LAUNCH_UPDATE_DATA, _VMSA   LAUNCH_SECRET

Key derivation and MACs (2.2) are written here from the specification, apart from the tenant's side of the same protocol
in ``enarx.evidence.sev``, so that a mistake in one does not meet itself in the other. What is simulated is the silicon:
guest memory is not encrypted, and everything the firmware guards lies open to whoever runs this process.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from enarx.errors import EvidenceError
from enarx.evidence.sev import signing
from enarx.evidence.sev.certs import SEV_CERTIFICATE_BYTES, SevCertificate, parse_sev_certificate
from enarx.evidence.sev.kinds import ECDH_ALGORITHMS, Usage
from enarx.simulator.sev_platform import Identity

SESSION: Final = struct.Struct("<16s32s16s32s32s")
"""Session buffer (6.2.1): nonce, wrapped keys, IV, MAC of the wrapped keys, MAC of the policy."""
HEADER: Final = struct.Struct("<I16s32s")
"""Packet header of LAUNCH_SECRET (table 55): flags, IV, MAC."""
BLOCK_BYTES: Final = 16
SECRET_MAX_BYTES: Final = 16 * 1024
VMSA_BYTES: Final = 4096
GUESTS_MAX: Final = 64
"""Guests at once (count); a platform has as many as it has ASIDs."""

NODBG, NOKS, ES, NOSEND = 1 << 0, 1 << 1, 1 << 2, 1 << 3


class Status(IntEnum):
    """Status codes (chapter 4, table 14) that a launch can end with."""

    INVALID_GUEST_STATE = 0x02
    INVALID_LENGTH = 0x04
    INVALID_CERTIFICATE = 0x06
    POLICY_FAILURE = 0x07
    INVALID_ADDRESS = 0x09
    BAD_MEASUREMENT = 0x0B
    INVALID_GUEST = 0x10
    UNSUPPORTED = 0x15
    RESOURCE_LIMIT = 0x17


class State(IntEnum):
    """GSTATE (chapter 3)."""

    LUPDATE = 1
    LSECRET = 2
    RUNNING = 3


class FirmwareError(Exception):
    """A command ended with another status than SUCCESS."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"SEV firmware (SIMULATED): {status.name} ({status:#04x})")
        self.status = status


@dataclass(frozen=True, slots=True)
class Version:
    """API version and build, as PLATFORM_STATUS says them; one byte each."""

    api_major: int = 1
    api_minor: int = 55
    build: int = 21

    def to_bytes(self) -> bytes:
        return bytes((self.api_major, self.api_minor, self.build))


@dataclass(slots=True)
class _Guest:
    policy: int
    tek: bytes = field(repr=False)
    tik: bytes = field(repr=False)
    state: State = State.LUPDATE
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    measure: bytes = b""
    memory: dict[int, bytes] = field(default_factory=dict, repr=False)


class SevFirmware:
    """The firmware of one platform, with the guests that it has."""

    def __init__(self, identity: Identity, version: Version | None = None) -> None:
        self._identity = identity
        self.version = version or Version()
        self._guests: dict[int, _Guest] = {}
        self._next = 1

    def pdh_cert_export(self) -> tuple[bytes, bytes]:
        """PDH_CERT_EXPORT (5.10): the PDH certificate, and PEK, OCA and CEK.

        The CEK comes with the ASK's signature; a real one is exported without, and its host gets it from AMD.
        """
        one = self._identity
        return one.pdh.to_bytes(), one.pek.to_bytes() + one.oca.to_bytes() + one.cek.to_bytes()

    def get_id(self) -> bytes:
        """GET_ID (5.14): 64 bytes."""
        return self._identity.chip_id

    def launch_start(self, policy: int, dh_cert: bytes, session: bytes) -> int:
        """LAUNCH_START (6.2) of a guest with a session; returns its handle."""
        if len(session) != SESSION.size or len(dh_cert) != SEV_CERTIFICATE_BYTES:
            raise FirmwareError(Status.INVALID_LENGTH)
        nonce, wrapped, iv, wrap_mac, policy_mac = SESSION.unpack(session)
        master = _derive(self._agree(dh_cert), b"sev-master-secret", nonce)
        if not hmac.compare_digest(_mac(_derive(master, b"sev-kik"), wrapped), wrap_mac):
            raise FirmwareError(Status.BAD_MEASUREMENT)
        keys = _ctr(_derive(master, b"sev-kek"), iv, wrapped)
        tek, tik = keys[:16], keys[16:]
        encoded = struct.pack("<I", policy)
        if not hmac.compare_digest(_mac(tik, encoded), policy_mac):
            raise FirmwareError(Status.BAD_MEASUREMENT)
        minimum = (policy >> 16 & 0xFF, policy >> 24)
        if minimum > (self.version.api_major, self.version.api_minor):
            raise FirmwareError(Status.POLICY_FAILURE)
        if len(self._guests) == GUESTS_MAX:
            raise FirmwareError(Status.RESOURCE_LIMIT)
        handle, self._next = self._next, self._next + 1
        self._guests[handle] = _Guest(policy, tek, tik)
        return handle

    def launch_update_data(self, handle: int, data: bytes) -> None:
        """LAUNCH_UPDATE_DATA (6.3): whole blocks of 16 bytes join the launch digest."""
        guest = self._in_state(handle, State.LUPDATE)
        if not data or len(data) % BLOCK_BYTES:
            raise FirmwareError(Status.INVALID_LENGTH)
        guest.digest.update(data)

    def launch_update_vmsa(self, handle: int, page: bytes) -> None:
        """LAUNCH_UPDATE_VMSA (6.4): the registers of one vCPU of a SEV-ES guest join the launch digest."""
        guest = self._in_state(handle, State.LUPDATE)
        if not guest.policy & ES:
            raise FirmwareError(Status.POLICY_FAILURE)
        if len(page) != VMSA_BYTES:
            raise FirmwareError(Status.INVALID_LENGTH)
        guest.digest.update(page)

    def launch_measure(self, handle: int) -> bytes:
        """LAUNCH_MEASURE (6.5): 32 bytes of HMAC and the nonce of 16 bytes in it."""
        guest = self._in_state(handle, State.LUPDATE)
        nonce = secrets.token_bytes(16)
        message = b"\x04" + self.version.to_bytes() + struct.pack("<I", guest.policy) + guest.digest.digest() + nonce
        guest.measure = _mac(guest.tik, message)
        guest.state = State.LSECRET
        return guest.measure + nonce

    def launch_secret(self, handle: int, header: bytes, data: bytes, address: int) -> None:
        """LAUNCH_SECRET (6.6): verify a packet and put its plaintext at a guest physical address."""
        if address % BLOCK_BYTES:
            raise FirmwareError(Status.INVALID_ADDRESS)
        if len(header) != HEADER.size or not data or len(data) % BLOCK_BYTES or len(data) > SECRET_MAX_BYTES:
            raise FirmwareError(Status.INVALID_LENGTH)
        guest = self._in_state(handle, State.LSECRET)
        flags, iv, mac = HEADER.unpack(header)
        lengths = struct.pack("<II", len(data), len(data))
        message = b"\x01" + struct.pack("<I", flags) + iv + lengths + data + guest.measure
        if not hmac.compare_digest(_mac(guest.tik, message), mac):
            raise FirmwareError(Status.BAD_MEASUREMENT)
        if flags & 1:  # compressed
            raise FirmwareError(Status.UNSUPPORTED)
        guest.memory[address] = _ctr(guest.tek, iv, data)

    def launch_finish(self, handle: int) -> None:
        """LAUNCH_FINISH (6.7): the guest may run, and the transport keys are gone."""
        guest = self._in_state(handle, State.LSECRET)
        guest.tek = guest.tik = b""
        guest.state = State.RUNNING

    def guest_status(self, handle: int) -> tuple[int, State]:
        """GUEST_STATUS (5.17): policy and state."""
        guest = self._guest(handle)
        return guest.policy, guest.state

    def decommission(self, handle: int) -> None:
        """DECOMMISSION (5.18): forget a guest."""
        self._guest(handle)
        del self._guests[handle]

    def read_memory(self, handle: int, address: int) -> bytes:
        """What a running guest finds where something was injected; nothing elsewhere."""
        return self._in_state(handle, State.RUNNING).memory.get(address, b"")

    def _agree(self, dh_cert: bytes) -> bytes:
        """The x coordinate of the ECDH of the owner's key and the PDH (2.2.1)."""
        try:
            certificate: SevCertificate = parse_sev_certificate(dh_cert)
            fits = certificate.usage is Usage.PDH and certificate.algorithm in ECDH_ALGORITHMS
            key = signing.ecdh_key(certificate)
            if not fits or key.curve.name != self._identity.pdh_key.curve.name:
                raise FirmwareError(Status.INVALID_CERTIFICATE)
            return self._identity.pdh_key.exchange(ec.ECDH(), key)
        except (EvidenceError, ValueError) as error:
            raise FirmwareError(Status.INVALID_CERTIFICATE) from error

    def _guest(self, handle: int) -> _Guest:
        guest = self._guests.get(handle)
        if guest is None:
            raise FirmwareError(Status.INVALID_GUEST)
        return guest

    def _in_state(self, handle: int, state: State) -> _Guest:
        guest = self._guest(handle)
        if guest.state is not state:
            raise FirmwareError(Status.INVALID_GUEST_STATE)
        return guest


def _derive(secret: bytes, label: bytes, context: bytes = b"") -> bytes:
    """NIST SP 800-108 in counter mode, HMAC-SHA256, 128 bits; counter and length little-endian (2.2.2)."""
    return _mac(secret, b"\x01\0\0\0" + label + b"\0" + context + b"\x80\0\0\0")[:16]


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CTR(iv)).decryptor()
    return decryptor.update(data) + decryptor.finalize()
