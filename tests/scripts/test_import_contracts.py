"""The import rules of pyproject.toml, each broken on purpose in a tree of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

LINT = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
SHARED = (
    "errors", "archive", "challenge", "config", "enrolment", "envelope", "exporter", "manifest", "manifest_rules",
    "sealing", "wire",
)  # fmt: skip
PACKAGES = ("evidence", "keep", "host", "tenant", "connect", "trust", "simulator", "cli")


def lint(tree: Path, module: str, source: str) -> subprocess.CompletedProcess[str]:
    """Run the project's contracts over a bare tree of all its packages in which ``module`` holds ``source``."""
    root = tree / "enarx"
    for package in PACKAGES:
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").touch()
    for name in ("__init__", *SHARED, "evidence/binding", "evidence/chain", "keep/engine", "unheard_of"):
        (root / f"{name}.py").touch()
    place = root / f"{module}.py"
    place.parent.mkdir(parents=True, exist_ok=True)
    for directory in place.relative_to(root).parents:
        (root / directory / "__init__.py").touch()
    place.write_text(source)
    environment = {"PYTHONPATH": f"{tree}:{ROOT}"}
    command = [*LINT, "--config", str(ROOT / "pyproject.toml")]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("evidence/report", "from enarx import config"),
        ("evidence/report", "import enarx.keep"),
        ("evidence/report", "import requests"),
        ("keep/main", "import enarx.host"),
        ("keep/main", "from enarx.evidence import chain"),
        ("keep/main", "import enarx.simulator"),
        ("keep/main", "import msgspec"),
        ("keep/main", "import enarx.unheard_of"),
        ("keep/main", "def later():\n    import enarx.tenant"),
        ("keep/tls", "import wasmtime"),
        ("host/launch", "import enarx.keep"),
        ("host/launch", "import enarx.tenant"),
        ("host/launch", "from wasmtime import Module"),
        ("tenant/policy", "import enarx.host"),
        ("tenant/policy", "import enarx.keep.engine"),
        ("tenant/policy", "import enarx.simulator"),
        ("tenant/policy", "import enarx.trust"),
        ("tenant/steward/decide", "from enarx.trust import model"),
        ("host/launch", "import enarx.trust"),
        ("trust/layers", "import enarx.simulator"),
        ("trust/layers", "import enarx.tenant"),
        ("simulator/device", "import enarx.host"),
        ("wire", "import enarx.config"),
        ("sealing", "import cryptography"),
        ("challenge", "import enarx.exporter"),
        ("exporter", "import enarx.errors"),
        ("exporter", "import OpenSSL"),
        ("connect/client", "import enarx.keep"),
        ("connect/client", "import enarx.host"),
        ("connect/client", "import enarx.simulator"),
        ("tenant/client", "import enarx.connect"),
        ("enrolment", "from enarx.evidence import binding"),
        ("manifest_rules", "import enarx.config"),
        ("config", "import tomlkit"),
        ("archive", "import enarx.envelope"),
        ("envelope", "from cryptography.hazmat.primitives.ciphers.aead import AESGCM"),
        ("errors", "import enarx.wire"),
        ("host/launch", "import enarx.cli"),
    ],
)
def test_a_forbidden_import_is_refused(tmp_path: Path, module: str, source: str) -> None:
    answer = lint(tmp_path, module, source)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert f"enarx.{module.replace('/', '.')} imports " in answer.stdout
    assert ", 0 broken" not in answer.stdout


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("evidence/report", "import struct\nfrom cryptography import x509\nfrom enarx.errors import MalformedError"),
        (
            "keep/main",
            "import socket\nimport enarx\nfrom enarx import archive, config, enrolment, envelope, wire\n"
            "from enarx.evidence import binding",
        ),
        ("keep/challenges", "from enarx import challenge, exporter\nfrom cryptography import x509"),
        ("connect/client", "import httpx\nimport enarx.tenant.policy\nfrom enarx import challenge, exporter"),
        ("keep/engine", "import wasmtime\nfrom wasmtime import _ffi"),
        ("host/launch", "import enarx.simulator\nimport enarx.evidence.chain\nimport enarx.manifest"),
        ("host/load", "from enarx import archive, envelope"),
        ("tenant/policy", "from enarx.evidence import chain\nfrom enarx import archive, envelope"),
        ("tenant/steward/console/pages", "from enarx.trust import model"),
        ("cli/run", "import enarx.host, enarx.keep, enarx.tenant, enarx.simulator, enarx.trust"),
    ],
)
def test_what_the_architecture_allows_passes(tmp_path: Path, module: str, source: str) -> None:
    answer = lint(tmp_path, module, source)
    assert answer.returncode == 0, answer.stdout + answer.stderr
