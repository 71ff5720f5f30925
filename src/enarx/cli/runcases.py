"""``enarx evidence run-cases``: judge every case of a vector index, one JSON line for each on standard output.

A line is ``{"case", "verdict", "reason", "fields"}``, with ``--compare`` also ``expect``, ``match`` and ``difference``
(empty, or what differs). What ``--compare`` says to a person goes to standard error.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import stat
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from enarx.cli.cases import FAIL, OK, UNSUPPORTED, Case, CaseResult, Index, Load
from enarx.cli.keyfile import read_input
from enarx.errors import EnarxError, UsageError

INDEX_MAX_BYTES = 16 * 1024 * 1024
"""Largest index that is read (bytes)."""
INPUT_MAX_BYTES = 256 * 1024 * 1024
"""Largest input of a case that is read (bytes): firmware, kernels and initial ram disks are among them."""

_HIDDEN = frozenset(("expect", "expect_basis", "reason", "checked", "note"))
_HIDDEN_FIELD = "expected_"
_UNUSABLE = ("case-", "file-", "vmm-type", "vcpu-type")
"""Beginnings of codes of errors that say something about the index or about us, and not about the evidence."""
_TECHNOLOGY = re.compile(r"[a-z][a-z0-9_]*")
_NOT_COMPARED = frozenset(("disputed", "partial", "info"))

Runner: TypeAlias = Callable[[Case, Load, Index], CaseResult]


def run(args: argparse.Namespace) -> int:
    """Run the cases of ``args.index``; 1 when ``--compare`` finds a difference, else 0."""
    document = _read_index(args.index)
    files = {str(one.get("path", "")): one for one in _tables(document, "file")}
    load = _loader(Path(args.index).parent)
    compared = different = 0
    for case in _tables(document, "case"):
        if args.tee and case.get("tee") != args.tee:
            continue
        result = _judge_whatever_happens(case, load, files)
        line: dict[str, object] = {
            "case": str(case.get("name", "")),
            "verdict": result.verdict,
            "reason": result.reason,
            "fields": dict(result.fields),
        }
        if args.compare:
            difference = compare(case, result)
            line["expect"] = str(case.get("expect", ""))
            line["match"] = difference == ""
            line["difference"] = difference
            compared += 1
            different += difference != ""
        print(json.dumps(line))
        if line.get("difference") and not args.json:
            print(_readable(line), file=sys.stderr)
    if args.compare and not args.json:
        print(f"{compared} cases, {different} different from what the index expects", file=sys.stderr)
    return 1 if different else 0


def _judge_whatever_happens(case: Mapping[str, Any], load: Load, files: Index) -> CaseResult:
    """Judge one case; a fault of ours in one of them must not keep the others from being judged."""
    try:
        return judge(case, load, files)
    except Exception as fault:  # noqa: BLE001
        print(f"fault in case {case.get('name', '')}: {type(fault).__name__}: {fault}", file=sys.stderr)
        return CaseResult(UNSUPPORTED, "internal-fault")


def judge(case: Mapping[str, Any], load: Load, files: Index) -> CaseResult:
    """Judge one case without its answer. A refusal of any kind is a result; anything else is a fault and is raised."""
    technology = str(case.get("tee", ""))
    runner = _runner(technology)
    if runner is None:
        return CaseResult(UNSUPPORTED, f"technology {technology!r} is not supported")
    question = {key: value for key, value in case.items() if key not in _HIDDEN}
    stated = question.setdefault("fields", {})
    if not isinstance(stated, dict):
        return CaseResult(UNSUPPORTED, "case-fields")
    question["fields"] = {key: value for key, value in stated.items() if not key.startswith(_HIDDEN_FIELD)}
    try:
        return runner(question, load, files)
    except EnarxError as error:
        unusable = isinstance(error, UsageError) and error.code.startswith(_UNUSABLE)
        return CaseResult(UNSUPPORTED if unusable else FAIL, error.code)


def compare(case: Mapping[str, Any], result: CaseResult) -> str:
    """What differs from the answer in the index, empty when nothing does."""
    expect = str(case.get("expect", ""))
    kind, _, reason = expect.partition(":")
    if kind in _NOT_COMPARED:
        return ""
    if kind == "parse-only":
        return "" if result.fields and result.verdict in (OK, UNSUPPORTED) else f"verdict {result.verdict}"
    wanted = expect if kind == "tcb" else kind
    if result.verdict != wanted:
        return f"verdict {result.verdict} {result.reason}".strip()
    if kind == FAIL and reason and reason != result.reason:
        return f"reason {result.reason}"
    return _different_field(case.get("fields", {}), result.fields) if kind == OK else ""


def _different_field(stated: object, seen: Mapping[str, object]) -> str:
    """The first of the fields that differs; an ``expected_*`` must be among those seen, others may be inputs."""
    if not isinstance(stated, Mapping):
        return "fields"
    for name, answer in stated.items():
        answered = name.removeprefix(_HIDDEN_FIELD)
        if (answered in seen or answered != name) and seen.get(answered) != answer:
            return f"field {answered}"
    return ""


def _runner(technology: str) -> Runner | None:
    name = f"enarx.cli.cases.{technology}"
    if not _TECHNOLOGY.fullmatch(technology) or importlib.util.find_spec(name) is None:
        return None
    runner: Runner | None = getattr(importlib.import_module(name), "run", None)
    return runner


def _read_index(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(read_input(path, INDEX_MAX_BYTES, "index").decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {error}", code="index-syntax", hint="mend the index") from error


def _tables(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = document.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise UsageError(f"{name} is not a list of tables", code="index-syntax", hint=f"write [[{name}]]")
    return found


def _loader(folder: Path) -> Load:
    root = folder.resolve()

    def load(name: str) -> bytes:
        try:
            path = (root / name).resolve()
            if not path.is_relative_to(root):
                raise UsageError(f"{name!r} leaves the index's folder", code="case-inputs", hint="mend the index")
            found = path.stat()
            if not stat.S_ISREG(found.st_mode) or found.st_size > INPUT_MAX_BYTES:
                raise UsageError(
                    f"{name!r} is no file of at most {INPUT_MAX_BYTES} bytes", code="file-unusable", hint="check it"
                )
            return path.read_bytes()
        except (OSError, ValueError, RuntimeError) as error:  # a path with a NUL, or links in a circle
            raise UsageError(f"cannot read {name!r}: {error}", code="file-unreadable", hint="mend the index") from error

    return load


def _readable(line: Mapping[str, object]) -> str:
    return f"different: {line['case']}: {line['difference']}, expected {line['expect']}"
