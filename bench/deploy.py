"""Deploying: an encrypted package of 30 MB from a registry on loopback, until the workload's first line."""

from __future__ import annotations

import os
import secrets
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.figure import Better, Figure
from bench.measure import quartiles, take_turns
from bench.workspace import BenchError, enarx, output_of, run_enarx
from tests.e2e.attested import tenant
from tests.e2e.command import STDIO, environment
from tests.programs import large_module
from tests.registry.running import registry

ROUNDS: Final = 9
PACKAGE_BYTES: Final = 30_000_000
DEPLOY_BAR_SECONDS: Final = 1.5
LINE: Final = b"ready\n"
_PEER: Final = "enarx run of its module, from a file and without a Steward"


def run() -> list[Figure]:
    """Everything from spawn to first line: fetch, launch, attestation, key, decryption. The code cache is warm.

    The local store is emptied before every round, so that each fetches from the registry.
    """
    with tempfile.TemporaryDirectory(prefix="enarx-bench-") as name:
        home = Path(name)
        module, package, key = _package(home)
        (home / "registry").mkdir()
        with registry(home / "registry") as running, tenant(home, package, secrets={"package-key": key}) as steward:
            reference = f"oci://{running.host}/bench/deploy:1"
            variables = environment(home)
            push = [enarx(), "package", "push", str(home / "app.sealed"), reference]
            subprocess.run(push, env=variables, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

            def deploy() -> float:
                shutil.rmtree(home / ".cache" / "enarx" / "blobs", ignore_errors=True)
                return _until_first_line([enarx(), "deploy", reference, *steward.options()], variables)

            peer = run_enarx(module)
            times = take_turns(ROUNDS, {"deploy": deploy, _PEER: lambda: _until_first_line(peer, dict(os.environ))})
    lower, upper = quartiles(times["deploy"])
    details = {
        "least_s": min(times["deploy"]), "lower_quartile_s": lower, "upper_quartile_s": upper,
        "peer_s": statistics.median(times[_PEER]), "package_bytes": len(package),
    }  # fmt: skip
    median = statistics.median(times["deploy"])
    return [Figure("deploy of 30 MB, encrypted", median, "s", Better.LOWER, _PEER, DEPLOY_BAR_SECONDS, details)]


def _package(home: Path) -> tuple[Path, bytes, bytes]:
    """Module, encrypted package and its key; half of the package is code, the rest files."""
    directory = home / "package"
    (directory / "files").mkdir(parents=True)
    module = directory / "main.wasm"
    module.write_bytes(large_module())
    (directory / "Enarx.toml").write_text(STDIO)
    (directory / "files" / "data").write_bytes(secrets.token_bytes(PACKAGE_BYTES - module.stat().st_size))
    sealed, key = home / "app.sealed", home / "app.key"
    output_of([enarx(), "package", "build", str(directory), "-o", str(sealed), "--encrypt", "--key-file", str(key)])
    return module, sealed.read_bytes(), key.read_bytes()


def _until_first_line(command: Sequence[str], variables: dict[str, str]) -> float:
    """Seconds from spawning the command to its first line. Raises BenchError."""
    start = time.perf_counter()
    with subprocess.Popen(
        command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        elapsed = time.perf_counter() - start
        _, stderr = process.communicate()
    if line != LINE or process.returncode:
        raise BenchError(f"{' '.join(command)} ended with {process.returncode}:\n{stderr.decode(errors='replace')}")
    return elapsed
