"""The tutorial and the how-to guides are followed to the letter: all commands of a page, in one shell, in its order.

The blocks fenced as ``sh`` of a page are one session of bash, which ends at the first command that fails; a page that
goes on from the tutorial begins with the tutorial's. A command that is shown to be refused has to be. What is otherwise
than for a reader: the ports, which are free ones here; the registry and the database that a page calls by name, which
are started for it; and ``make``, whose targets test_readme.py looks at.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.registry.running import registry
from tests.support import ROOT, require_tool
from tests.tenant.steward.databases import postgresql

GUIDES = [ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))]
SECONDS = 240
"""What no page takes, however busy the machine is."""
PORTS = ("3000", "3001", "8080", "8443")
"""Ports that pages listen at."""
REGISTRY = "localhost:5000"
DATABASE = "postgresql://steward@db.example.com/steward"
GOES_ON = re.compile(r"\(\.\./tutorial\.md\) up to step ([0-9])")
REFUSED = "refused, with status "
NOT_RUN = re.compile(r"^(make|\. \.venv/bin/activate)\b")


def script_of(text: str) -> str:
    """The commands of a page, behind those of the tutorial that it goes on from."""
    before = ""
    if found := GOES_ON.search(text):
        steps = GUIDES[0].read_text(encoding="utf-8").partition(f"\n## {int(found[1]) + 1}. ")
        assert steps[1]
        before = script_of(steps[0])
    return before + "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def runnable(script: str) -> str:
    return "\n".join(line for line in script.splitlines() if not NOT_RUN.match(line)) + "\n"


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all pages: the simulated processor in it takes seconds to make."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def environment(home: Path, tmp_path: Path) -> dict[str, str]:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(runtime),
    }


def free_port(taken: set[int]) -> int:
    """Below those that the kernel hands out by itself, so that nobody gets it meanwhile who has not asked for it."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            if port not in taken and probe.connect_ex(("127.0.0.1", port)) != 0:
                taken.add(port)
                return port
    raise AssertionError("no port is free")


@pytest.fixture
def started(tmp_path: Path) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def for_this_machine(script: str, started: ExitStack, directory: Path) -> str:
    """The same with ports that are free, and with what it needs started."""
    taken: set[int] = set()
    for port in PORTS:
        script = re.sub(rf"\b{port}\b", str(free_port(taken)), script)
    if REGISTRY in script:
        script = script.replace(REGISTRY, started.enter_context(registry(directory)).host)
    if DATABASE in script:
        script = script.replace(DATABASE, f"'{started.enter_context(postgresql())}'")
    return script


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_can_be_followed(guide: Path, environment: dict[str, str], tmp_path: Path, started: ExitStack) -> None:
    script = runnable(script_of(guide.read_text(encoding="utf-8")))
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("src", "examples"):
        (tree / name).symlink_to(ROOT / name)
    script = for_this_machine(script, started, tmp_path)
    for program, package in (("curl", "curl"), ("openssl", "openssl")):
        if re.search(rf"\b{program} ", script):
            require_tool(program, package)
    out = tmp_path / "out"
    with out.open("wb") as file:
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tree, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        status = shell.wait(SECONDS)
    finally:
        end(shell, environment)
    said = out.read_text(errors="replace")
    assert status == 0, f"{guide.name}:\n{script}\n{said}"
    assert said.count(REFUSED) == script.count(f'|| echo "{REFUSED}'), said


def end(shell: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
    """Nothing that a page has started outlives its test: services of its shell, and Keeps that it detached."""
    with suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
    deployments = Path(environment["XDG_RUNTIME_DIR"], "enarx", "deployments")
    names = [path.name for path in deployments.iterdir()] if deployments.exists() else []
    for name in names:
        command = [str(shutil.which("enarx", path=environment["PATH"])), "stop", name]
        subprocess.run(command, env=environment, capture_output=True, timeout=SECONDS, check=False)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_has_commands_and_shows_none_that_is_not_run(guide: Path) -> None:
    """`text` shows what cannot be run here; a page says why."""
    text = guide.read_text(encoding="utf-8")
    assert "enarx " in runnable(script_of(text))
    assert not re.search(r"^\s*```(console|bash|shell)", text, re.MULTILINE)
    assert len(re.findall(r"^```sh$", text, re.MULTILINE)) == len(re.findall(r"^\s*```sh\b", text, re.MULTILINE))


def test_the_session_ends_at_the_first_failure(tmp_path: Path) -> None:
    script = runnable(script_of("a\n```sh\nmake no\nfalse\n```\n```text\ntouch no\n```\n```sh\ntouch reached\n```\n"))
    assert script == "false\n\ntouch reached\n"
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert not list(tmp_path.iterdir())
