"""The certificates that the host passes along with evidence, sorted for the Steward.

The host's table (GHCB standardization 56421 revision 2.03, 4.1.8.1) is entries of GUID, 32-bit offset and 32-bit
length, ended by an entry of zeros; certificates in it are DER or PEM. All of it is hostile. The Keep judges none of it:
it must only find its parts, for the verifier to judge, without being led outside the table.
"""

from __future__ import annotations

import ssl
import struct
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from enarx.errors import MalformedError

TABLE_MAX_BYTES: Final = 64 * 1024
"""Largest table that is read (bytes)."""
TABLE_MAX_ENTRIES: Final = 32
"""Entries in a table (count)."""

VCEK: Final = UUID("63da758d-e664-4564-adc5-f4b93be8accd")
VLEK: Final = UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")
ASK: Final = UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782")
ARK: Final = UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae")
CRL: Final = UUID("92f81bc3-5811-4d3d-97ff-d19f88dc67ea")
_KNOWN: Final = frozenset((VCEK, VLEK, ASK, ARK, CRL))

_ENTRY: Final = struct.Struct("<16sII")
_PEM: Final = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Endorsements:
    """``leaf`` is the VCEK or VLEK, ``chain`` what is above it (ASK, ARK), ``crls`` lists; all DER, none verified."""

    leaf: bytes
    chain: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()

    def distributed_crls(self) -> tuple[tuple[str, bytes], ...]:
        """The lists with the distribution point that the chain names, in the form of the evidence extension.

        AMD publishes one list per product, and its ASK says where. Without that there is nothing to call a list by, and
        the extension leaves it out; it is still in the request beside it.
        """
        points = (_distribution_point(certificate) for certificate in self.chain)
        point = next((found for found in points if found), "")
        return tuple((point, crl) for crl in self.crls) if point else ()


def read_table(table: bytes) -> Endorsements:
    """Sort a certificate table. Raises MalformedError (``endorsements``), also when there is no VCEK or VLEK in it."""
    entries = _entries(table)
    leaves = [entries[guid] for guid in (VCEK, VLEK) if guid in entries]
    if len(leaves) != 1:
        raise _bad(f"{'both a VCEK and a VLEK' if leaves else 'neither a VCEK nor a VLEK'}")
    chain = tuple(_der(entries[guid]) for guid in (ASK, ARK) if guid in entries)
    return Endorsements(_der(leaves[0]), chain, (entries[CRL],) if CRL in entries else ())


def _entries(table: bytes) -> dict[UUID, bytes]:
    if len(table) > TABLE_MAX_BYTES:
        raise _bad(f"{len(table)} bytes, more than {TABLE_MAX_BYTES}")
    listed: list[tuple[UUID, int, int]] = []
    at = 0
    while True:
        if at + _ENTRY.size > len(table) or len(listed) > TABLE_MAX_ENTRIES:
            raise _bad("no end entry" if len(listed) <= TABLE_MAX_ENTRIES else f"more than {TABLE_MAX_ENTRIES} entries")
        guid, offset, length = _ENTRY.unpack_from(table, at)
        at += _ENTRY.size
        if not any(guid):
            break
        listed.append((_guid(guid), offset, length))
    if offset or length:
        raise _bad("an end entry that is not zero")
    found: dict[UUID, bytes] = {}
    for name, offset, length in listed:
        if name in found or offset < at or length == 0 or offset + length > len(table):
            raise _bad(f"entry {name} is there twice, or lies outside the table")
        found[name] = table[offset : offset + length]
    return found


def _guid(stored: bytes) -> UUID:
    """As written, or with little-endian fields, as some hosts store it."""
    written, little_endian = UUID(bytes=stored), UUID(bytes_le=stored)
    return little_endian if written not in _KNOWN and little_endian in _KNOWN else written


def _der(certificate: bytes) -> bytes:
    if not certificate.lstrip().startswith(_PEM):
        return certificate
    try:
        return ssl.PEM_cert_to_DER_cert(certificate.decode("ascii").strip())
    except ValueError as error:
        raise _bad("a certificate that is neither DER nor PEM") from error


def _distribution_point(certificate: bytes) -> str:
    """The first URL of the certificate's CRL distribution points; nothing when it has none that can be read."""
    from cryptography import x509

    from enarx.keep.certified import unreadable

    try:
        points = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(
            x509.CRLDistributionPoints
        )
    except x509.ExtensionNotFound:
        return ""
    except unreadable():
        return ""
    names = [name for point in points.value for name in point.full_name or ()]
    urls = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    return urls[0] if urls and all(0x21 <= ord(char) <= 0x7E for char in urls[0]) else ""


def _bad(what: str) -> MalformedError:
    return MalformedError(
        f"the host's certificate table is not acceptable: {what}",
        code="endorsements",
        hint="the host must pass the processor's certificates with its extended report; see its configuration",
    )
