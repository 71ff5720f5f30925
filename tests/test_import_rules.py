"""Importing any module does nothing but define things: no network, no processes, no threads, no files written.

Who may import whom is the business of the import-linter contracts (`make lint`), which tests/scripts breaks on purpose.
One rule is beyond them, since they see a third-party package as a whole: who may use the engine's private names.
"""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.support import ROOT

MODULES = sorted(
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "src" / "enarx").rglob("*.py")
    if path.name != "__main__.py"
)

ENGINE_WRAPPERS = {"enarx.keep.engine", "enarx.keep.linear_memory"}

# Libraries are imported first, in peace: what they do at import is not ours to judge. The random state and the clock
# have no audit events; that nothing of ours draws or reads at import is left to review.
IMPORT_UNDER_AUDIT = """
import importlib, os, sys, threading
import cryptography.x509, cryptography.hazmat.primitives.asymmetric.ec, wasmtime, wasmtime._ffi
if sys.argv[1].startswith("enarx.connect."):
    import httpx, requests
sys.dont_write_bytecode = True
FORBIDDEN = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system", "os.mkdir", "os.remove",
             "os.rename", "os.putenv", "os.chmod", "os.chdir", "signal.", "shutil.", "tempfile.", "urllib.")
def audit(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event.startswith(FORBIDDEN):
        print("SIDE EFFECT", event, arguments, flush=True)
        os._exit(1)
sys.addaudithook(audit)
importlib.import_module(sys.argv[1])
assert threading.active_count() == 1, "a thread was started"
"""


def private_engine_names(source: str) -> set[str]:
    """Names with a leading underscore that the source takes from wasmtime, by import or as an attribute."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            paths = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            paths = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            paths = [ast.unparse(node)]
        else:
            continue
        found |= {path for path in paths if path.startswith("wasmtime.") and "._" in path}
    return found


@pytest.mark.parametrize("module", sorted(set(MODULES) - ENGINE_WRAPPERS))
def test_private_names_of_the_engine_stay_in_its_wrapper(module: str) -> None:
    path = (ROOT / "src").joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    assert private_engine_names(file.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    "source",
    ["import wasmtime._ffi", "from wasmtime import _ffi as ffi", "from wasmtime._func import x", "wasmtime._ffi.f()"],
)
def test_a_private_name_is_noticed(source: str) -> None:
    assert private_engine_names(source)
    assert not private_engine_names(source.replace("_f", "f"))


def import_alone(module: str, *search: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", IMPORT_UNDER_AUDIT, module]
    environment = {"PYTHONPATH": ":".join(search)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", MODULES)
def test_import_has_no_side_effects(module: str) -> None:
    done = import_alone(module)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    "source",
    [
        "import socket\nsocket.socket()",
        "import subprocess\nsubprocess.run(['true'])",
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
        "open('/dev/null', 'w')",
        "print('hello')",
    ],
)
def test_a_side_effect_is_noticed(source: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("modules")
    (directory / "culprit.py").write_text(source)
    done = import_alone("culprit", str(directory))
    assert done.returncode != 0 or done.stdout
