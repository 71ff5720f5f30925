"""Where QEMU is."""

from __future__ import annotations

import os
import shutil
from typing import Final

from enarx.errors import HostError

NAME: Final = "qemu-system-x86_64"
"""The program; what PATH finds first is used."""


def find_qemu() -> str:
    """The path of QEMU. Raises HostError (``qemu-missing``)."""
    path = shutil.which(NAME)
    if path is None:
        raise HostError(
            f"{NAME} is not installed",
            code="qemu-missing",
            hint="Debian: apt-get install --no-install-recommends qemu-system-x86",
        )
    return os.path.abspath(path)
