"""An approver in a process of its own, and a whole launch before it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.host.sev.approver import HttpApprover
from enarx.host.sev.simulated import launch
from enarx.keep.secretarea import read_area
from enarx.tenant.steward.ca import make_authority
from tests.tenant.sevlaunches import Files, changed, manifest, platform, policy_text, qemu

SECONDS = 60
COMMAND = "import sys; from enarx.cli.main import main; sys.exit(main(sys.argv[1:]))"


@contextmanager
def running(directory: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], HttpApprover]]:
    """``enarx launch approve`` for a policy of `tests.tenant.sevlaunches`, with a CA of its own."""
    key, certificate = make_authority("Test", datetime.now(UTC))
    (directory / "ca.key").write_bytes(key)
    (directory / "ca.key").chmod(0o600)
    (directory / "ca.pem").write_bytes(certificate)
    (directory / "sev.root").write_bytes(platform().root)
    (directory / "steward.toml").write_text(policy_text())
    words = ["launch", "approve", "--directory", str(directory), "--port", "0", *options]
    with (
        (directory / "stderr").open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-c", COMMAND, *words], stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ
        ) as process,
    ):
        try:
            assert process.stdout is not None
            said = re.fullmatch(r"approver: (https://.*)/ CA sha256:([0-9a-f]{64})\n", process.stdout.readline())
            assert said is not None, (directory / "stderr").read_text()
            yield process, HttpApprover.at(said[1], bytes.fromhex(said[2]))
        finally:
            process.terminate()
            process.wait(SECONDS)


def test_whole_launch_is_approved_and_the_approver_for_one_ends(tmp_path: Path) -> None:
    with running(tmp_path, "--once") as (process, approver):
        area = launch(qemu(), approver, Files().contents(), manifest().encode(), ())
        assert len(read_area(area)) == 1
        assert process.wait(SECONDS) == 0
        assert process.stdout is not None
        assert "approved: measurement of launch " in process.stdout.read()


def test_refused_launch_ends_it_with_another_status(tmp_path: Path) -> None:
    with running(tmp_path, "--once") as (process, approver):
        with pytest.raises(HostError, match="bad-measurement"):
            launch(qemu(), approver, changed(Files(), "cmdline").contents(), manifest().encode(), ())
        assert process.wait(SECONDS) == 5


def test_policy_that_is_wrong_stays_outside_and_the_approver_stops_when_told(tmp_path: Path) -> None:
    with running(tmp_path) as (process, approver):
        (tmp_path / "steward.toml").write_text("[sev]\nmisspelt = 1\n")
        process.send_signal(signal.SIGHUP)
        launch(qemu(), approver, Files().contents(), manifest().encode(), ())
        process.terminate()
        assert process.wait(SECONDS) == 0
    assert "the policy was not reloaded" in (tmp_path / "stderr").read_text()
