"""The certificate table that a host passes along with an extended guest request.

Source: Guest-Hypervisor Communication Block standardization (56421) revision 2.03, section 4.1.8.1: entries of a GUID,
a 32-bit offset and a 32-bit length, ended by an entry of zeros. Offsets count from the start of the table. Hosts in use
store the GUID in the order in which it is written; the known ones are also recognised with little-endian fields. The
table comes from the host and every byte of it is hostile.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from enarx.errors import MalformedError
from enarx.evidence.snp.abi import SIGNED_BY_VLEK

TABLE_MAX_BYTES = 64 * 1024
"""Largest table that is read (bytes). Linux guests set aside 16 KiB."""
TABLE_MAX_ENTRIES = 32
"""Entries in a table (count)."""

VCEK_GUID = UUID("63da758d-e664-4564-adc5-f4b93be8accd")
VLEK_GUID = UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")
ASK_GUID = UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782")
"""ASK, and also ASVK: 56421 defines no other."""
ARK_GUID = UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae")
CRL_GUID = UUID("92f81bc3-5811-4d3d-97ff-d19f88dc67ea")

_NAMES = {VCEK_GUID: "VCEK", VLEK_GUID: "VLEK", ASK_GUID: "ASK", ARK_GUID: "ARK", CRL_GUID: "CRL"}
_ENTRY = struct.Struct("<16sII")


@dataclass(frozen=True, slots=True)
class CertTable:
    """The blobs of a table by GUID, in its order. Nothing about them is verified."""

    entries: Mapping[UUID, bytes]

    @property
    def endorsement(self) -> bytes | None:
        """The VCEK or VLEK certificate; None when the table has neither, MalformedError when it has both.

        ``endorsement_for`` chooses where the report is at hand.
        """
        if self.vcek is not None and self.vlek is not None:
            raise _bad("both a VCEK and a VLEK")
        return self.vcek if self.vcek is not None else self.vlek

    def endorsement_for(self, signing_key: int) -> bytes | None:
        """The certificate of the key that a report says it was signed with (``Report.signing_key``).

        A host may have both. The other one, where it is the only one, comes in its place and is refused by its content.
        """
        first, second = (self.vlek, self.vcek) if signing_key == SIGNED_BY_VLEK else (self.vcek, self.vlek)
        return first if first is not None else second

    @property
    def vcek(self) -> bytes | None:
        """The VCEK certificate, DER or PEM as the host loaded it."""
        return self.entries.get(VCEK_GUID)

    @property
    def vlek(self) -> bytes | None:
        """The VLEK certificate, DER or PEM as the host loaded it."""
        return self.entries.get(VLEK_GUID)

    @property
    def chain(self) -> tuple[bytes, ...]:
        """ASK (or ASVK) and ARK, as far as the table has them."""
        return tuple(self.entries[guid] for guid in (ASK_GUID, ARK_GUID) if guid in self.entries)

    @property
    def crls(self) -> tuple[bytes, ...]:
        """The revocation list, where the host passed one."""
        return (self.entries[CRL_GUID],) if CRL_GUID in self.entries else ()

    def names(self) -> tuple[str, ...]:
        """What the table holds, in words; unknown GUIDs as they are."""
        return tuple(_NAMES.get(guid, str(guid)) for guid in self.entries)


def parse(data: bytes) -> CertTable:
    """Read a certificate table; MalformedError when entries overlap the header, exceed the table or repeat."""
    if len(data) > TABLE_MAX_BYTES:
        raise MalformedError(
            f"a certificate table of {len(data)} bytes, more than {TABLE_MAX_BYTES}",
            code="too-long",
            hint="the host passed something else, or far too much",
        )
    found: list[tuple[UUID, int, int]] = []
    at = 0
    while True:
        if len(found) > TABLE_MAX_ENTRIES:
            raise _bad(f"more than {TABLE_MAX_ENTRIES} entries")
        if at + _ENTRY.size > len(data):
            raise _bad("no end entry")
        guid, offset, length = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        if not any(guid):
            if offset or length:
                raise _bad("an end entry that is not zero")
            break
        found.append((_guid(guid), offset, length))
    entries: dict[UUID, bytes] = {}
    for name, offset, length in found:
        if name in entries:
            raise _bad(f"{_NAMES.get(name, str(name))} twice")
        if offset < at or length == 0 or offset + length > len(data):
            raise _bad(f"{_NAMES.get(name, str(name))} outside the table")
        entries[name] = data[offset : offset + length]
    return CertTable(entries)


def encode(entries: Iterable[tuple[UUID, bytes]]) -> bytes:
    """The table of the given blobs, as a host would pass it."""
    listed = list(entries)
    offset = _ENTRY.size * (len(listed) + 1)
    head, body = b"", b""
    for guid, blob in listed:
        head += _ENTRY.pack(guid.bytes, offset + len(body), len(blob))
        body += blob
    return head + bytes(_ENTRY.size) + body


def _guid(stored: bytes) -> UUID:
    written, little_endian = UUID(bytes=stored), UUID(bytes_le=stored)
    return little_endian if written not in _NAMES and little_endian in _NAMES else written


def _bad(what: str) -> MalformedError:
    return MalformedError(
        f"malformed certificate table: {what}",
        code="malformed",
        hint="ask the guest for the extended report again, or give the certificates as files",
    )
