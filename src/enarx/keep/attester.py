"""Evidence from inside the guest: the best way that this machine offers, behind one method.

Each way has a module of its own: ``attester_tsm`` (configfs-tsm), ``attester_sev_guest`` (ioctls, on older kernels).
"""

from __future__ import annotations

import os

from enarx.keep.attester_sev_guest import SEV_GUEST, SevGuestAttester
from enarx.keep.attester_tsm import TSM_ROOT, TsmAttester
from enarx.keep.attesting import (
    BLOB_MAX_BYTES,
    REPORT_DATA_BYTES,
    SNP_REPORT_BYTES,
    Attester,
    RawEvidence,
    unavailable,
)

__all__ = [
    "BLOB_MAX_BYTES",
    "REPORT_DATA_BYTES",
    "SEV_GUEST",
    "SNP_REPORT_BYTES",
    "TSM_ROOT",
    "Attester",
    "RawEvidence",
    "SevGuestAttester",
    "TsmAttester",
    "find_attester",
]


def find_attester(root: str = TSM_ROOT, device: str = SEV_GUEST) -> Attester:
    """The best way to evidence that this machine offers; EvidenceError (``attester-unavailable``) when it has none."""
    if os.path.isdir(root):
        return TsmAttester(root)
    if os.path.exists(device):
        return SevGuestAttester(device)
    raise unavailable(f"neither {root} nor {device} exists")
