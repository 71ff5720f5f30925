"""``enarx`` with process Keeps whose link carries only bytes, as that of a VM Keep does.

A TCP connection cannot pass descriptors, so a Keep that finds one as its link speaks to its host over bytes.
"""

from __future__ import annotations

import sys

from enarx.cli.main import main
from enarx.host import process
from enarx.host.mux import CarriedKeep
from tests.mux.ends import tcp_pair


class BytesKeep(CarriedKeep):
    """A process Keep behind such a connection."""

    def __init__(self, *, measured: bool = False) -> None:
        keep = process_keep(measured=measured, pair=tcp_pair)
        self.pid, self.channel = keep.pid, keep.channel
        super().__init__(keep, keep.link)


process_keep = process.KeepProcess


def run() -> int:
    """The command, with such Keeps."""
    process.KeepProcess = BytesKeep  # type: ignore[assignment,misc]
    sys.argv[0] = "enarx"
    return main()
