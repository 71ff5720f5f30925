"""A host that does what it likes with the port of a VM Keep: it stands between QEMU and ``enarx``.

Run by the wrapper that `vms.hostile_qemu` makes, beside QEMU, and gone with it, as ``portproxy.py MODE LOG LISTENER
NAME``: LISTENER is the descriptor that ``enarx`` connects to, and NAME, in hexadecimal, the address of QEMU's own. LOG
gets a line for each connection that was cut.
"""

from __future__ import annotations

import ctypes
import os
import random
import select
import signal
import socket
import sys
from pathlib import Path

CUT_BYTES = 150_000
"""After so much from the Keep the connection is cut."""
CUTS = 6
CALM_BYTES = 5_000
"""So much goes through before there is noise."""
NOISE = random.Random(1).randbytes(5_000)
FLOOD = bytes(1 << 16)
_PIECE = 1 << 16
_PR_SET_PDEATHSIG = 1

EDIT = """
import socket
inner = socket.socket(socket.AF_UNIX)
inner.bind("")
inner.listen()
inner.set_inheritable(True)
at = next(i for i, one in enumerate(arguments) if one.startswith("socket,id=link,fd="))
link = arguments[at].split("fd=")[1].split(",")[0]
arguments[at] = f"socket,id=link,fd={{inner.fileno()}},server=on,wait=off"
name = inner.getsockname().hex()
if os.fork() == 0:
    inner.close()
    os.execv(sys.executable, [sys.executable, "-S", {program!r}, {mode!r}, {log!r}, link, name])
"""


def edit(mode: str, log: Path) -> str:
    """What `vms.hostile_qemu` wants for such a host."""
    return EDIT.format(program=__file__, mode=mode, log=str(log))


class Host:
    """``mode``: "cut", "noise to keep", "noise to host", "flood keep" or "flood host"."""

    def __init__(self, mode: str, log: Path) -> None:
        self.mode = mode
        self.log = log
        self.cuts = 0

    def serve(self, enarx: socket.socket, qemu: socket.socket) -> None:
        """One connection, to its end."""
        if self.mode.startswith("flood"):
            victim = qemu if self.mode == "flood keep" else enarx
            while True:
                victim.sendall(FLOOD)
        from_keep = 0
        while True:
            for sock in select.select([enarx, qemu], [], [])[0]:
                data = sock.recv(_PIECE)
                if not data:
                    return
                (qemu if sock is enarx else enarx).sendall(data)
                from_keep += len(data) if sock is qemu else 0
            if self.mode == "cut" and self.cuts < CUTS and from_keep > CUT_BYTES:
                self.cuts += 1
                self.log.write_text("cut\n" * self.cuts)
                return
            if self.mode.startswith("noise") and from_keep > CALM_BYTES:
                (qemu if self.mode == "noise to keep" else enarx).sendall(NOISE)


def main(mode: str, log: str, listener: str, name: str) -> None:
    """Until QEMU has ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    host = Host(mode, Path(log))
    with socket.socket(fileno=int(listener)) as outer:
        while True:
            enarx, _ = outer.accept()
            with enarx, socket.socket(socket.AF_UNIX) as qemu:
                try:
                    qemu.connect(bytes.fromhex(name))
                    host.serve(enarx, qemu)
                except OSError:
                    if os.getppid() == 1:
                        return


if __name__ == "__main__":
    main(*sys.argv[1:])
