"""The Steward's metrics in a few numbers, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from prometheus_client.samples import Sample

REASONS_SHOWN: Final = 6
"""Reasons of refusals that are named (count)."""
_ROUTES: Final = ("attest", "compatible")


@dataclass(frozen=True, slots=True)
class Summary:
    """Since the Steward started, all of its workers: decisions, the commonest reasons of refusals, time to answer.

    ``median`` and ``slowest`` (95 of 100 are faster) are the upper bounds (seconds) of the histogram's buckets, None
    without a request, and infinite beyond the last one. ``turned_away`` counts requests that were never judged.
    """

    issued: int
    refused: int
    reasons: tuple[tuple[str, int], ...]
    median: float | None
    slowest: float | None
    turned_away: int
    reloads_refused: int


def summarise(samples: Iterable[Sample]) -> Summary:
    """Read the numbers of ``enarx.tenant.steward.metrics``."""
    codes: Counter[str] = Counter()
    buckets: Counter[float] = Counter()
    turned_away = reloads_refused = 0
    for sample in samples:
        labels, value = sample.labels, int(sample.value)
        if sample.name == "enarx_steward_decisions_total":
            codes[labels["code"]] += value
        elif sample.name == "enarx_steward_request_seconds_bucket" and labels["route"] in _ROUTES:
            buckets[float(labels["le"])] += value
        elif sample.name == "enarx_steward_requests_total" and labels["status"] in ("408", "413", "415", "429", "503"):
            turned_away += value
        elif sample.name == "enarx_steward_policy_reloads_total" and labels["outcome"] == "refused":
            reloads_refused += value
    issued = codes.pop("accepted", 0)
    return Summary(
        issued,
        codes.total(),
        tuple((code, count) for code, count in codes.most_common(REASONS_SHOWN) if count),
        _bound(buckets, 0.5),
        _bound(buckets, 0.95),
        turned_away,
        reloads_refused,
    )


def _bound(buckets: Counter[float], share: float) -> float | None:
    """The bound of the first bucket by which ``share`` of all requests had been answered."""
    ordered = sorted(buckets.items())
    # Workers may be read a moment apart, and a cumulative histogram never falls.
    if any(before[1] > after[1] for before, after in pairwise(ordered)) or not ordered or not ordered[-1][1]:
        return None
    return next(bound for bound, count in ordered if count >= share * ordered[-1][1])
