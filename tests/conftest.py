"""Fixtures and settings for all tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests import support

# No deadline: the machine's load is not the code's fault. In CI the same examples each time, so that a failure there
# is the change's; at a desk new ones each time, for that is where the bugs are found.
settings.register_profile("desk", deadline=None, print_blob=True)
settings.register_profile("ci", settings.get_profile("desk"), derandomize=True)
settings.load_profile("ci" if support.in_ci() else "desk")


@pytest.fixture
def require_tool() -> Callable[[str, str], Path]:
    """``require_tool(program, debian_package)``: see :func:`tests.support.require_tool`."""
    return support.require_tool


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The directory of published evidence: ``ENARX_VECTORS``, else ``../shared/vectors`` beside the tree."""
    return support.vectors_directory()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was skipped and why: a green run must not hide what it did not run."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        longrepr = report.longrepr
        reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
        reasons[reason.removeprefix("Skipped: ")] += 1
    if reasons:
        terminalreporter.section(f"not run: {reasons.total()} skipped{' in CI' if support.in_ci() else ''}")
        for reason, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count:4} x {reason}")
