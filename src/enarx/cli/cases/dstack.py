"""Launch parameters inside a dstack attestation: what its verifier recomputes the SNP measurement from.

The attestation is hex in JSON; somewhere inside it is a JSON configuration whose ``sev_snp_measurement`` holds, as JSON
once more, vCPU count, type and guest features, and in base64 a CBOR map (RFC 8949) with the digests of firmware, kernel
and initrd, the command line, and the firmware's SEV metadata. ``mr_config`` is what HOST_DATA is the digest of.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enarx.errors import MalformedError
from enarx.evidence.hashtable import TABLE_BYTES, KernelHashes, cmdline_digest
from enarx.evidence.ovmf import Layout, Section
from enarx.evidence.snp.measure import MeasuredFirmware, launch_digest
from enarx.evidence.vcpu import vcpu_signature
from enarx.evidence.vmsa import Vcpus, Vmm

DOCUMENT_MAX_BYTES = 1 << 20
"""Largest document that is read (bytes)."""
SECTIONS_MAX = 64
"""Metadata sections of a firmware (count)."""
_DEPTH_MAX = 8
_HOST_DATA_DOMAIN = b"dstack-mr-config-v3:\0"
_MARKER = b'"sev_snp_measurement"'


@dataclass(frozen=True, slots=True)
class Launch:
    """What a guest was launched with, as digests. ``host_data`` is the digest that binds its configuration."""

    firmware: MeasuredFirmware
    vcpus: Vcpus
    kernel: KernelHashes
    host_data: bytes | None

    def measurement(self) -> bytes:
        """The launch digest (48 bytes) that the report must carry."""
        return launch_digest(self.firmware, self.vcpus, self.kernel)


def read(document: bytes) -> Launch:
    """Read an attestation document; MalformedError when it does not hold what is described above."""
    if len(document) > DOCUMENT_MAX_BYTES:
        raise _malformed(f"more than {DOCUMENT_MAX_BYTES} bytes")
    try:
        outer = json.loads(document)
        blob = bytes.fromhex(outer["attestation"])
        config = _configuration(blob)
        stated = json.loads(config["sev_snp_measurement"])
        measured = _cbor(base64.b64decode(stated["measurement"], validate=True))
        return _launch(stated, measured, config.get("mr_config"))
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, binascii.Error) as error:
        raise _malformed(f"{type(error).__name__}: {error}") from error


def _configuration(blob: bytes) -> Mapping[str, Any]:
    """The JSON object around the marker: the nearest brace before it from which an object can be read."""
    marker = blob.find(_MARKER)
    at = marker
    decoder = json.JSONDecoder()
    while marker >= 0 and (at := blob.rfind(b"{", 0, at)) >= 0:
        try:
            found, _ = decoder.raw_decode(blob[at:].decode("latin-1"))
        except ValueError:
            continue
        if isinstance(found, dict) and "sev_snp_measurement" in found:
            return found
    raise _malformed("no launch parameters in it")


def _launch(stated: Mapping[str, Any], measured: Any, mr_config: object) -> Launch:
    sections = measured["ovmf_sections"]
    if len(sections) > SECTIONS_MAX:
        raise _malformed(f"more than {SECTIONS_MAX} firmware sections")
    layout = Layout(
        reset_eip=int(measured["reset_eip"]),
        hash_table=(int(measured["hashes_table_gpa"]), TABLE_BYTES),
        sections=tuple(Section(int(one["gpa"]), int(one["size"]), int(one["type"])) for one in sections),
    )
    return Launch(
        firmware=MeasuredFirmware(bytes(measured["ovmf_hash"]), layout),
        vcpus=Vcpus(
            int(stated["vcpus"]), vcpu_signature(str(stated["vcpu_type"])), int(stated["guest_features"]), Vmm.QEMU
        ),
        kernel=KernelHashes(
            bytes(measured["kernel_hash"]), bytes(measured["initrd_hash"]), cmdline_digest(str(measured["cmdline"]))
        ),
        host_data=hashlib.sha256(_HOST_DATA_DOMAIN + str(mr_config).encode()).digest() if mr_config else None,
    )


def _cbor(data: bytes) -> Any:
    value, at = _cbor_item(data, 0, 0)
    if at != len(data):
        raise _malformed("trailing bytes after CBOR")
    return value


def _cbor_item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """One definite-length item of major types 0 and 2 to 5."""
    if depth > _DEPTH_MAX:
        raise _malformed("CBOR nested too deeply")
    kind, argument = data[at] >> 5, data[at] & 0x1F
    at += 1
    if argument >= 24:
        if argument > 27:
            raise _malformed("indefinite or reserved CBOR length")
        size = 1 << (argument - 24)
        if at + size > len(data):
            raise _malformed("truncated CBOR")
        argument, at = int.from_bytes(data[at : at + size], "big"), at + size
    if kind == 0:
        return argument, at
    if argument > len(data):
        raise _malformed("CBOR longer than its document")
    if kind in (2, 3):
        text = data[at : at + argument]
        if len(text) != argument:
            raise _malformed("truncated CBOR")
        return text if kind == 2 else text.decode(), at + argument
    items: list[Any] = []
    for _ in range(argument * (2 if kind == 5 else 1)):
        item, at = _cbor_item(data, at, depth + 1)
        items.append(item)
    if kind == 4:
        return items, at
    if kind == 5:
        return dict(zip(items[::2], items[1::2], strict=True)), at
    raise _malformed(f"CBOR major type {kind}")


def _malformed(what: str) -> MalformedError:
    return MalformedError(
        f"not a dstack attestation with launch parameters: {what}", code="malformed", hint="check the file"
    )
