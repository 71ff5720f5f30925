"""Fixtures and settings for all tests."""

from __future__ import annotations

import ctypes
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import images, support

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


@pytest.fixture(scope="session")
def enarx_over_bytes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program like ``enarx`` whose Keeps have a link over bytes."""
    program = tmp_path_factory.mktemp("over-bytes") / "enarx"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(support.ROOT)!r})\n"
        "from tests.overbytes import run\nsys.exit(run())\n"
    )
    program.chmod(0o700)
    return program


@pytest.fixture
def over_bytes(enarx_over_bytes: Path) -> Iterator[None]:
    """Whatever the test runs goes over bytes."""
    with support.run_instead(enarx_over_bytes):
        yield


@pytest.fixture(params=["descriptors", "bytes"])
def both_links(request: pytest.FixtureRequest, enarx_over_bytes: Path) -> Iterator[None]:
    """Whatever the test runs goes over a link that passes descriptors, and then again over one that carries bytes."""
    with support.run_instead(enarx_over_bytes if request.param == "bytes" else support.INSTALLED):
        yield


@pytest.fixture
def keep_tls_env() -> Iterator[None]:
    """OpenSSL configured as in a Keep, whose process has the Keep's own openssl.cnf from its first instruction.

    The tests' process has started without, so the file is loaded as OpenSSL itself loads it, and unloaded afterwards.
    """
    import _ssl

    library = ctypes.CDLL(_ssl.__file__)  # finds the names of the libcrypto that it is linked to
    path = support.ROOT / "src" / "enarx" / "keep" / "openssl.cnf"
    assert library.CONF_modules_load_file(str(path).encode(), None, ctypes.c_ulong(0)) == 1
    yield
    library.CONF_modules_unload(0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was skipped and why: a green run must not hide what it did not run, or ran with something else."""
    if renewed := images.renewal():
        terminalreporter.section("images were built from newer inputs than those of image.lock")
        terminalreporter.write_line(f"{renewed}; renew it with `enarx image lock`")
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        longrepr = report.longrepr
        reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
        reasons[reason.removeprefix("Skipped: ")] += 1
    if reasons:
        terminalreporter.section(f"not run: {reasons.total()} skipped{' in CI' if support.in_ci() else ''}")
        for reason, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count:4} x {reason}")
