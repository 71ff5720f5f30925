"""What ``enarx ps``, ``inspect``, ``logs``, ``stop`` and ``rm`` print; tests/e2e has what they do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from enarx.cli.main import main
from enarx.cli.ps import _age
from enarx.host.deployments import Deployments, Own
from enarx.host.facts import Facts, Process

NASTY = "a\x1b[2Jb\nc"
FACTS = Facts(
    "", "file:///app.wasm", "process", "2026-01-01T00:00:00.000+00:00", Process(7, 9), keep=Process(8, 9),
    digest="sha256:d", media_type="application/wasm", manifest="sha256:m", steward="https://steward/",
    steward_ca="sha256:c", evidence="simulated",
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployments:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return Deployments(tmp_path / "enarx")


@pytest.fixture
def living(place: Deployments) -> Iterator[Own]:
    own = place.create("web", FACTS)
    own.write(replace(own.facts, started="2026-01-01T00:00:01.000+00:00", listening=("127.0.0.1:1", "127.0.0.1:2")))
    yield own
    own.close()


@pytest.fixture
def failed(place: Deployments) -> str:
    own = place.create("bad", replace(FACTS, reference=NASTY, evidence=""))
    last = replace(own.facts, ended="2026-01-01T00:00:02.000+00:00", outcome="failed", status=1)
    own.write_last(replace(last, code="x-y", message=NASTY, hint="mend it"))
    own.close()
    return "bad"


@pytest.mark.usefixtures("place")
def test_without_deployments_there_is_a_heading_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ps"]) == 0
    assert capsys.readouterr().out == "NAME  STATE  FOR  KEEP  EVIDENCE  LISTENING  REFERENCE\n"
    assert main(["ps", "--json", "--all"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.usefixtures("living", "failed")
def test_those_that_live_are_listed_and_with_all_the_others_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ps"]) == 0
    (row,) = capsys.readouterr().out.splitlines()[1:]
    assert "web" in row
    assert "SIMULATED  127.0.0.1:1 127.0.0.1:2  file:///app.wasm" in row
    assert main(["ps", "--all"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in rows] == ["bad", "web"]
    assert "failed (1)" in rows[0]
    assert "\x1b" not in rows[0]


@pytest.mark.usefixtures("living", "failed")
def test_all_that_is_known_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "web"]) == 0
    shown = capsys.readouterr().out
    for text in (
        "running since 2026-01-01T00:00:01", "https://steward/ CA sha256:c", "SIMULATED: ", "supervisor 7, Keep 8",
        "isolation   none: ", "sha256:d (application/wasm)", "127.0.0.1:1 127.0.0.1:2",
    ):  # fmt: skip
        assert text in shown
    assert main(["inspect", "bad"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "error       a\ufffd[2Jb\n            c\n" in shown
    assert "processes" not in shown


@pytest.mark.usefixtures("living")
def test_json_is_the_same_for_one_and_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--json", "web"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert main(["ps", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [one]
    assert one["workload"] == {"digest": "sha256:d", "media_type": "application/wasm"}
    assert one["evidence"]["meaning"].startswith("SIMULATED: ")


def test_logs_go_where_they_came_from(
    failed: str, place: Deployments, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    directory = place.get(failed).directory
    (directory / "stdout.log.1").write_bytes(b"one\xff\n")
    (directory / "stdout.log").write_bytes(b"two\x1b\n")
    (directory / "stderr.log").write_bytes(b"err\n")
    expected = {(): (b"one\xff\ntwo\x1b\n", b"err\n"), ("--stdout",): (b"one\xff\ntwo\x1b\n", b"")}
    for options, streams in (expected | {("--stderr",): (b"", b"err\n"), ("--raw",): expected[()]}).items():
        assert main(["logs", *options, failed]) == 0
        assert capfdbinary.readouterr() == streams
    assert main(["logs", "--stdout", "--stderr", failed]) == 2


def test_ended_ones_are_removed_by_name_or_all(
    failed: str, living: Own, place: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([], ["--ended", failed]):
        assert main(["rm", *arguments]) == 2
    assert main(["stop", failed]) == 0
    assert main(["rm", "--ended"]) == 0
    assert capsys.readouterr().out == "bad: had ended already\nbad\n"
    assert [seen.name for seen in place.all()] == [living.facts.name]
    assert main(["rm", failed]) == 1


@pytest.mark.parametrize("seconds", ["-1", "x", "nan", "inf", "1e9"])
def test_a_timeout_that_is_none_is_wrong_usage(seconds: str, failed: str) -> None:
    assert main(["stop", "--timeout", seconds, failed]) == 2


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-5, "0 s"), (0.4, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (90 * 86_400, "90 d")]
)
def test_an_age_is_told_in_its_largest_unit(seconds: float, shown: str) -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assert _age((now - timedelta(seconds=seconds)).isoformat(), now) == shown


@pytest.mark.parametrize("since", ["", "yesterday", "2026-01-01", "2026-01-01T00:00:00"])
def test_a_time_that_is_none_is_unknown(since: str) -> None:
    assert _age(since, datetime(2026, 6, 1, tzinfo=UTC)) == "?"
