"""Published evidence from real machines, and a second verifier's opinion of it."""

from __future__ import annotations

import tomllib
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from enarx.cli.runcases import compare, judge
from enarx.evidence.snp import AMD, Collateral, appraise, authenticate, parse, parse_policy


def cases(vectors: Path, technology: str) -> list[dict[str, Any]]:
    document = tomllib.loads((vectors / "INDEX.toml").read_text())
    return [case for case in document["case"] if case["tee"] == technology]


def test_every_published_case_is_judged_as_its_collectors_did(vectors: Path) -> None:
    found = cases(vectors, "snp")
    assert len(found) >= 20
    results = {
        case["name"]: compare(case, judge(case, lambda path: (vectors / path).read_bytes(), {})) for case in found
    }
    assert {name: difference for name, difference in results.items() if difference} == {}


def test_real_milan_report_is_authentic_and_its_debug_bit_is_refused() -> None:
    vectors = pytest.importorskip("omne_attest.vectors")
    omne = pytest.importorskip("omne_attest.snp")
    report = parse(vectors.attestation())
    now = datetime(2026, 10, 1, tzinfo=UTC)
    for chain in ((), (vectors.ask(), vectors.ark())):
        authentic = authenticate(report, Collateral(vectors.vcek(), chain), now, trust=AMD)
        assert (authentic.proof.root, authentic.proof.product) == ("ARK-Milan", "Milan")
        policy = parse_policy(f'[snp]\nmeasurement = "{report.measurement.hex()}"')
        assert [rule.reason for rule in appraise(authentic, policy).failures] == ["debug-enabled"]
    theirs = omne.Policy(measurement=report.measurement)
    with warnings.catch_warnings(), pytest.raises(omne.Fail) as caught:
        warnings.simplefilter("ignore")  # it loads serial number 0 with cryptography, which warns
        omne.verify(vectors.attestation(), vectors.vcek(), vectors.ask(), vectors.ark(), vectors.ARK_SHA256, theirs)
    assert caught.value.kind is omne.FailKind.DEBUG_ENABLED
