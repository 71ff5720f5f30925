"""The guest of `miniature`, compiled once, and QEMU to run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.host.qemu import miniature
from tests.support import require_tool


@pytest.fixture(scope="session")
def qemu() -> str:
    return str(require_tool("qemu-system-x86_64", "qemu-system-x86"))


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniature.build(tmp_path_factory.mktemp("miniature"))
