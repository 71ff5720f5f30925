"""The firmware of a Keep's image: what it can be launched as, read from its own tables.

The TDX metadata is found like that of SEV, by a GUIDed entry with its distance from the end of the image. Source: Intel
TDX Virtual Firmware Design Guide (344991), 11; EDK II ``OvmfPkg/ResetVector/X64/IntelTdxMetadata.asm``.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from enarx.errors import EnarxError
from enarx.evidence.ovmf import SectionType, parse_firmware
from enarx.host.platform.machine import FILE_MAX_BYTES, Machine

TDX_METADATA: Final = UUID("e47a6535-984a-4798-865e-4685a7bf8ec2")
_U32: Final = struct.Struct("<I")
_SIGNATURE: Final = b"TDVF"


@dataclass(frozen=True, slots=True)
class FirmwareFacts:
    """Why it cannot be used at all, or nothing; then what it is built for.

    ``hash_table``: whether it checks kernel, initrd and command line against hashes that a launch of SEV or SEV-ES
    measured; ``snp_hashes`` says the same of SEV-SNP.
    """

    path: str
    failure: str = ""
    hash_table: bool = False
    sev_es: bool = False
    snp: bool = False
    snp_hashes: bool = False
    tdx: bool = False


def read_firmware(path: str) -> FirmwareFacts:
    """The firmware at ``path``, a file of whoever launches; an empty path is of no file."""
    data = Machine().head(os.path.abspath(path), FILE_MAX_BYTES + 1) if path else None
    if data is None:
        return FirmwareFacts(path, "there is no such file, or it may not be read")
    try:
        firmware = parse_firmware(data)
    except EnarxError as error:
        return FirmwareFacts(path, error.message)
    layout = firmware.layout
    kinds = {section.kind for section in layout.sections or ()}
    return FirmwareFacts(
        path,
        hash_table=layout.hash_table is not None,
        sev_es=layout.reset_eip is not None,
        snp=SectionType.CPUID in kinds and SectionType.SNP_SECRETS in kinds,
        snp_hashes=SectionType.KERNEL_HASHES in kinds,
        tdx=_has_tdx_metadata(data, firmware.table.get(TDX_METADATA)),
    )


def _has_tdx_metadata(data: bytes, entry: bytes | None) -> bool:
    if entry is None or len(entry) < _U32.size:
        return False
    start = len(data) - int(_U32.unpack_from(entry)[0])
    return start >= 0 and data[start : start + 4] == _SIGNATURE
