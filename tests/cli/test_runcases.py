"""enarx evidence run-cases: one line for each case of an index, whatever the index holds."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.cli import runcases
from enarx.cli.cases import CaseResult
from tests.cli.command import error_code
from tests.cli.desk import Desk, enarx

INDEX = """
[[case]]
name = "good"
tee = "snp"
inputs = ["report.bin", "vcek.der", "chain.der"]
verify_at = "2026-10-01T00:00:00Z"
expect = "ok"
[case.fields]
vmpl = 0
[[case]]
name = "good-debug-policy"
tee = "snp"
inputs = ["report.bin", "vcek.der"]
verify_at = 2026-10-01T00:00:00Z
expect = "fail:debug-enabled"
[[case]]
name = "other"
tee = "abacus"
inputs = []
expect = "info"
"""


def test_cases_are_judged_one_line_each_and_never_see_the_answer(
    real: dict[str, Path], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    index = desk.put("INDEX.toml", INDEX)
    assert enarx("run-cases", index) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["case"], line["verdict"], line["reason"]) for line in lines] == [
        ("good", "ok", ""),
        ("good-debug-policy", "fail", "debug-enabled"),
        ("other", "unsupported", "technology 'abacus' is not supported"),
    ]
    assert all(set(line) == {"case", "verdict", "reason", "fields"} for line in lines)
    desk.put("INDEX.toml", INDEX.replace('"ok"', '"fail"').replace("fail:debug-enabled", "ok"))
    assert enarx("run-cases", index) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == lines


def test_comparison_exits_1_on_a_difference(
    real: dict[str, Path], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    index = desk.put("INDEX.toml", INDEX)
    assert enarx("run-cases", index, "--compare") == 0
    captured = capsys.readouterr()
    assert captured.err == "3 cases, 0 different from what the index expects\n"
    assert [json.loads(line)["match"] for line in captured.out.splitlines()] == [True] * 3
    for old, new in (('"ok"', '"fail"'), ("fail:debug-enabled", "fail:malformed"), ("vmpl = 0", "vmpl = 1")):
        desk.put("INDEX.toml", INDEX.replace(old, new))
        assert enarx("run-cases", index, "--compare", "--json") == 1
        captured = capsys.readouterr()
        lines = [json.loads(line) for line in captured.out.splitlines()]
        assert sum(not line["match"] for line in lines) == 1
        assert captured.err == ""
        assert enarx("run-cases", index, "--compare") == 1
        assert "3 cases, 1 different" in capsys.readouterr().err
        assert enarx("run-cases", index, "--compare", "--tee", "abacus") == 0
        capsys.readouterr()


def test_index_that_names_files_elsewhere_is_not_followed(
    real: dict[str, Path], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("../secret", "/etc/hostname", "absent.bin"):
        index = desk.put("INDEX.toml", f'[[case]]\nname = "x"\ntee = "snp"\ninputs = ["{name}"]\nexpect = "ok"\n')
        assert enarx("run-cases", index) == 0
        line = json.loads(capsys.readouterr().out)
        assert line["verdict"] == "unsupported"
        assert line["reason"] in ("case-inputs", "file-unreadable")


@pytest.mark.parametrize(
    "text", ["[[case", "\xff", "case = 3", "case = [1]", "file = [1]", "[case]\na = 1", "file = 'x'"]
)
def test_broken_index_is_a_mistake_of_usage(text: str, desk: Desk) -> None:
    assert enarx("run-cases", desk.put("INDEX.toml", text.encode("latin-1"))) == 2
    assert enarx("run-cases", desk.path / "absent.toml") == 2


def test_index_without_an_end_is_not_read_to_it(desk: Desk) -> None:
    assert error_code("evidence", "run-cases", "/dev/zero") == "file-size"
    assert error_code("evidence", "run-cases", str(desk.put("INDEX.toml", "a = " + "[" * 100_000))) == "index-syntax"


UNUSABLE = r"""
[[case]]
[[case]]
name = 3
tee = ["snp"]
inputs = "x"
[[case]]
name = 2026-01-01
tee = "snp"
inputs = [1, 2]
[[case]]
tee = "sev"
inputs = []
fields = 7
[[case]]
tee = "measure"
inputs = []
fields = []
[[case]]
tee = "snp"
inputs = ["a\u0000b"]
[[case]]
tee = "sev"
inputs = ["folder"]
[[case]]
tee = "measure"
inputs = ["pipe"]
[[case]]
tee = "snp"
inputs = ["circle"]
[[case]]
tee = "snp"
inputs = []
verify_at = "0001-01-01T00:00:00+14:00"
[[case]]
tee = "snp"
inputs = []
verify_at = 07:32:00
"""


def test_unusable_cases_get_their_line_and_a_reason(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (desk.path / "folder").mkdir()
    os.mkfifo(desk.path / "pipe")
    (desk.path / "circle").symlink_to("circle")
    index = desk.put("INDEX.toml", UNUSABLE)
    assert enarx("run-cases", index) == 0
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [line["reason"] for line in lines] == [
        "technology '' is not supported",
        "technology \"['snp']\" is not supported",
        "case-inputs",
        "case-fields",
        "case-fields",
        "file-unreadable",
        "file-unusable",
        "file-unusable",
        "file-unreadable",
        "case-time",
        "case-time",
    ]
    assert {line["verdict"] for line in lines} == {"unsupported"}
    assert captured.err == ""


def test_fault_of_ours_in_one_case_does_not_hide_the_others(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> CaseResult:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(runcases, "_runner", lambda technology: broken if technology == "snp" else None)
    text = '[[case]]\nname = "a"\ntee = "snp"\n[[case]]\nname = "b"\ntee = "tdx"\n'
    assert enarx("run-cases", desk.put("INDEX.toml", text)) == 0
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [(line["case"], line["verdict"], line["reason"]) for line in lines] == [
        ("a", "unsupported", "internal-fault"),
        ("b", "unsupported", "technology 'tdx' is not supported"),
    ]
    assert captured.err == "fault in case a: RuntimeError: a mistake\n"


def test_answer_that_should_have_been_computed_and_was_not_is_a_difference() -> None:
    case = {"expect": "ok", "fields": {"expected_launch_digest": "ab", "iv_b64": "input"}}
    assert runcases.compare(case, CaseResult("ok", fields={"launch_digest": "ab"})) == ""
    assert runcases.compare(case, CaseResult("ok", fields={"launch_digest": "cd"})) == "field launch_digest"
    assert runcases.compare(case, CaseResult("ok", fields={})) == "field launch_digest"
    assert runcases.compare({"expect": "ok", "fields": 7}, CaseResult("ok")) == "fields"


@pytest.mark.parametrize("tee", ["snp", "sev", "measure"])
def test_every_published_case_comes_out_as_expected(
    tee: str, vectors: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = vectors / "INDEX.toml"
    assert enarx("run-cases", index, "--tee", tee, "--compare", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    cases = [case for case in tomllib.loads(index.read_text())["case"] if case["tee"] == tee]
    assert [line["case"] for line in lines] == [case["name"] for case in cases]
    for line, case in zip(lines, cases, strict=True):
        if case["expect"].startswith("fail:"):
            assert f"fail:{line['reason']}" == case["expect"]


_TEXTS = st.sampled_from(("", "ok", "snp/x", "0x05", "AAAA", "2026-01-01", "tek", "tik"))
_SCALARS = st.one_of(st.integers(-5, 300), st.booleans(), _TEXTS)
_LISTS = st.lists(_SCALARS, max_size=3)
_VALUES = st.one_of(_SCALARS, _LISTS, st.dictionaries(st.text(max_size=4), _SCALARS, max_size=2))
_FILES = st.sampled_from(("a.json", "tek", "tik", "ovmf.fd", "vmsa0", "secret", "kernel"))
_NAMES = st.sampled_from(
    (
        "secret_guid",
        "userspace",
        "policy",
        "api_major",
        "nonce_b64",
        "launch_measure_blob_b64",
        "launch_digest",
        "id_block_b64",
        "num_cpus",
        "iv_b64",
    )
)
_BLOBS = st.one_of(
    st.binary(max_size=80),
    st.sampled_from((b"{}", b"[{}]", b"0\x82", b"\1\0\0\0" + bytes(2080), b"-----BEGIN PUBLIC KEY-----", bytes(96))),
)


@given(
    st.sampled_from(("snp", "sev", "measure")),
    st.dictionaries(_FILES, _BLOBS, max_size=4),
    st.dictionaries(st.sampled_from(("name", "verify_at", "fields")), _VALUES),
    st.dictionaries(_NAMES, _VALUES, max_size=4),
)
def test_any_case_is_judged_without_a_fault(
    tee: str, files: dict[str, bytes], odd: dict[str, Any], fields: dict[str, Any]
) -> None:
    case = {"tee": tee, "inputs": list(files), "fields": fields, **odd}
    result = runcases.judge(case, files.__getitem__, {})
    assert result.verdict in ("ok", "fail", "unsupported")
    json.dumps(dict(result.fields))
