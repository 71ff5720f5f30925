"""QEMU: which one would be started, and what it can do, asked of the program itself.

It is asked, not read out of a table of versions: distributions leave parts out, and others carry patches.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Final

from enarx.host.qemu.program import NAME

ANSWER_SECONDS: Final = 20.0
"""How long QEMU may take to say what it can (seconds)."""
OUTPUT_MAX_BYTES: Final = 1 << 20
"""How much of what it says is read (bytes)."""

_VERSION: Final = re.compile(r"version (\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?")
_OBJECT: Final = re.compile(r"^\s+([a-z0-9-]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class QemuFacts:
    """``path`` is empty where there is none; ``failure`` says why it cannot be used."""

    path: str = ""
    failure: str = ""
    version: tuple[int, int, int] = (0, 0, 0)
    objects: frozenset[str] = frozenset()

    def version_text(self) -> str:
        """As QEMU writes it."""
        return ".".join(map(str, self.version))


def find_qemu() -> str | None:
    """The QEMU that is started: what PATH finds first."""
    return shutil.which(NAME)


def ask_qemu(path: str | None) -> QemuFacts:
    """What the QEMU at ``path`` is and can do. Starts it twice, without a machine."""
    if path is None:
        return QemuFacts(failure=f"no {NAME} in PATH")
    said = _output(path, "--version")
    found = _VERSION.search(said or "")
    if said is None or found is None:
        return QemuFacts(path, f"{path} does not say its version")
    version = (int(found[1]), int(found[2]), int(found[3] or 0))
    listed = _output(path, "-object", "help")
    if listed is None:
        return QemuFacts(path, f"{path} does not list its objects", version)
    return QemuFacts(path, "", version, frozenset(_OBJECT.findall(listed)))


def _output(path: str, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - the program that this user's Keeps are started with
            [path, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER_SECONDS, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout[:OUTPUT_MAX_BYTES].decode("utf-8", "replace") if done.returncode == 0 else None
