"""What is kept of a decision: whole for real ones, bounded for hostile ones, and checked when it is read."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.evidence.appraisal import Rule
from enarx.tenant.steward.decide import decide
from enarx.tenant.steward.decision import Decision
from enarx.tenant.steward.record import (
    EXPLANATION_MAX_BYTES,
    KEEP_MAX_BYTES,
    RULES_MAX,
    TEXT_MAX,
    make_record,
    read_explanation,
    read_keep,
)
from tests.tenant.keeps import NOW, Keep, authority, judge, manifest, policy, simulator

KEYS = ("rules", "name", "passed", "expected", "left_out", "workload", "certificate", "chain", "crls")
REFUSED = Keep(report={"host_data": manifest(args=("x",)).digest()}).request()


def decision() -> Decision:
    return decide(REFUSED, judge(), NOW)


def test_an_explanation_is_read_as_it_was_made() -> None:
    made = decision()
    found = read_explanation(make_record(REFUSED, made, None, NOW).explanation)
    assert made.error is not None
    assert found.rules == made.rules
    assert (found.message, found.hint, found.left_out) == (made.error.message, made.error.hint, 0)


def test_the_evidence_of_an_accepted_keep_is_kept_with_its_revocation_lists() -> None:
    crl, other = simulator().crl(), simulator().crl(5)
    request = replace(Keep(crls=[crl]).request(), crls=(other, crl), chain=(simulator().ask,))
    made = decide(request, judge(), NOW)
    assert made.grant is not None
    issued = authority().issue(made.grant, policy().certificate, NOW)
    record = make_record(request, made, issued, NOW)
    kept = read_keep(record.keep)
    assert kept.certificate == issued.der
    assert kept.chain == (simulator().ask,)
    assert kept.crls == (crl, other)
    assert not kept.incomplete
    assert read_explanation(record.explanation).workload == "web"
    assert "args" not in record.keep
    assert make_record(request, decision(), None, NOW).keep == ""


def test_lists_that_are_too_large_are_left_out_and_that_is_said() -> None:
    request = Keep(crls=[simulator().crl(*range(1000, 6000))]).request()
    made = decide(request, judge(), NOW)
    assert made.grant is not None
    issued = authority().issue(made.grant, policy().certificate, NOW)
    kept = read_keep(make_record(request, made, issued, NOW).keep)
    assert (kept.certificate, kept.crls, kept.incomplete) == (issued.der, (), True)
    huge = replace(request, chain=(bytes(KEEP_MAX_BYTES),), crls=())
    kept = read_keep(make_record(huge, made, issued, NOW).keep)
    assert (kept.certificate, kept.chain, kept.incomplete) == (issued.der, (), True)


@pytest.mark.parametrize("text", ["x" * 100_000, "\U0001f600" * 1000, "\x00" * 5000, '"' * 1000])
def test_an_explanation_is_bounded_whatever_a_request_says(text: str) -> None:
    rules = tuple(Rule(f"rule-{number}", False, text, text, text, text, text) for number in range(500))
    record = make_record(REFUSED, replace(decision(), rules=rules), None, NOW)
    assert len(record.explanation) <= EXPLANATION_MAX_BYTES
    found = read_explanation(record.explanation)
    assert 1 <= len(found.rules) <= RULES_MAX
    assert found.left_out == 500 - len(found.rules)
    assert found.rules[0].seen == text[:TEXT_MAX]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
    )
)
def test_what_is_in_the_database_is_read_or_refused(value: object) -> None:
    for text in (json.dumps(value), str(value)):
        for read in (read_explanation, read_keep):
            with contextlib.suppress(MalformedError):
                read(text)


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        "1",
        "null",
        '{"rules":[]}' + " " * EXPLANATION_MAX_BYTES,
        json.dumps({"rules": [{"name": "x"}] * (RULES_MAX + 1)}),
        '{"rules":[],"left_out":-1}',
    ],
)
def test_what_is_no_explanation_is_refused(body: str) -> None:
    with pytest.raises(MalformedError):
        read_explanation(body)
