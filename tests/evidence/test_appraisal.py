"""Appraisals: silence is no consent, and a refusal says why."""

from __future__ import annotations

import pytest

from enarx.errors import PolicyError
from enarx.evidence.appraisal import Appraisal, Rule, judge, judge_listed

GOOD = Rule("vmpl", True, "0", "0", "policy vmpl", "unused", "unused")
BAD = Rule("debug", False, "not allowed", "allowed", "policy debug", "launch it without", "debug-enabled")


def test_appraisal_without_rules_accepts_nothing() -> None:
    empty = Appraisal("snp", ())
    assert not empty.accepted
    with pytest.raises(PolicyError) as caught:
        empty.require()
    assert caught.value.code == "policy-empty"


def test_one_failed_rule_refuses() -> None:
    appraisal = Appraisal("snp", (GOOD, BAD, GOOD))
    assert not appraisal.accepted
    assert appraisal.failures == (BAD,)
    with pytest.raises(PolicyError) as caught:
        appraisal.require()
    assert (caught.value.code, caught.value.hint) == ("debug-enabled", "launch it without")
    assert "expected not allowed, saw allowed" in caught.value.message


def test_all_rules_passed_accepts() -> None:
    appraisal = Appraisal("snp", (GOOD, GOOD))
    appraisal.require()
    assert appraisal.accepted


def test_rule_as_json_has_reason_and_hint_only_when_it_failed() -> None:
    assert list(GOOD.as_json()) == ["name", "passed", "expected", "seen", "source"]
    assert BAD.as_json()["reason"] == "debug-enabled"
    assert Rule("guest-svn", False, "1", "0", "policy").reason == "guest-svn"


def test_judging_keeps_the_hint_only_of_failures() -> None:
    rules: list[Rule] = []
    judge(rules, "a", True, "1", "1", source="policy", hint="hint", code="code")
    judge(rules, "a", False, "1", "2", source="policy", hint="hint", code="code")
    assert [(rule.hint, rule.code) for rule in rules] == [("", ""), ("hint", "code")]


def test_value_not_on_a_list_is_refused_and_an_empty_list_judges_nothing() -> None:
    rules: list[Rule] = []
    judge_listed(rules, "x", b"\1", (), source="policy", hint="")
    judge_listed(rules, "x", b"\1", (b"\1",), source="policy", hint="")
    judge_listed(rules, "x", b"\1", (b"\2", b"\3"), source="policy", hint="")
    assert [(rule.passed, rule.expected) for rule in rules] == [(True, "01"), (False, "one of 2: 02, ...")]
