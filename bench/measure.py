"""Taking turns, medians, and the time of a whole process."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def take_turns(rounds: int, contestants: Mapping[str, Callable[[], T]], *, warm_up: int = 1) -> dict[str, list[T]]:
    """Results of each contestant: one of each in every round. The first ``warm_up`` rounds are thrown away.

    Every other round goes backwards, so that nobody always runs in the wake of the same other.
    """
    results: dict[str, list[T]] = {name: [] for name in contestants}
    for number in range(warm_up + rounds):
        names = list(contestants)
        for name in names if number % 2 else reversed(names):
            result = contestants[name]()
            if number >= warm_up:
                results[name].append(result)
    return results


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Lower and upper quartile: how far the median can be trusted."""
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, upper


def process_ms(command: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """Milliseconds from spawning ``command``, its output thrown away, until it has ended. It must exit 0."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
        start = time.perf_counter()
        pid = os.posix_spawn(command[0], list(command), environment or os.environ, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        elapsed = time.perf_counter() - start
    finally:
        os.close(null)
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return elapsed * 1000


def cpu_seconds(pid: int) -> float:
    """CPU time that all threads of a process have used. Source: proc(5), schedstat, nanoseconds."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text("ascii").split()[0]) for thread in threads) / 1e9
