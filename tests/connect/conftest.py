"""A Keep that serves, and what its clients know of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.connect.keeps import Files, KeepServer, client_files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return client_files(tmp_path)


@pytest.fixture
def server() -> Iterator[KeepServer]:
    with KeepServer() as running:
        yield running
