"""What the tests of attesters share: the caller's data, a report over it, and pauses that only count."""

from __future__ import annotations

import os

DATA = bytes(range(64))


def report_over(data: bytes) -> bytes:
    report = bytearray(os.urandom(1184))
    report[0x50:0x90] = data
    return bytes(report)


class Pauses(list[float]):
    """Stands in for the clock: remembers how long it was asked to sleep."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)
