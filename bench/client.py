"""The attested client against the same requests unverified, and bundles: judged in the library and by the command.

A real Keep before a real Steward, on the simulated processor; both clients are httpx on one machine with it. What is
measured of the first request is its connection, handshake, challenge and verdict; clients are made before.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx

import enarx as library
from bench.figure import Better, Figure
from bench.measure import process_ms, quartiles, take_turns
from bench.workspace import enarx, output_of
from enarx.evidence.awslc import AwsLcVerifier
from enarx.evidence.signature import PYCA, Verifier
from enarx.tenant.peer import unverifying_context
from tests.e2e.attestedclient import Served, served
from tests.e2e.command import environment

ROUNDS: Final = 41
PAUSE_SECONDS: Final = 0.15
"""Before each first request (seconds), so that neither the Keep's rate of reports nor the simulator's is met."""
LIVE_ROUNDS: Final = 41
LIVE_REQUESTS: Final = 50
"""Requests of one round on a live connection (count)."""
FIRST_BAR_MS: Final = 8.0
LIVE_BAR: Final = 1.03
BUNDLE_BAR_MS: Final = 3.0
PROCESS_BAR_MS: Final = 250.0


def run() -> list[Figure]:
    """First request, repeated request, bundle in the library, bundle in a process."""
    with tempfile.TemporaryDirectory(prefix="enarx-bench-") as made, served(Path(made)) as keep:
        return [_first(keep), _live(keep), *_bundle(keep)]


def _attested(keep: Served, **changes: bool) -> httpx.Client:
    return library.Client(**keep.demands(**changes))


def _unverified() -> httpx.Client:
    return httpx.Client(verify=unverifying_context(), trust_env=False)


def _first(keep: Served) -> Figure:
    def once(make: Callable[[], httpx.Client]) -> tuple[float, float]:
        """Milliseconds, and milliseconds of CPU in this process."""
        with make() as client:
            time.sleep(PAUSE_SECONDS)
            begun, worked = time.perf_counter(), time.process_time()
            client.get(keep.url).raise_for_status()
            return (time.perf_counter() - begun) * 1000, (time.process_time() - worked) * 1000

    both = take_turns(
        ROUNDS,
        {
            "attested": lambda: once(lambda: _attested(keep)),
            "certificate": lambda: once(lambda: _attested(keep, fresh=False)),
            "unverified": lambda: once(_unverified),
        },
        warm_up=3,
    )
    times = {name: [elapsed for elapsed, _ in found] for name, found in both.items()}
    worked = {name: statistics.median(cpu for _, cpu in found) for name, found in both.items()}
    medians = {name: statistics.median(found) for name, found in times.items()}
    details = {f"{name}_ms": value for name, value in medians.items()} | {
        "client_cpu_above_ms": worked["attested"] - worked["unverified"],
        "least_above_ms": min(times["attested"]) - min(times["unverified"]),
        "attested_upper_quartile_ms": quartiles(times["attested"])[1],
        "unverified_upper_quartile_ms": quartiles(times["unverified"])[1],
    }
    above = medians["attested"] - medians["unverified"]
    return Figure(
        "attested client, first request, above unverified", above, "ms", Better.LOWER, "the same by httpx, unverified",
        FIRST_BAR_MS, details,
    )  # fmt: skip


def _live(keep: Served) -> Figure:
    def many(client: httpx.Client) -> float:
        begun = time.perf_counter()
        for _ in range(LIVE_REQUESTS):
            client.get(keep.url).raise_for_status()
        return (time.perf_counter() - begun) * 1000 / LIVE_REQUESTS

    with _attested(keep) as ours, _unverified() as theirs:
        contestants = {"attested": lambda: many(ours), "unverified": lambda: many(theirs)}
        times = take_turns(LIVE_ROUNDS, contestants, warm_up=2)
    ratios = [ours / theirs for ours, theirs in zip(times["attested"], times["unverified"], strict=True)]
    details = {
        "attested_ms": statistics.median(times["attested"]), "unverified_ms": statistics.median(times["unverified"]),
        "least_ratio": min(times["attested"]) / min(times["unverified"]),
    }  # fmt: skip
    return Figure(
        "attested client, live connection", statistics.median(ratios), "x", Better.LOWER,
        "the same by httpx, unverified", LIVE_BAR, details,
    )  # fmt: skip


def _bundle(keep: Served) -> list[Figure]:
    path = keep.ours.home / "keep.bundle"
    variables = environment(keep.ours.home)
    options = ["--policy", str(keep.policy), "--manifest", str(keep.manifest)]
    output_of([enarx(), "bundle", "save", keep.url, "-o", str(path), *options])
    data = path.read_bytes()

    def judged(verifier: Verifier) -> float:
        begun = time.perf_counter()
        verdict = library.verify_bundle(data, verifier=verifier)
        elapsed = (time.perf_counter() - begun) * 1000
        assert verdict.accepted
        return elapsed

    fast = AwsLcVerifier()
    both = take_turns(101, {"library": lambda: judged(PYCA), "fast": lambda: judged(fast)}, warm_up=5)
    library_ms = both["library"]
    command = [enarx(), "bundle", "verify", str(path)]
    process = take_turns(15, {"process": lambda: process_ms(command, variables)}, warm_up=2)["process"]
    about = "read, certificate, evidence, manifest, fresh evidence"
    return [
        Figure(
            "bundle, judged in the library", statistics.median(library_ms), "ms", Better.LOWER, about, BUNDLE_BAR_MS,
            {
                "least_ms": min(library_ms), "by_awscrt_ms": statistics.median(both["fast"]),
                "least_by_awscrt_ms": min(both["fast"]), "size_bytes": float(len(data)),
            },
        ),
        Figure(
            "enarx bundle verify", statistics.median(process), "ms", Better.LOWER, "the whole process", PROCESS_BAR_MS,
            {"least_ms": min(process)},
        ),
    ]  # fmt: skip
