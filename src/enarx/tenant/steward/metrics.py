"""Counters for Prometheus. Labels are codes out of this program, never anything that a client sent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.samples import Sample

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Set before this module is imported when several workers share their counters in a directory."""

_SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class Metrics:
    """The metrics of one worker."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "enarx_steward_requests", "Requests by route and HTTP status", ("route", "status"), registry=self._registry
        )
        self.decisions = Counter(
            "enarx_steward_decisions",
            "Decisions by technology and outcome (accepted, or the reason)",
            ("technology", "code"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "enarx_steward_request_seconds",
            "From the whole request to the answer",
            ("route",),
            registry=self._registry,
            buckets=_SECONDS,
        )
        self.reloads = Counter(
            "enarx_steward_policy_reloads", "Reloads of the policy by outcome", ("outcome",), registry=self._registry
        )
        self.authority_not_after = Gauge(
            "enarx_steward_ca_not_after_seconds",
            "End of validity of the CA, seconds since 1970",
            registry=self._registry,
            multiprocess_mode="max",
        )

    def text(self) -> bytes:
        """All metrics in Prometheus' text format; those of all workers when they share a directory."""
        return generate_latest(self._shared())

    def samples(self) -> Iterator[Sample]:
        """The same as values."""
        for metric in self._shared().collect():
            yield from metric.samples

    def _shared(self) -> CollectorRegistry:
        if DIRECTORY_VARIABLE not in os.environ:
            return self._registry
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return shared
