"""The two fields of a TDX quote that its own guest compares: what it is launched for, and what it was asked over.

Nothing else is read, and nothing is believed: a quote is signed for others, who verify it. Sources: Intel TDX DCAP
Quoting Library API, appendix A (quote formats 4 and 5); Intel TDX Module ABI (348551), ``TDINFO_BASE``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

TDX_TYPE: Final = 0x81
"""TEE type in a quote's header; 0 is SGX."""

_HEADER: Final = struct.Struct("<HHI40x")  # version, type of the attestation key, TEE type
_BODY: Final = struct.Struct("<HI")  # format 5: type of the body, its size
_BODY_TYPES: Final = (2, 3)  # a TD report of TDX 1.0 and of 1.5, which is longer at its end
_FIELDS: Final = struct.Struct("<184x48s288x64s")  # MRCONFIGID, REPORTDATA


@dataclass(frozen=True, slots=True)
class TdxQuote:
    """MRCONFIGID (48 bytes) and REPORTDATA (64 bytes)."""

    config_id: bytes
    report_data: bytes


def read_quote(quote: bytes) -> TdxQuote | None:
    """The fields, or None when this is no quote of a TDX guest in a format that is known."""
    if len(quote) < _HEADER.size:
        return None
    version, _, kind = _HEADER.unpack_from(quote)
    start = _HEADER.size
    if version == 5 and len(quote) >= start + _BODY.size:
        body, _ = _BODY.unpack_from(quote, start)
        start += _BODY.size
        known = body in _BODY_TYPES
    else:
        known = version == 4
    if not known or kind != TDX_TYPE or len(quote) < start + _FIELDS.size:
        return None
    return TdxQuote(*_FIELDS.unpack_from(quote, start))
