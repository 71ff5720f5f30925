"""``enarx`` with process Keeps that run in the root directory of an image, on its interpreter and its libraries.

What a VM Keep opens is then seen with strace: a line of a trace is ``system call("path", ...) = result``.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

BOOT = """
import os, time
start = time.monotonic()
from enarx.keep.init import live, without_inspect
without_inspect()
from enarx.keep.sandbox import Sandbox
try:
    os.fstat(4)
    channel = 4
except OSError:
    channel = None
os.closerange(5, 1024)
os._exit(live(3, channel, Sandbox(), start))
"""
PYTHON = "/usr/bin/python3.11"
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_MNT_DETACH = 2
_PIVOT_ROOT = 155
_CALL = re.compile(r'^\w+\((?:AT_FDCWD, |\d+, )?"([^"]+)".* = (-?\d+)')


def program(directory: Path, root: Path, traces: Path | None) -> Path:
    """A program like ``enarx`` whose Keeps run in ``root``; below ``traces`` are files of what they open."""
    path = directory / "enarx"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(Path(__file__).parent.parent)!r})\n"
        f"from tests.imageroot import run\nsys.exit(run({str(root)!r}, {str(traces) if traces else ''!r}))\n"
    )
    path.chmod(0o700)
    return path


def run(root: str, traces: str) -> int:
    """The command, with such Keeps."""
    from enarx.cli.main import main
    from enarx.host import process
    from tests import overbytes

    spawn = process.KeepProcess._spawn

    def spawned(arguments: list[str], environment: dict[str, str], ends: list[int]) -> int:
        enter = [sys.executable, "-I", __file__, root]
        openssl = {"OPENSSL_CONF": "/usr/lib/python3.11/enarx/keep/openssl.cnf"}
        if not traces:
            return spawn(enter, openssl, ends)
        tracer = ["/usr/bin/strace", "-D", "-ff", "-qq", "-e", "trace=%file", "-e", "signal=none", "-s", "4096"]
        prefix = os.path.join(traces, os.urandom(8).hex())
        return spawn([sys.executable, "-I", __file__, "--", *tracer, "-o", prefix, *enter], openssl, ends)

    overbytes.process_keep._spawn = staticmethod(spawned)  # type: ignore[method-assign]
    process.KeepProcess = overbytes.BytesKeep  # type: ignore[assignment,misc]
    sys.argv[0] = "enarx"
    return main()


def opened(traces: Path) -> Iterator[tuple[str, bool]]:
    """Each path that a Keep asked for, without its leading slash, and whether there was such a file or directory."""
    for path in sorted(traces.iterdir()):
        lines = path.read_text(errors="replace").splitlines()
        begun = next((number for number, line in enumerate(lines) if line.startswith(f'execve("{PYTHON}"')), None)
        forked = not any(line.startswith("execve(") for line in lines)
        for line in lines[0 if forked else begun or len(lines) :]:
            if match := _CALL.match(line):
                yield match[1].lstrip("/"), not match[2].startswith("-")


def _enter(root: str) -> None:
    """Become the image's interpreter in ``root``, as the only process that sees it so."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(result: int) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def mount(source: bytes | None, target: bytes, flags: int) -> None:
        call(libc.mount(source, target, None, ctypes.c_ulong(flags), None))

    call(libc.unshare(_CLONE_NEWNS | (0 if os.geteuid() == 0 else _CLONE_NEWUSER)))
    mount(None, b"/", _MS_REC | _MS_PRIVATE)
    mount(root.encode(), root.encode(), _MS_BIND | _MS_REC)
    for name in ("proc", "dev"):
        mount(f"/{name}".encode(), f"{root}/{name}".encode(), _MS_BIND | _MS_REC)
    os.chdir(root)
    call(libc.syscall(ctypes.c_long(_PIVOT_ROOT), b".", b"."))
    call(libc.umount2(b".", ctypes.c_int(_MNT_DETACH)))
    os.chdir("/")
    os.execv(PYTHON, [PYTHON, "-I", "-S", "-B", "-c", BOOT])


if __name__ == "__main__":
    if sys.argv[1] == "--":
        os.execv(sys.argv[2], sys.argv[2:])
    _enter(sys.argv[1])
