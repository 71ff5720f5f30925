from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

from enarx import __version__
from enarx.cli.main import main
from enarx.cli.platform import MARKS, PLAIN_MARKS, render
from enarx.host.platform.survey import survey
from tests.cli.command import error_code
from tests.host.platform.machines import epyc_snp, facts_of, ordinary


def test_the_platform_of_this_machine_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["platform", "info"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Enarx version {__version__}"
    assert lines[1].startswith("System Info: Linux ")
    backends = [line.partition(": ")[2] for line in lines if re.match(r"[✔✗+x] Backend: ", line)]
    assert backends == ["process", "vm", "snp", "sev", "sev-es", "tdx"]


def test_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["platform", "info", "-j"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert found["version"] == __version__
    assert [one["backend"] for one in found["backends"] if one["have"]][:1] == ["process"]


def test_lines_are_nested_and_advice_follows_what_fails(tmp_path: Path) -> None:
    lines = list(render(survey(facts_of(ordinary(), tmp_path))))

    start = lines.index("✗ Backend: snp")
    assert lines[start + 1] == "  ✗ CPU"
    assert lines[start + 2].startswith("    ✔ vendor: AuthenticAMD")
    assert lines[start + 3].startswith("    ✗ SEV-SNP: absent")
    assert lines[start + 4].startswith("        use an EPYC 7003")


def test_what_passes_is_marked_so(tmp_path: Path) -> None:
    lines = list(render(survey(facts_of(epyc_snp(), tmp_path))))

    assert "✔ Backend: snp" in lines
    assert any(line.startswith(f"  {MARKS[2]} Locked memory") for line in lines)  # not required of SNP


def test_names_from_the_machine_are_no_control_sequences(tmp_path: Path) -> None:
    tree = ordinary()
    tree.files["/proc/sys/kernel/osrelease"] = "6.1\x1b[2J"

    text = "\n".join(render(survey(facts_of(tree, tmp_path))))

    assert "\x1b" not in text


def test_a_terminal_without_unicode_gets_plain_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="ascii", write_through=True))

    assert main(["platform", "info"]) == 0

    text = out.getvalue().decode("ascii")
    assert f"{PLAIN_MARKS[0]} Backend: process" in text


def test_an_image_and_a_firmware_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "firmware.fd").write_bytes(b"none")

    assert main(["platform", "info", "--image", str(tmp_path), "--firmware", str(tmp_path / "firmware.fd")]) == 0

    out = capsys.readouterr().out
    assert f"the image in {tmp_path} has no image.toml" in out
    assert str(tmp_path / "firmware.fd") in out


@pytest.mark.parametrize(
    "arguments", [["platform"], ["platform", "nothing"], ["platform", "info", "more"], ["platform", "info", "--image"]]
)
def test_a_wrong_command_line_is_said_so(arguments: list[str]) -> None:
    assert error_code(*arguments) == "usage"
