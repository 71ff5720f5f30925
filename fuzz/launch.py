"""Coverage-guided fuzzing of everything that a launch is measured from: firmware images, ID blocks, vCPUs, digests.

Run with ``python -m fuzz.launch CORPUS -runs=N``, or all targets with ``make fuzz``; see ``fuzz.harness``. Images that
parse are measured, so that what the metadata asks for is bounded too.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable

import atheris

with atheris.instrument_imports(include=["enarx"]):
    from enarx.cli.cases import dstack
    from enarx.errors import EnarxError
    from enarx.evidence import ovmf
    from enarx.evidence.hashtable import TABLE_BYTES, KernelHashes, cmdline_digest
    from enarx.evidence.launchfile import kernel_hashes
    from enarx.evidence.sev import measure as sev
    from enarx.evidence.snp import idblock
    from enarx.evidence.snp import measure as snp
    from enarx.evidence.vcpu import vcpu_signature
    from enarx.evidence.vmsa import Vcpus, vmm_by_name

from fuzz.harness import Reader, Seed, expect, fuzz
from tests.cli.cases.launch_document import MEASURED, cbor, launch_document
from tests.evidence.ovmf_images import HASH_TABLE, metadata, ovmf_image, table_entry
from tests.evidence.snp.forge import ec_key

VCPUS = Vcpus(1, vcpu_signature("EPYC-v4"))
KERNEL = kernel_hashes(b"", b"")
KNOWN_DIGEST = bytes(48)
SECTIONS_MEASURED_BYTES = 1 << 20
"""Images that ask for more are not measured here: up to 64 MiB are allowed, and take 10 ms each."""

VCPUS_MEASURED = 8
"""Guests with more vCPUs are not measured here: up to 4096 are allowed, each costs a page."""


def read_firmware(data: bytes) -> None:
    firmware = ovmf.parse_firmware(data)
    expect(sum(len(one) for one in firmware.table.values()) <= len(data))
    for use in (_measure_sev, _measure_es, _measure_snp, _measure_svsm):
        try:
            use(firmware)
        except EnarxError:
            continue


def _measure_sev(firmware: ovmf.Firmware) -> None:
    sev.launch_digest(firmware.data, KERNEL)


def _measure_es(firmware: ovmf.Firmware) -> None:
    sev.es_launch_digest(firmware.data, VCPUS)


def _measure_snp(firmware: ovmf.Firmware) -> None:
    snp.launch_digest(snp.MeasuredFirmware(KNOWN_DIGEST, _layout(firmware)), VCPUS, KERNEL)


def _measure_svsm(firmware: ovmf.Firmware) -> None:
    _layout(firmware)
    snp.svsm_launch_digest(firmware.data, firmware.data, 0, VCPUS)


def _layout(firmware: ovmf.Firmware) -> ovmf.Layout:
    sections = firmware.layout.sections or ()
    if sum(one.size for one in sections) > SECTIONS_MEASURED_BYTES:
        raise ovmf.bad_metadata("more than is measured while fuzzing")
    if firmware.layout.sections is not None:
        ovmf.check_sections(firmware.layout.sections, (0, 0))
    return firmware.layout


def read_tables(data: bytes) -> None:
    """Inputs that end as an image with a table does, so that the fuzzer need not find the footer's GUID."""
    at = data.find(b"ASEV")
    entries = [
        table_entry(ovmf.SEV_METADATA, (len(data) - at + 18 + 18 + 32).to_bytes(4, "little") if at >= 0 else data[:4]),
        data,
    ]
    footer = (18 + sum(map(len, entries)) & 0xFFFF).to_bytes(2, "little")
    read_firmware(b"".join(reversed(entries)) + footer + ovmf.TABLE_FOOTER.bytes_le + bytes(32))


def read_id_block(data: bytes) -> None:
    block = idblock.IdBlock.from_bytes(data)
    expect(block.to_bytes() == data)


def read_id_auth(data: bytes) -> None:
    auth = idblock.IdAuth.from_bytes(data)
    expect(auth.to_bytes() == data)
    idblock.verify(idblock.IdBlock(bytes(48)), auth)


def read_endorsement(data: bytes) -> None:
    expect(idblock.Endorsement.from_bytes(data).to_bytes() == data)


def read_public_key(data: bytes) -> None:
    expect(idblock.encode_public_key(idblock.decode_public_key(data)) == data)


def read_signature(data: bytes) -> None:
    idblock.decode_signature(data)


def read_vcpus(data: bytes) -> None:
    numbers = [int.from_bytes(data[i : i + 8], "little") for i in range(0, 24, 8)]
    vcpus = Vcpus(numbers[0], numbers[1], numbers[2], vmm_by_name(data[24:40].decode("latin-1")))
    if vcpus.count <= VCPUS_MEASURED:
        sev.es_launch_digest(IMAGE, vcpus)


def read_command_line(data: bytes) -> None:
    kernel = KernelHashes(bytes(32), bytes(32), cmdline_digest(data.decode("utf-8", "surrogateescape")))
    expect(len(kernel.table()) == TABLE_BYTES)


def read_dstack_document(data: bytes) -> None:
    dstack.read(data)


def read_dstack_measurement(data: bytes) -> None:
    """The CBOR map alone, so that the fuzzer need not write JSON, hexadecimal and base64 around it."""
    stated = {"vcpus": 1, "vcpu_type": "EPYC-v4", "guest_features": 1, "measurement": b64encode(data).decode()}
    inner = json.dumps({"sev_snp_measurement": json.dumps(stated)}).encode()
    dstack.read(json.dumps({"attestation": inner.hex()}).encode())


IMAGE = ovmf_image()
READERS: tuple[Reader, ...] = (
    read_firmware,
    read_tables,
    read_id_block,
    read_id_auth,
    read_endorsement,
    read_public_key,
    read_signature,
    read_vcpus,
    read_command_line,
    read_dstack_document,
    read_dstack_measurement,
)


def seeds() -> Iterable[Seed]:
    """Well-formed inputs of every kind."""
    id_key, author_key = ec_key("id"), ec_key("author")
    endorsement = idblock.endorse(author_key, id_key.public_key())
    block = idblock.IdBlock(bytes(48))
    auth = idblock.authorize(block, id_key, endorsement)
    hash_table = table_entry(ovmf.SEV_HASH_TABLE, b"".join(one.to_bytes(4, "little") for one in HASH_TABLE))
    return (
        (read_firmware, ovmf_image(pages=1)),
        (read_firmware, ovmf_image(pages=1, svsm_entry=0x10)),
        (read_tables, metadata(((0x80_0000, 0x1000, 1), (0x80_1000, 0x1000, 3))) + hash_table),
        (read_id_block, block.to_bytes()),
        (read_id_auth, auth.to_bytes()),
        (read_endorsement, endorsement.to_bytes()),
        (read_public_key, endorsement.author_key),
        (read_signature, endorsement.signature),
        (read_vcpus, b"".join(one.to_bytes(8, "little") for one in (2, 0x800F12, 1)) + b"QEMU"),
        (read_command_line, b"console=ttyS0"),
        (read_dstack_document, launch_document()),
        (read_dstack_measurement, cbor(MEASURED)),
    )


if __name__ == "__main__":
    fuzz(READERS, seeds)
