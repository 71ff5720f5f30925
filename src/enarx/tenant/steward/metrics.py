"""Counters for Prometheus. Labels are codes out of this program, never anything that a client sent."""

from __future__ import annotations

import os
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

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
        if DIRECTORY_VARIABLE not in os.environ:
            return generate_latest(self._registry)
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return generate_latest(shared)
