"""Runs a probe in a process of its own under the Keep's sandbox, and measures coverage there in spite of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support import ROOT

_COVERAGE = "COVERAGE_PROCESS_CONFIG"
# Nothing can be opened once the sandbox is complete, so coverage's data stay in memory and leave by stdout.
_SCRIPT = """
import base64, json, os, sqlite3, sqlite3.dump, sys, zlib
config, probe = sys.argv[1:]
measured = None
if config:
    import coverage
    measured = coverage.Coverage(config_file=":data:" + config, data_file=None)
    measured.start()
from enarx.keep.sandbox import Sandbox
sandbox, results = Sandbox(), {}
exec(compile(probe, "probe", "exec"))
dump = ""
if measured is not None:
    measured.stop()
    dump = base64.b64encode(measured.get_data().dumps()).decode()
sys.stdout.write(json.dumps({"results": results, "report": sandbox.report, "coverage": dump}))
sys.stdout.flush()
os._exit(0)
"""


def confined(probe: str, *arguments: str, prefix: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, str]]:
    """Run the statements ``probe``, which find a ``sandbox`` and fill ``results``: (results, the sandbox's report)."""
    config = os.environ.get(_COVERAGE, "")
    environment = {name: value for name, value in os.environ.items() if name != _COVERAGE}
    isolation = [] if config else ["-I", "-S"]
    path = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
    done = subprocess.run(
        [*prefix, sys.executable, *isolation, "-c", path + _SCRIPT, config, probe, *arguments],
        env=environment, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    answer = json.loads(done.stdout)
    if answer["coverage"]:
        _keep_coverage(answer["coverage"])
    return answer["results"], answer["report"]


def _keep_coverage(dump: str) -> None:
    import base64

    import coverage

    current = coverage.Coverage.current()
    directory = Path(current.get_data().base_filename()).parent if current else ROOT
    data = coverage.CoverageData(basename=str(directory / ".coverage"), suffix=f"sandbox.{os.urandom(8).hex()}")
    data.loads(base64.b64decode(dump))
    data.write()
