"""Metrics in a few numbers: those of the real registry, and histograms that are still filling."""

from __future__ import annotations

import pytest
from prometheus_client.samples import Sample

from enarx.tenant.steward.console.render import milliseconds, short, span
from enarx.tenant.steward.console.summary import REASONS_SHOWN, summarise
from enarx.tenant.steward.metrics import Metrics


def test_decisions_are_counted_by_outcome_and_reason() -> None:
    metrics = Metrics()
    for code, count in (("accepted", 5), ("measurement-mismatch", 2), ("debug-enabled", 3)):
        metrics.decisions.labels("snp", code).inc(count)
    metrics.decisions.labels("sev", "debug-enabled").inc()
    for status, count in (("200", 5), ("403", 6), ("429", 7), ("503", 1)):
        metrics.requests.labels("attest", status).inc(count)
    metrics.reloads.labels("refused").inc(2)
    metrics.reloads.labels("adopted").inc(9)
    found = summarise(metrics.samples())
    assert (found.issued, found.refused, found.turned_away, found.reloads_refused) == (5, 6, 8, 2)
    assert found.reasons == (("debug-enabled", 4), ("measurement-mismatch", 2))


def test_only_the_commonest_reasons_are_named() -> None:
    metrics = Metrics()
    for number in range(REASONS_SHOWN + 3):
        metrics.decisions.labels("snp", f"reason-{number}").inc(number + 1)
    found = summarise(metrics.samples())
    assert len(found.reasons) == REASONS_SHOWN
    assert found.reasons[0] == (f"reason-{REASONS_SHOWN + 2}", REASONS_SHOWN + 3)
    assert found.refused == sum(range(1, REASONS_SHOWN + 4))


def test_times_are_bounds_of_buckets() -> None:
    metrics = Metrics()
    assert summarise(metrics.samples()).median is None
    for seconds in (0.001,) * 6 + (0.03,) * 3 + (9.0,):
        metrics.seconds.labels("attest").observe(seconds)
    metrics.seconds.labels("crl").observe(0.9)  # no decision
    found = summarise(metrics.samples())
    assert found.median == 0.002
    assert found.slowest == float("inf")
    assert milliseconds(found.median) == "≤ 2 ms"
    assert milliseconds(found.slowest) == "> 5 s"
    assert milliseconds(None) == "–"


def test_a_histogram_that_is_read_while_it_is_written_has_no_times() -> None:
    def bucket(bound: str, value: float) -> Sample:
        return Sample("enarx_steward_request_seconds_bucket", {"route": "attest", "le": bound}, value)

    assert summarise([bucket("0.1", 3), bucket("0.2", 2), bucket("+Inf", 3)]).median is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "less than a minute"), (59, "less than a minute"), (60, "1 min"), (3600, "1 h"), (5400, "1 h 30 min"),
     (86_340, "23 h 59 min"), (47 * 3600, "47 h"), (48 * 3600, "2 days"), (100 * 86400, "100 days")],
)  # fmt: skip
def test_times_that_are_left_are_said_in_words(seconds: int, said: str) -> None:
    from datetime import timedelta

    assert span(timedelta(seconds=seconds)) == said


def test_digests_are_cut_and_short_texts_are_not() -> None:
    assert short("sha256:" + "ab" * 32) == "abababababab…"
    assert short("ab" * 6) == "ab" * 6
    assert short("") == ""
