"""What the tests of attesters share: the caller's data, a report over it, and pauses that only count."""

from __future__ import annotations

import os
import struct

from enarx.keep.tdxquote import TDX_TYPE

DATA = bytes(range(64))
CONFIG_ID = bytes(range(100, 148))


def report_over(data: bytes) -> bytes:
    report = bytearray(os.urandom(1184))
    report[0x50:0x90] = data
    return bytes(report)


def make_quote(
    config_id: bytes = CONFIG_ID, report_data: bytes = DATA, *, version: int = 4, kind: int = TDX_TYPE,
    body: int = 2,
) -> bytes:  # fmt: skip
    """A quote with nothing in it but two fields, and with no signature."""
    described = struct.pack("<HI", body, 584) if version == 5 else b""
    fields = bytes(184) + config_id + bytes(288) + report_data
    return struct.pack("<HHI40x", version, 2, kind) + described + fields + bytes(4)


class Pauses(list[float]):
    """Stands in for the clock: remembers how long it was asked to sleep."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)
