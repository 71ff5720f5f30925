"""Keeps in virtual machines: the image, built once, and users who run ``enarx`` with it.

Always by QEMU's own translator: whether KVM works is not for these tests to find out.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import support
from tests.e2e.command import enarx, environment, wait_for

SECONDS = 240.0
"""What no virtual machine of the tests takes, however busy the machine is."""
WRAPPER = """#!{python} -S
import os, sys
arguments = sys.argv[1:]
{edit}
os.execve({qemu!r}, [{qemu!r}, *arguments], {{}})
"""


def own_image(image: Path, directory: Path, changed: str = "", offset: int = 0) -> Path:
    """An image of the same files; that in ``changed`` differs in the byte at ``offset``."""
    copy = directory / "image"
    copy.mkdir()
    for path in image.iterdir():
        if path.name == changed:
            data = bytearray(path.read_bytes())
            data[offset] ^= 1
            (copy / path.name).write_bytes(data)
        else:
            (copy / path.name).symlink_to(path)
    return copy


def vm_environment(home: Path, image: Path, **extra: str) -> dict[str, str]:
    """A user of this image, whose temporary files are below ``home``."""
    temporary = home / "temporary"
    temporary.mkdir(exist_ok=True)
    return environment(home, ENARX_IMAGE=str(image), ENARX_ACCEL="tcg", TMPDIR=str(temporary), **extra)


def run_vm(
    *arguments: str | Path, home: Path, image: Path, options: Sequence[str | Path] = (), **settings: Any
) -> subprocess.CompletedProcess[bytes]:
    """``enarx run --backend vm`` to its end, which leaves nothing behind.

    ``image`` is one of the test's own, as `own_image` makes it: so its machines can be told from those of others.
    """
    env = settings.pop("env", None) or vm_environment(home, image)
    done = enarx("run", "--backend", "vm", *options, *arguments, cwd=home, env=env, seconds=SECONDS, **settings)
    nothing_left(home, image)
    return done


def nothing_left(home: Path, image: Path) -> None:
    """Neither files nor machines; the kernel ends the machine of a host that has just ended."""
    assert list((home / "temporary").iterdir()) == []
    wait_for(lambda: not machines_of(image), "a machine is still there")


def machines_of(image: Path) -> list[int]:
    """Processes of QEMU that were started with this image."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"/qemu-system-x86_64") and os.fsencode(image / "initrd") in words:
                found.append(int(entry))
    return found


def hostile_qemu(directory: Path, edit: str) -> str:
    """A PATH on which QEMU is what a host has made of it: ``edit`` is Python that changes the list ``arguments``."""
    real = support.require_tool("qemu-system-x86_64", "qemu-system-x86")
    programs = directory / "programs"
    programs.mkdir()
    wrapper = programs / real.name
    wrapper.write_text(WRAPPER.format(python=sys.executable, qemu=str(real), edit=edit))
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    return f"{programs}:/usr/bin:/bin"
