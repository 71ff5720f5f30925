"""Files with evidence for the tests of ``enarx evidence``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.desk import Desk
from tests.evidence.sev.platforms import make_platform


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def real(desk: Desk) -> dict[str, Path]:
    """A real Milan report (its policy allows debug) and its certificates."""
    vectors = pytest.importorskip("omne_attest.vectors")
    chain = vectors.ask() + vectors.ark()
    return {
        "report": desk.put("report.bin", vectors.attestation()),
        "vcek": desk.put("vcek.der", vectors.vcek()),
        "chain": desk.put("chain.der", chain),
    }


@pytest.fixture
def platform(desk: Desk) -> Path:
    """The certificates of a SEV platform under a root that nobody accepts."""
    return desk.put("platform.certs", b"".join(one.to_bytes() for one in make_platform().chain))
