"""What a guest says on its serial console, and QEMU on its standard error: read at once, and the end of it kept.

The guest decides what it writes there, and how much.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Final

KEPT_BYTES: Final = 64 << 10
"""How much of its end is kept, in bytes."""
MAX_LINE_CHARS: Final = 256
"""Longest line that is shown, in characters."""
JOIN_SECONDS: Final = 2.0
"""How long `lines` waits for what is still on its way, in seconds, once the writer has ended."""
_READ_BYTES: Final = 1 << 14
_NOISE: Final = "doesn't support requested feature"
"""QEMU says so of each feature of the vCPU model that a machine lacks; the guest finds out, and does without."""


class Console:
    """Reads ``fd``, which is taken over, until its other end is closed."""

    def __init__(self, fd: int, heard: Callable[[], None] | None = None) -> None:
        """``heard`` is called, by the thread that reads, when the first byte has come."""
        self._fd = fd
        self._heard = heard
        self._kept = bytearray()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, name="console", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := os.read(self._fd, _READ_BYTES):
                    with self._lock:
                        self._kept += data
                        del self._kept[:-KEPT_BYTES]
                    if self._heard is not None:
                        self._heard()
                        self._heard = None
        finally:
            os.close(self._fd)

    def lines(self) -> list[str]:
        """Lines that have something in them, fit for a terminal. To be called when the writer has ended."""
        self._thread.join(JOIN_SECONDS)
        with self._lock:
            text = self._kept.decode(errors="replace")
        lines = [_plain(line)[:MAX_LINE_CHARS].strip() for line in text.splitlines()]
        return [line for line in lines if line and _NOISE not in line]


def _plain(line: str) -> str:
    return "".join(char if char.isprintable() else " " for char in line)
