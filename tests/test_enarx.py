"""The names of the package itself: there when they are asked for, and not before."""

from __future__ import annotations

import subprocess
import sys

import pytest

import enarx


def test_every_name_is_there() -> None:
    for name in enarx.__all__:
        assert getattr(enarx, name) is not None
    assert enarx.Client.__module__ == "enarx.connect.client"


def test_a_name_that_is_not_there_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError):
        _ = enarx.no_such_name  # type: ignore[attr-defined]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    heavy = ("httpx", "requests", "cryptography", "ssl", "enarx.connect", "enarx.tenant")
    assert run(f"import sys, enarx; print([name for name in {heavy} if name in sys.modules])") == "[]"


def test_bundles_need_no_http_client() -> None:
    assert run("import sys, enarx; enarx.verify_bundle; print('httpx' in sys.modules)") == "False"


def test_a_missing_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['httpx'] = None; import enarx\n"
        "try: enarx.Client\nexcept ImportError as error: print(error)"
    )
    assert run(code) == "enarx.Client needs httpx: pip install 'enarx[client]'"
