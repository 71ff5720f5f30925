"""Secrets for injection into a guest before it runs: the table the guest reads, and the packet the firmware opens.

The table is what OVMF hands on and Linux ``efi_secret`` reads (Linux ``Documentation/security/secrets/coco.rst``)::

    table GUID 16   length u32   then per secret:   GUID 16   length u32   data        zero padding to 16 bytes

Both lengths count their own header; the padding is outside the table's length. GUIDs are stored little-endian.

The packet is LAUNCH_SECRET's (SEV API 55766, 6.6)::

    mac = HMAC-SHA256(TIK, 0x01 || flags || iv || guest length || transport length || data || measure)

``measure`` is in it from API 0.17 on, which ties the secret to the measured launch. Older firmware is not served.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from enarx.errors import MalformedError
from enarx.evidence.sev.report import SecretHeader
from enarx.evidence.sev.session import aes_ctr

SECRET_TABLE_GUID = UUID("1e74f542-71dd-4d66-963e-ef4287ff173b")
DISK_PASSPHRASE_GUID = UUID("736869e5-84f0-4973-92ec-06879ce3da0b")
"""The disk passphrase that GRUB and ``efi_secret`` users look for."""

BLOCK_BYTES = 16
"""Guest address and length of LAUNCH_SECRET are multiples of this."""
MAX_SECRET_BYTES = 16 * 1024
"""Most that one LAUNCH_SECRET takes, padding included (SEV API 55766, 6.6)."""
MAX_SECRETS = 64
"""Entries that Linux ``efi_secret`` shows at most."""
SECRET_CONTEXT = b"\x01"

_HEADER = struct.Struct("<16sI")
_LENGTHS = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class SecretPacket:
    """What the host passes to LAUNCH_SECRET: the header (52 bytes) and the encrypted table."""

    header: SecretHeader
    payload: bytes


def build_table(secrets: Mapping[UUID, bytes]) -> bytes:
    """The secret table, padded to 16 bytes, entries in the mapping's order.

    Raises MalformedError when there is no secret, or more than one LAUNCH_SECRET takes.
    """
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise _table(f"{len(secrets)} secrets; a table has 1 to {MAX_SECRETS}")
    if SECRET_TABLE_GUID in secrets:
        raise _table("the GUID of the table itself cannot name a secret")
    entries = b"".join(_entry(guid, data) for guid, data in secrets.items())
    table = _entry(SECRET_TABLE_GUID, entries)
    padded = table + bytes(-len(table) % BLOCK_BYTES)
    if len(padded) > MAX_SECRET_BYTES:
        raise _table(f"the table has {len(padded)} bytes, one injection takes {MAX_SECRET_BYTES}")
    return padded


def parse_table(data: bytes) -> dict[UUID, bytes]:
    """The secrets of a table as a guest reads it; raises MalformedError."""
    if len(data) > MAX_SECRET_BYTES:
        raise _table(f"{len(data)} bytes is more than the {MAX_SECRET_BYTES} that one injection takes")
    guid, entries, rest = _take(data)
    if guid != SECRET_TABLE_GUID:
        raise _table(f"the table begins with {guid}")
    if any(rest):
        raise _table("something follows the table")
    found: dict[UUID, bytes] = {}
    for name, value in _entries(entries):
        if name in found:
            raise _table(f"secret {name} is there twice")
        found[name] = value
        if len(found) > MAX_SECRETS:
            raise _table(f"more than {MAX_SECRETS} secrets")
    return found


def seal(*, tek: bytes, tik: bytes, measure: bytes, iv: bytes, data: bytes, flags: int = 0) -> SecretPacket:
    """Encrypt and authenticate ``data`` for LAUNCH_SECRET, tied to the 32-byte ``measure`` of the launch.

    The length must be a multiple of 16 up to 16 KiB; compression (``flags`` bit 0) is not done here. Callers have
    verified the measurement: ``package_secret`` of ``launch`` sees to that.
    """
    if not data or len(data) % BLOCK_BYTES or len(data) > MAX_SECRET_BYTES:
        raise MalformedError(
            f"LAUNCH_SECRET takes a multiple of {BLOCK_BYTES} up to {MAX_SECRET_BYTES} bytes, not {len(data)}",
            code="sev-secret-length",
            hint="build the table with build_table, which pads",
        )
    payload = aes_ctr(tek, iv, data)
    mac = secret_mac(tik=tik, measure=measure, iv=iv, payload=payload, flags=flags)
    return SecretPacket(SecretHeader(flags, iv, mac), payload)


def secret_mac(*, tik: bytes, measure: bytes, iv: bytes, payload: bytes, flags: int) -> bytes:
    """The 32-byte MAC of a packet header; guest and transport length are the same without compression."""
    lengths = _LENGTHS.pack(len(payload), len(payload))
    message = SECRET_CONTEXT + flags.to_bytes(4, "little") + iv + lengths + payload + measure
    return hmac.digest(tik, message, "sha256")


def _entry(guid: UUID, data: bytes) -> bytes:
    return _HEADER.pack(guid.bytes_le, _HEADER.size + len(data)) + data


def _entries(data: bytes) -> Iterator[tuple[UUID, bytes]]:
    while data:
        guid, value, data = _take(data)
        yield guid, value


def _take(data: bytes) -> tuple[UUID, bytes, bytes]:
    if len(data) < _HEADER.size:
        raise _table(f"{len(data)} bytes are left where an entry should begin")
    guid, length = _HEADER.unpack_from(data)
    if not _HEADER.size <= length <= len(data):
        raise _table(f"an entry says that it has {length} bytes, {len(data)} are there")
    return UUID(bytes_le=guid), data[_HEADER.size : length], data[length:]


def _table(message: str) -> MalformedError:
    return MalformedError(
        f"secret table: {message}",
        code="sev-secret-table",
        hint="at most 64 secrets and 16 KiB, each under its own GUID",
    )
