"""Images whose kernel is a guest of a few hundred bytes: what it does is the last word of its command line."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import MappingProxyType

from enarx.host.image.layout import Image
from enarx.host.qemu.command import Descriptors, vm_arguments
from enarx.host.qemu.guest import Arguments
from enarx.host.qemu.machine import Machine
from tests.support import require_tool

SOURCE = Path(__file__).with_suffix(".c")
MACHINE = Machine(memory=128)


def build(directory: Path) -> Path:
    """Compile the guest."""
    compiler, linker = require_tool("clang", "clang"), require_tool("ld.lld", "lld")
    program, compiled = directory / "miniature", directory / "miniature.o"
    options = ["--target=i386-unknown-none-elf", "-O1", "-ffreestanding", "-fno-pic", "-mno-sse"]
    subprocess.run([compiler, *options, "-c", "-o", compiled, SOURCE], check=True)
    subprocess.run([linker, "-static", "--image-base=0x100000", "-z", "norelro", "-o", program, compiled], check=True)
    return program


def image(program: Path, order: str) -> Image:
    """An image of it."""
    return Image(program.parent, program, SOURCE, order, SOURCE, "stock", MappingProxyType({}))


def arguments(program: Path, order: str) -> Arguments:
    """QEMU's arguments for it."""

    def of(descriptors: Descriptors) -> list[str]:
        return vm_arguments(image(program, order), MACHINE, "tcg", descriptors)

    return of
